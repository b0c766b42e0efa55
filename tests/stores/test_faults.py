"""What a store does when its disk, its file, its lock or its connection fails it.

A clear error; nothing acknowledged that is not kept; no half key. What needs a file system of its
own exists where one can be mounted, and PostgreSQL's part where PostgreSQL is installed: CI has
both.
"""

import contextlib  # trial takes a module's "suppress" for a list of warnings
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from select import select as readable
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

from jwcrypto.jwk import JWK
from sqlalchemy import event
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from jwksd.errors import StartUpRefused, StoreAway
from jwksd.jose.envelopes import Keychain, write_kek
from jwksd.jose.keys import PublishedKey
from jwksd.lifecycle import plan as plans
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.ring import Ring, State
from jwksd.stores.database import Database
from jwksd.stores.engine import PATIENCE
from jwksd.stores.sql import SqlStore
from tests.support import postgres
from tests.support.app import SCHEDULE, make_policy
from tests.support.forks import EndTestCase
from tests.support.keys import NOW
from tests.support.processes import CHECKOUT, JWKS, MAIN, WAIT, ProcessTestCase, ask, mint, port_in
from tests.support.stores import FreshKeys, fresh_pair, single, with_pending

KEK = JWK.generate(kty="oct", size=256)
PAGE = 4096


def can_mount() -> bool:
    """Whether this process may mount file systems: Linux's CAP_SYS_ADMIN."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> 21 & 1)
    return False


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def open_database(url: str) -> Database:
    return Database(url, Keychain([KEK]))


def make_ring(database: Database) -> tuple[int, Ring]:
    """An active key and a pending one."""
    version, ring = database.open().version, Ring()
    for now in (NOW, NOW + 1):
        pair = fresh_pair()
        after = with_pending(ring, pair, now)
        version = database.swap(version, ring, after, pair) or 0
        ring, before = plans.settle(after, ["ES256"], NOW, SCHEDULE, {}), after
        version = version if ring == before else database.swap(version, before, ring, None) or 0
    return version, ring


def summary(contents: Contents) -> object:
    """All that there is, in a form that can be compared."""
    keys = [(key.kid, key.created, key.expires, key.document) for key in contents.keys]
    pairs = sorted(pair.kid for pair in contents.pairs)
    return contents.version, contents.ring, sorted(keys, key=str), pairs


def empty_log(file: Path) -> None:
    """Have SQLite write all that it has committed to the file itself."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class FileTestCase(TestCase):
    """A store in a file."""

    def setUp(self) -> None:
        self.folder = self.make_folder()
        self.file = self.folder / "keys.db"
        self.url = f"sqlite:///{self.file}"
        self.store = self.open_store()

    def make_folder(self) -> Path:
        return Path(self.enterContext(TemporaryDirectory()))

    def open_store(self) -> SqlStore:
        self.database = open_database(self.url)
        store = SqlStore(self.database, reactor)
        self.addCleanup(store.close)
        self.contents = store.open()
        return store

    async def assert_away(self, call: "Deferred[Any]", said: str) -> None:
        error = await self.assertFailure(call, StoreAway)
        self.assertIn(said, error.why)

    async def assert_kept(self, keys: Sequence[PublishedKey]) -> None:
        """These, whole, and no others."""
        found = await self.store.read(None, ())
        wanted = {key.kid: (key.document, key.expires) for key in keys}
        self.assertEqual({key.kid: (key.document, key.expires) for key in found.keys}, wanted)


class FullContract:
    """A disk that has no room left: ``limit`` takes it away, ``make_room`` gives it back."""

    async def fill(self: Any) -> list[PublishedKey]:
        """Insert until it has been full many times; the keys that were acknowledged."""
        kept: list[PublishedKey] = []
        refused = 0
        while refused < 30:
            key = single()
            try:
                await self.store.insert(key)
                kept.append(key)
            except StoreAway as error:
                self.assertIn("full; make room for it", error.why)
                refused += 1
            self.assertLess(len(kept), 10_000)
        return kept

    async def test_what_was_acknowledged_is_kept(self: Any) -> None:
        """That and nothing else, before and after a restart; with room again it goes on."""
        kept = await self.fill()
        await self.assert_kept(kept)
        self.make_room()
        more = single()
        await self.store.insert(more)
        await self.assert_kept([*kept, more])
        await self.store.close()
        self.store = self.open_store()
        await self.assert_kept([*kept, more])

    async def test_no_half_key(self: Any) -> None:
        """A ring that cannot be changed stays as it was, with every private half that it had."""
        await self.fill()
        version, ring, now = (await self.store.read(None, ())).version, Ring(), NOW
        with contextlib.suppress(StoreAway):
            while True:
                pair = fresh_pair()
                after = with_pending(ring, pair, now)
                version = await self.store.swap(version, ring, after, pair)
                ring = after
                now += 1
        found = await self.store.read(None, ())
        self.assertEqual(found.ring, ring)
        self.assertEqual({pair.kid for pair in found.pairs}, {key.kid for key in ring.keys})
        self.assertNotIn(pair.kid, {key.kid for key in found.keys})
        self.make_room()
        self.assertIsNotNone(await self.store.swap(version, ring, after, pair))
        found = await self.store.read(None, ())
        self.assertEqual(found.ring, after)
        self.assertIn(pair.kid, {pair.kid for pair in found.pairs})


class LimitedFileTests(FullContract, FileTestCase):
    """SQLite's own limit on a file: what it raises then is what it raises on a full disk."""

    pages = 40

    def open_store(self) -> SqlStore:
        store = super().open_store()
        event.listen(self.database.engine, "connect", self.limit)
        self.database.engine.dispose()
        return store

    def limit(self, connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={self.pages}")

    def make_room(self) -> None:
        self.pages = 1000
        self.database.engine.dispose()


if can_mount():

    class FullDiskTests(FullContract, FileTestCase):
        """A file system that is full."""

        def make_folder(self) -> Path:
            folder = super().make_folder()
            mount("-t", "tmpfs", "-o", "size=512k", "jwksd-test", str(folder))
            self.addCleanup(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            return folder

        def make_room(self) -> None:
            mount("-o", "remount,size=4m", str(self.folder))

        async def fill(self) -> list[PublishedKey]:
            kept = await super().fill()
            with contextlib.suppress(StoreAway):
                while True:  # the smallest change, which writes one page of the log
                    await self.store.withdraw([])
            return kept

        async def test_a_restart_on_a_full_disk_loses_nothing(self) -> None:
            """What there is can be read, and serves; where not even that has room, it says so."""
            kept = await self.fill()
            await self.store.close()
            try:
                self.store = self.open_store()
            except StartUpRefused as refused:
                self.assertIn("full; make room for it", str(refused))
                self.make_room()
                self.store = self.open_store()
            await self.assert_kept(kept)

        async def test_a_new_file_that_has_no_room_is_refused(self) -> None:
            """No schema, no half schema, no traceback."""
            await self.fill()
            other = open_database(f"sqlite:///{self.folder}/other.db")
            self.addCleanup(other.close)
            refused = self.assertRaises(StartUpRefused, other.open)
            self.assertRegex(refused.code, r"\Ajwksd: --store cannot be used: [^\n]+\Z")
            self.make_room()
            self.assertEqual(other.open().ring, Ring())

        async def test_a_read_only_disk_stops_the_start(self) -> None:
            """In one line that says what to do, and nothing is changed."""
            make_ring(self.database)
            await self.store.close()
            before = self.file.read_bytes()
            mount("-o", "remount,ro", str(self.folder))
            refused = self.assertRaises(StartUpRefused, open_database(self.url).open)
            self.assertIn(
                "keys.db: it cannot be written; its user must be able to write", str(refused)
            )
            self.assertEqual(self.file.read_bytes(), before)


class ReadOnlyTests(FileTestCase):
    """A database that can be read, and no longer written."""

    read_only = True

    async def test_nothing_is_acknowledged(self) -> None:
        """Every change fails; what there is can be read; when it can be written again, it is."""
        version, ring = make_ring(self.database)
        event.listen(self.database.engine, "connect", self.prepare)
        self.database.engine.dispose()
        pair = fresh_pair()
        after = with_pending(ring, pair, NOW + 2)
        for call in (
            self.store.insert(single()),
            self.store.swap(version, ring, after, pair),
            self.store.withdraw([ring.keys[0].kid]),
            self.store.expire(NOW),
            self.store.count({}),
        ):
            await self.assert_away(call, "readonly database; its user must be able to write")
        found = await self.store.read(None, ())
        self.assertEqual((found.version, found.ring), (version, ring))
        self.read_only = False
        self.database.engine.dispose()
        self.assertIsNotNone(await self.store.swap(version, ring, after, pair))

    def prepare(self, connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA query_only={self.read_only}")


class LockedTests(FileTestCase):
    """Another process that has begun to write, and does not end."""

    def setUp(self) -> None:
        self.enterContext(patch("jwksd.stores.engine.PATIENCE", 0.05))
        super().setUp()

    def lock(self, how: str = "IMMEDIATE") -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute(f"BEGIN {how}")
        return connection

    async def test_changes_fail_and_reads_do_not(self) -> None:
        """The error names the lock; when it is gone, everything works."""
        version, ring = make_ring(self.database)
        pair = fresh_pair()
        after = with_pending(ring, pair, NOW + 2)
        for how in ("IMMEDIATE", "EXCLUSIVE"):
            with closing(self.lock(how)):
                for call in (
                    self.store.insert(single()),
                    self.store.swap(version, ring, after, pair),
                ):
                    await self.assert_away(call, "database is locked; another process holds it")
                self.assertEqual((await self.store.read(None, ())).ring, ring)
        self.assertEqual(await self.store.swap(version, ring, after, pair), version + 1)
        self.assertEqual(await self.store.insert(single()), version + 2)

    def test_it_stops_the_start(self) -> None:
        """In one line that names the lock."""
        with closing(self.lock()):
            refused = self.assertRaises(StartUpRefused, open_database(self.url).open)
        self.assertIn("database is locked; another process holds it", str(refused))


class OpenedAtOnceTests(TestCase):
    """A file that others open, or have open, in the moment in which it is opened here."""

    def setUp(self) -> None:
        self.file = Path(self.enterContext(TemporaryDirectory())) / "keys.db"
        self.url = f"sqlite:///{self.file}"

    def database(self) -> Database:
        database = open_database(self.url)
        self.addCleanup(database.close)
        return database

    def other(self) -> sqlite3.Connection:
        """A connection of another, who has made the file."""
        self.file.touch(0o600)
        connection = sqlite3.connect(self.file, isolation_level=None)
        self.addCleanup(connection.close)
        return connection

    def test_a_new_file_is_locked_for_a_moment(self) -> None:
        """SQLite does not wait before it switches to its log: the switch is tried again."""
        other = self.other()
        other.execute("BEGIN IMMEDIATE")
        with patch("jwksd.stores.engine.sleep", lambda _: other.execute("ROLLBACK")):
            self.assertEqual(self.database().open().version, 0)

    def test_a_new_file_stays_locked(self) -> None:
        """It is tried again while patience lasts, and no longer; then one line names the lock."""
        self.other().execute("BEGIN IMMEDIATE")
        times = patch("jwksd.stores.engine.monotonic", side_effect=[0, PATIENCE - 0.1, PATIENCE])
        with times, patch("jwksd.stores.engine.sleep") as slept:
            refused = self.assertRaises(StartUpRefused, self.database().open)
        self.assertIn("database is locked; another process holds it", str(refused))
        self.assertEqual(slept.call_count, 1)

    def test_what_is_no_database_is_not_tried_again(self) -> None:
        """Only a lock goes away by itself."""
        self.file.touch(0o600)
        self.file.write_bytes(b"no database" * 99)
        with patch("jwksd.stores.engine.sleep", side_effect=AssertionError):
            refused = self.assertRaises(StartUpRefused, self.database().open)
        self.assertIn("it is damaged", str(refused))

    def test_a_large_one_is_read_without_the_lock_for_writing(self) -> None:
        """Servers that start at once look side by side whether it is whole; others may write."""
        database, other = self.database(), self.other()
        database.open()
        other.execute("PRAGMA busy_timeout=0")
        looked: list[str] = []

        @event.listens_for(database.engine, "before_cursor_execute")
        def write(_: object, __: object, statement: str, *___: object) -> None:
            if "integrity_check" in statement:
                looked.append(statement)
                other.execute("BEGIN IMMEDIATE").execute("ROLLBACK")

        database.open()
        self.assertEqual(len(looked), 1)

    def test_a_process_may_open_it_twice(self) -> None:
        """The first keeps its locks on it: what it acknowledges is there for every process."""
        first = self.database()
        first.open()
        with closing(open_database(self.url)) as second:
            second.open()
        program = f"import sqlite3; sqlite3.connect({str(self.file)!r}).execute('VACUUM')"
        subprocess.run([sys.executable, "-c", program], check=True)
        key = single()
        first.insert([key])
        self.assertEqual([found.kid for found in self.database().open().keys], [key.kid])


class DamagedTests(FileTestCase):
    """Bytes of the file that are no longer what SQLite wrote."""

    async def damage(self) -> None:
        """Every page after the first, behind the back of a store that is open."""
        self.database.engine.dispose()
        empty_log(self.file)
        size = self.file.stat().st_size
        with self.file.open("r+b") as file:
            file.seek(PAGE)
            file.write(b"x" * (size - PAGE))

    async def test_every_call_fails(self) -> None:
        """Whatever a store at work is asked, it says that it is damaged."""
        _, ring = make_ring(self.database)
        await self.damage()
        for call in (
            self.store.read(None, ()),
            self.store.insert(single()),
            self.store.swap(0, ring, Ring(), None),
            self.store.withdraw(["kid"]),
            self.store.expire(NOW),
            self.store.count({}),
        ):
            await self.assert_away(call, "malformed; it is damaged: restore it from a backup")

    async def prepared(self) -> tuple[bytes, Any]:
        """A database of several pages, closed; its bytes, and what is in it."""
        make_ring(self.database)
        self.database.insert([single() for _ in range(20)])
        content = summary(self.database.read(None, ()) or self.contents)
        await self.store.close()
        empty_log(self.file)
        return self.file.read_bytes(), content

    def opened(self, octets: bytes) -> object:
        """What is found in a file of these bytes, or why it was refused; it is left as it was."""
        file = self.folder / "damaged.db"
        for path in self.folder.glob("damaged.db*"):
            path.unlink()
        file.touch(0o600)
        file.write_bytes(octets)
        database = open_database(f"sqlite:///{file}")
        try:
            return summary(database.open())
        except StartUpRefused as refused:
            database.close()
            self.assertEqual(file.read_bytes(), octets)
            return refused.code
        finally:
            database.close()

    async def test_a_damaged_page_stops_the_start(self) -> None:
        """Any of them; no key is made in the place of one that cannot be read."""
        octets, _ = await self.prepared()
        self.assertEqual(len(octets) % PAGE, 0)
        for start in range(0, len(octets), PAGE):
            page = octets[:start] + os.urandom(PAGE) + octets[start + PAGE :]
            self.assertRegex(self.opened(page), "damaged: restore it from a backup")

    async def test_no_key_is_overlooked(self) -> None:
        """A state or a kid that is no longer what it was, in a row or in an index, is found."""
        octets, content = await self.prepared()
        kid = content[1].keys[0].kid.encode()
        for word in (b"active", b"pending", b"single", kid):
            places = [match.start() for match in re.finditer(re.escape(word), octets)]
            self.assertGreater(len(places), 1)
            for start in places[:6]:
                damaged = octets[:start] + b"x" * len(word) + octets[start + len(word) :]
                with self.subTest(word=word, start=start):
                    self.assertRegex(str(self.opened(damaged)), "damaged: restore it|a backup")

    async def test_damage_in_a_page_is_found_or_does_no_harm(self) -> None:
        """Wherever it is: the start is refused in one line, or everything is as it was."""
        octets, content = await self.prepared()
        found = []
        for garbage in (b"x" * 64, bytes(64)):
            for start in range(0, len(octets) - 64, 450):
                damaged = octets[:start] + garbage + octets[start + 64 :]
                with self.subTest(garbage=garbage[:1], start=start):
                    answer = self.opened(damaged)
                    if isinstance(answer, str):
                        self.assertRegex(answer, r"\Ajwksd: [^\n]+\Z")
                        found.append(answer)
                    else:
                        self.assertEqual(answer, content)
        self.assertGreater(len(found), 20)


class ServerTests(ProcessTestCase):
    """Real servers, whose clients see an answer and never a traceback."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.folder / "keys.db"
        kek = self.folder / "kek.txt"
        kek.touch(0o600)
        kek.write_text(write_kek(KEK))
        # Nobody reads what the server logs before its end, and a pipe that is full would stop it.
        quiet = ["--dev", "--no-access-log"]
        self.options = ["--store", f"sqlite:///{self.file}", "--kek-file", str(kek), *quiet]

    def serve_impatiently(self, patience: float, *more: str) -> tuple[Any, int]:
        program = (
            "import sys, jwksd.stores.engine as engine\n"
            "engine.PATIENCE = float(sys.argv[1])\n"
            "from jwksd.cli.command import serve\n"
            "serve(sys.argv[2:])\n"
        )
        command = [sys.executable, "-c", program, str(patience), "--port", "0", "--alg", "ES256"]
        process = self.start(*command, *self.options, *more, PYTHONPATH=str(CHECKOUT))
        return process, port_in(process.stdout.readline())

    def assert_store_away(self, answer: tuple[int, bytes]) -> None:
        """Clients learn that it is away, and nothing of files, hosts and ports."""
        problem = json.loads(answer[1])
        self.assertEqual((answer[0], problem["type"]), (503, "urn:jwksd:problem:store-away"))
        self.assertEqual(problem["detail"], "the store cannot be used now; the log says why")

    def assert_stops(self, process: Any, said: str) -> None:
        """In order; and the log has said why."""
        code, output = self.stop(process)
        self.assertEqual(code, 0)
        self.assertIn(said, output)

    def wait_until_ready(self, connection: HTTPConnection) -> None:
        while ask(connection, "GET", "/readyz")[0] != 200:
            pass

    def test_a_server_answers_while_its_store_waits(self) -> None:
        """A change waits for the lock; documents and signatures come as if nothing was."""
        process, port = self.serve_impatiently(WAIT, "--policy", "rotating")
        waiting, other = self.connect(port), self.connect(port)
        self.wait_until_ready(other)
        with closing(sqlite3.connect(self.file, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            waiting.request("POST", "/dev?action=rotate")
            for _ in range(50):
                self.assertEqual(ask(other, "GET", JWKS)[0], 200)
                self.assertEqual(ask(other, "POST", "/auth")[0], 200)
            self.assertEqual(readable([waiting.sock], [], [], 0)[0], [])
            lock.execute("ROLLBACK")
        self.assertEqual(waiting.getresponse().status, 200)
        self.assertEqual(self.stop(process)[0], 0)

    def test_documents_do_not_wait_behind_changes(self) -> None:
        """However many changes wait: to read what other processes have published needs no lock."""
        process, port = self.serve_impatiently(5)
        other = self.connect(port)
        waiting = [(self.connect(port), mint(other)["kid"]) for _ in range(6)]
        with closing(sqlite3.connect(self.file, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            for connection, kid in waiting:
                connection.request("POST", f"/dev?action=revoke&kid={kid}")
            for _ in range(50):
                self.assertEqual(len(json.loads(ask(other, "GET", JWKS)[1])["keys"]), 6)
            self.assertEqual(readable([c.sock for c, _ in waiting], [], [], 0)[0], [])
            lock.execute("ROLLBACK")
        for connection, _ in waiting:
            self.assertEqual(connection.getresponse().status, 200)
        self.assertEqual(json.loads(ask(other, "GET", JWKS)[1])["keys"], [])
        self.assertEqual(self.stop(process)[0], 0)

    def test_a_lock_that_stays_is_reported_to_clients(self) -> None:
        """503 with a problem document, until the lock is gone; then it goes on by itself."""
        process, port = self.serve_impatiently(0.05)
        connection = self.connect(port)
        self.assertEqual(ask(connection, "POST", "/auth")[0], 200)
        with closing(sqlite3.connect(self.file, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            self.assert_store_away(ask(connection, "POST", "/auth"))
            self.assertEqual(len(json.loads(ask(connection, "GET", JWKS)[1])["keys"]), 1)
        self.wait_until_ready(connection)
        self.assertEqual(ask(connection, "POST", "/auth")[0], 200)
        self.assertEqual(len(json.loads(ask(connection, "GET", JWKS)[1])["keys"]), 2)
        self.assert_stops(process, "the store is away: database is locked")

    def test_damage_is_reported_to_clients_and_stops_the_next_start(self) -> None:
        """Nothing is signed with a key that could not be kept, and nobody sees a traceback."""
        process, port = self.serve_impatiently(5)
        connection = self.connect(port)
        self.assertEqual(ask(connection, "POST", "/auth")[0], 200)
        with closing(sqlite3.connect(self.file)) as other:  # so that the server reads anew
            other.execute("PRAGMA user_version=1")
        empty_log(self.file)
        with self.file.open("r+b") as file:
            file.seek(PAGE)
            file.write(b"x" * (self.file.stat().st_size - PAGE))
        self.assert_store_away(ask(connection, "POST", "/auth"))
        status, body = ask(connection, "GET", JWKS)
        self.assertEqual((status, len(json.loads(body)["keys"])), (200, 1))
        self.assert_stops(process, "damaged: restore it")
        again = self.start(*MAIN, "--port", "0", *self.options)
        self.assertRegex(again.communicate()[1], r"\Ajwksd: [^\n]+damaged: restore it[^\n]+\n\Z")
        self.assertGreater(again.returncode, 0)


class RefusalTests(EndTestCase):
    """What a server does not start with: one line says why and what to do; nothing is changed."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.folder / "keys.db"
        with closing(open_database(f"sqlite:///{self.file}")) as database:
            make_ring(database)
        empty_log(self.file)
        self.kek = self.secret("kek.txt", write_kek(KEK))

    def secret(self, name: str, text: str) -> str:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)
        return str(path)

    def copy(self, name: str, change: str = "", mode: int = 0o600) -> str:
        """The URL of a copy of the database, changed by a statement."""
        path = self.folder / name
        path.touch(mode)
        path.write_bytes(self.file.read_bytes())
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(change)
            connection.commit()
        empty_log(path)
        return f"sqlite:///{path}"

    def options(self, store: str, *keks: str) -> list[str]:
        serve = ["--port", "0", "--policy", "rotating", "--alg", "ES256", "--store", store]
        return [*serve, *(text for kek in keks for text in ("--kek-file", kek))]

    def without(self, module: str, *arguments: str) -> list[str]:
        """A server in a Python that has no such module."""
        program = (
            f"import sys; sys.modules[{module!r}] = None\n"
            "from jwksd.cli.command import serve\n"
            "serve(sys.argv[1:])\n"
        )
        return [sys.executable, "-c", program, *arguments]

    def assert_refused(self, *cases: tuple[str, list[str]]) -> None:
        """Each case is what the line says, and the command."""
        before = {path: path.read_bytes() for path in self.folder.glob("*.db")}
        ends = self.ends([command for _, command in cases])
        for (said, command), end in zip(cases, ends, strict=True):
            with self.subTest(said=said, command=command):
                self.assert_refusal(said, *end)
        self.assertEqual({path: path.read_bytes() for path in before}, before)

    def test_private_keys_that_cannot_be_decrypted(self) -> None:
        """Wrong KEK, no KEK, damaged envelope, an envelope with another key, none at all."""
        wrong = self.secret("wrong.txt", write_kek(JWK.generate(kty="oct", size=256)))
        middle = "substr(envelope, 1, 300) || 'AAAA' || substr(envelope, 305)"
        damaged = self.copy("damaged.db", f"UPDATE jwksd_keys SET envelope = {middle}")
        other = f"UPDATE jwksd_keys SET envelope = '{Keychain([KEK]).seal(b'{}')}'"
        swapped = self.copy("swapped.db", other)
        empty = self.copy("empty.db", "UPDATE jwksd_keys SET envelope = NULL")
        url = f"sqlite:///{self.file}"
        self.assert_refused(
            ("which was not given; given are", [*MAIN, *self.options(url, wrong)]),
            ("jwksd kek new > kek.txt", [*MAIN, *self.options(url)]),
            ("its envelope is damaged", [*MAIN, *self.options(damaged, self.kek)]),
            ("holds no ES256 key; give the right --kek", [*MAIN, *self.options(swapped, self.kek)]),
            ("has no envelope; give the right", [*MAIN, *self.options(empty, self.kek)]),
        )

    def test_files_that_are_not_as_they_must_be(self) -> None:
        """Secrets that others can read, files that are none, a schema from the future."""
        readable_kek = self.secret("readable.txt", write_kek(KEK))
        Path(readable_kek).chmod(0o640)
        exposed = self.copy("exposed.db", "SELECT 1")
        (self.folder / "exposed.db").chmod(0o604)
        newer = self.copy("newer.db", "UPDATE jwksd_schema SET version_num = '9999'")
        other = self.secret("other.db", "this is no database" * 100)
        garbage = self.secret("garbage.txt", "this is no key")
        url = f"sqlite:///{self.file}"
        self.assert_refused(
            (f"chmod 600 {readable_kek}", [*MAIN, *self.options(url, readable_kek)]),
            ("chmod 600 ", [*MAIN, *self.options(exposed, self.kek)]),
            ("upgrade jwksd, or restore", [*MAIN, *self.options(newer, self.kek)]),
            ("restore it from a backup", [*MAIN, *self.options(f"sqlite:///{other}", self.kek)]),
            ("jwksd kek new", [*MAIN, *self.options(url, garbage)]),
            ("No such file", [*MAIN, *self.options(url, str(self.folder / "missing.txt"))]),
        )

    def test_stores_that_cannot_be_had(self) -> None:
        """What is no URL, leads nowhere, or needs a package that is not installed."""
        missing = f"sqlite:///{self.folder}/missing/keys.db"
        new = f"sqlite:///{self.folder}/new"
        nowhere = "postgresql://jwksd@127.0.0.1:1/jwksd"
        extra = "python -m pip install 'jwksd[sql]'"
        self.assert_refused(
            ("must be memory, sqlite:///PATH", [*MAIN, *self.options("nonsense", self.kek)]),
            ("must be memory, sqlite:///PATH", [*MAIN, *self.options("mysql://h/d", self.kek)]),
            ("is no URL", [*MAIN, *self.options("postgresql://u@h:port/d", self.kek)]),
            ("must be able to write", [*MAIN, *self.options(missing, self.kek)]),
            ("Connection refused", [*MAIN, *self.options(nowhere, self.kek)]),
            (f"sqlalchemy: {extra}", self.without("sqlalchemy", *self.options(new, self.kek))),
            (f"alembic: {extra}", self.without("alembic", *self.options(new, self.kek))),
            (f"psycopg: {extra}", self.without("psycopg", *self.options(nowhere, self.kek))),
        )


TERMINATE = b"X\x00\x00\x00\x04"
"""PostgreSQL's message for the end of a session, which it reads when all before it is done."""


class Wire:
    """A way to PostgreSQL that can be cut at a commit, before or after the commit comes through.

    Or ``silently``: the commit is lost, and the server is not told that its client is gone.
    ``cut`` tells whether it has been, since it was armed.
    """

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.when = ""
        self.cut = False
        self._skip = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def arm(self, when: str, skip: int = 0) -> None:
        """Cut once, after so many commits of other changes."""
        self.when, self._skip, self.cut = when, skip, False

    def cuts(self) -> bool:
        """Whether this is the commit to cut."""
        if not self.when or self.cut:
            return False
        self.cut = self._skip == 0
        self._skip -= 1
        return self.cut

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                Session(self, self._server.accept()[0])


class Session:
    """One connection through a wire."""

    def __init__(self, wire: Wire, client: socket.socket) -> None:
        self._wire = wire
        self._client = client
        self._server = socket.create_connection(("127.0.0.1", wire.upstream))
        self._silent = False
        self._ended = Event()
        for pump in (self._forward, self._back):
            Thread(target=pump, daemon=True).start()

    def _forward(self) -> None:
        writes = False
        with contextlib.suppress(OSError), self._client, self._server:
            while octets := self._client.recv(65536):
                writes |= b"NOTIFY" in octets  # only who writes tells others of it
                if writes and b"COMMIT" in octets:
                    writes = False
                    if self._wire.cuts():
                        self._cut(octets)
                        return
                self._server.sendall(octets)
            self._server.shutdown(socket.SHUT_RDWR)

    def _cut(self, commit: bytes) -> None:
        """The client hears nothing more, whether the commit comes through or not."""
        self._silent = True
        if self._wire.when == "after":
            self._server.sendall(commit + TERMINATE)
            self._ended.wait(WAIT)
        self._client.shutdown(socket.SHUT_RDWR)
        if self._wire.when == "silently":
            self._ended.wait(WAIT)
        self._server.shutdown(socket.SHUT_RDWR)

    def _back(self) -> None:
        with contextlib.suppress(OSError):
            while octets := self._server.recv(65536):
                if not self._silent:
                    self._client.sendall(octets)
        self._ended.set()
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)


if postgres.find() is not None:

    class LostConnectionTests(TestCase):
        """A connection that is lost in the middle of a commit: who wrote cannot know."""

        def connect(self) -> None:
            """An empty database, a store that reaches it through a wire, and a direct view."""
            cluster = postgres.shared()
            self.wire = Wire(cluster.port)
            self.addCleanup(self.wire.close)
            url = cluster.new_database()
            self.direct = open_database(url)
            self.addCleanup(self.direct.close)
            self.through = url.replace(f":{cluster.port}/", f":{self.wire.port}/")
            self.store = SqlStore(open_database(self.through), reactor)
            self.addCleanup(self.store.close)

        async def test_an_insert_is_not_acknowledged(self) -> None:
            """The key is there whole, or not at all; a read shows which; the next is kept."""
            for when in ("before", "after"):
                with self.subTest(when=when):
                    self.connect()
                    self.store.open()
                    self.wire.arm(when)
                    lost, kept = single(), single()
                    await self.assertFailure(self.store.insert(lost), StoreAway)
                    self.assertTrue(self.wire.cut)
                    await self.assert_kept([lost] if when == "after" else [])
                    await self.store.insert(kept)
                    await self.assert_kept([lost, kept] if when == "after" else [kept])
                    await self.store.close()

        async def assert_kept(self, keys: Sequence[PublishedKey]) -> None:
            found = await self.store.read(None, ())
            wanted = {key.kid: key.document for key in keys}
            self.assertEqual({key.kid: key.document for key in found.keys}, wanted)

        async def test_a_swap_is_not_acknowledged(self) -> None:
            """The ring is the one before or the one after, with every private half of it."""
            for when in ("before", "after"):
                with self.subTest(when=when):
                    self.connect()
                    contents, pair = self.store.open(), fresh_pair()
                    ring = with_pending(Ring(), pair)
                    self.wire.arm(when)
                    swap = self.store.swap(contents.version, Ring(), ring, pair)
                    await self.assertFailure(swap, StoreAway)
                    found = await self.store.read(None, ())
                    self.assertEqual(found.ring, ring if when == "after" else Ring())
                    kids = {key.kid for key in found.ring.keys}
                    self.assertEqual({pair.kid for pair in found.pairs}, kids)
                    await self.store.close()

        def test_a_node_that_vanishes_holds_nobody_up(self) -> None:
            """Its open transaction has locked the ring; the server ends it before long."""
            with patch("jwksd.stores.engine.PATIENCE", 1):
                self.connect()
                vanishing = open_database(self.through)
                self.addCleanup(vanishing.close)
                vanishing.open()
            self.wire.arm("silently")
            self.assertRaises(StoreAway, vanishing.insert, [single()])
            self.assertTrue(self.wire.cut)
            key = single()
            for _ in range(5):
                with contextlib.suppress(StoreAway):
                    self.direct.insert([key])
                    break
            self.assertEqual([found.kid for found in self.direct.read(None, ()).keys], [key.kid])

        async def test_a_rotation_recovers(self) -> None:
            """Whichever of the changes of its first day is cut, it goes on by itself.

            What it holds is what the database holds, one key is active, and none was lost.
            """
            for when in ("before", "after"):
                for change in range(4):
                    with self.subTest(when=when, change=change):
                        self.connect()
                        await self.live_a_day(when, change)

        async def live_a_day(self, when: str, change: int) -> None:
            self.clock, self.seen = Clock(), set[str]()
            self.clock.advance(NOW)
            self.policy = make_policy(
                self.clock,
                FreshKeys(),
                reactor=self.clock,
                store=self.store,
                policy="rotating",
                algorithms=["ES256"],
            )
            self.policy.open()
            self.wire.arm(when, change)
            self.policy.start()
            await self.until_there_are(active=1, pending=1)
            self.clock.advance(SCHEDULE.rotation_interval)
            await self.until_there_are(active=1, pending=1, retired=1)
            self.assertTrue(self.wire.cut)
            await self.assert_whole()
            await self.policy.stop()

        def states(self) -> dict[str, int]:
            return Counter(key.state.value for key in self.policy.ring.keys)

        async def until_there_are(self, **states: int) -> None:
            """The clock goes on by seconds; the database has its own time."""
            for _ in range(3000):
                self.seen |= {key.kid for key in self.policy.ring.keys}
                if self.states() == states and self.policy.not_ready is None:
                    return
                await deferLater(reactor, 0.002)
                self.clock.advance(1)
            self.fail(f"{self.policy.ring} after an hour: {self.policy.not_ready}")

        async def assert_whole(self) -> None:
            ring, contents = self.policy.ring, self.direct.read(None, ())
            self.assertEqual(frozenset(contents.ring.keys), frozenset(ring.keys))
            kids = {key.kid for key in ring.keys}
            self.assertEqual({key.kid for key in self.policy.keys}, kids)
            self.assertEqual({key.kid for key in contents.keys}, kids)
            self.assertEqual(self.seen, kids)
            signing = {key.kid for key in ring.keys if key.state is not State.RETIRED}
            self.assertEqual({pair.kid for pair in contents.pairs}, signing)
            signed: list[str] = []
            with contextlib.suppress(ZeroDivisionError):
                await self.policy.sign("ES256", lambda pair: signed.append(pair.kid) or 1 // 0)
            active = ring.active("ES256")
            self.assertEqual(signed, [active and active.kid])
