"""The key-encryption key is changed beside servers at work: nobody notices, and the old one dies.

PostgreSQL's part exists where PostgreSQL is installed; CI installs it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition, Thread
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from jwcrypto.common import base64url_decode
from jwcrypto.jwk import JWK
from sqlalchemy import select

from jwksd.errors import StoreAway
from jwksd.jose.envelopes import Keychain, kek_of, write_kek
from jwksd.lifecycle import plan as plans
from jwksd.lifecycle.ring import Ring, State
from jwksd.stores import schema
from jwksd.stores.database import Database
from tests.support import postgres
from tests.support.app import SCHEDULE
from tests.support.effort import pick
from tests.support.keys import NOW
from tests.support.processes import CHECKOUT, JWKS, WAIT, Daemon, ask, environment, running
from tests.support.stores import fresh_pair, with_pending

ALGORITHMS = ("ES256", "ES384")
SERVE = ["--policy", "rotating", "--alg", ",".join(ALGORITHMS)]
SEALED = 2 * len(ALGORITHMS)
"""An active and a pending key each."""

OLD, NEW = (JWK.generate(kty="oct", size=256) for _ in range(2))

BROKEN_OFF = """
import os, signal, sys
from itertools import count
from jwksd.cli.command import main
from jwksd.jose.envelopes import Keychain
from jwksd.stores.database import Database

def die(*_): os.kill(os.getpid(), signal.SIGKILL)
seal, calls = Keychain.seal, count()
if sys.argv[1] == "between":
    Keychain.seal = lambda self, private: die() if next(calls) == 2 else seal(self, private)
else:
    Database._scrub = die
main(sys.argv[2:])
"""
"""``jwksd`` that kills itself before the third envelope, or before it tidies up."""


PAUSE = pick(0.02, 0)
"""Seconds between some requests of a client and its next."""


class Load:
    """Requests all the time, on connections of their own; what was answered is counted."""

    def __init__(self, port: int, threads: int = 3) -> None:
        self.answered = 0
        self.failed: list[object] = []
        self._port = port
        self._more = Condition()
        self._stopped = False
        self._threads = [Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join(WAIT)

    def wait_for(self, more: int) -> None:
        """Until so many more were answered, or one failed."""
        with self._more:
            enough = self.answered + more
            self._more.wait_for(lambda: self.answered >= enough or self.failed, WAIT)

    def _run(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=WAIT)) as connection:
            while not self._stopped and not self.failed:
                for method, path in (("POST", "/auth"), ("POST", "/auth?alg=ES384"), ("GET", JWKS)):
                    self._ask(connection, method, path)
                time.sleep(PAUSE)

    def _ask(self, connection: HTTPConnection, method: str, path: str) -> None:
        try:
            status, body = ask(connection, method, path)
            answer: object = (status, body) if status != 200 else None
        except Exception as error:
            answer = error
        with self._more:
            self.answered += 1
            self.failed += [] if answer is None else [answer]
            self._more.notify_all()


@contextmanager
def under_load(daemon: Daemon) -> Iterator[Load]:
    load = Load(daemon.port)
    try:
        load.wait_for(20)
        yield load
    finally:
        load.stop()


def ciphertext(envelope: str) -> bytes:
    """What only this envelope has."""
    return envelope.split(".")[3].encode()


def signers(daemon: Daemon) -> set[str]:
    """The kids that sign now, one for each algorithm."""
    with closing(HTTPConnection("127.0.0.1", daemon.port, timeout=WAIT)) as connection:
        tokens = [ask(connection, "POST", f"/auth?alg={alg}")[1] for alg in ALGORITHMS]
    return {json.loads(base64url_decode(t.split(b".")[0].decode()))["kid"] for t in tokens}


class RewrapContract:
    """What holds for every kind of database. ``url`` names an empty one."""

    def url(self) -> str:
        raise NotImplementedError

    def setUp(self: Any) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.store = ["--store", self.url()]
        for name, keks in (("old", [OLD]), ("both", [NEW, OLD]), ("new", [NEW])):
            (self.folder / name).mkdir()
            file = self.folder / f"{name}.txt"
            file.touch(0o600)
            file.write_text("\n".join(map(write_kek, keks)))

    def keks(self: Any, name: str) -> list[str]:
        return ["--kek-file", str(self.folder / f"{name}.txt")]

    def serving(self: Any, name: str) -> Any:
        """A server with these keys."""
        options = [*SERVE, *self.store, *self.keks(name)]
        return running(str(self.folder / name), *options)

    def rows(self: Any) -> dict[str, str | None]:
        """The envelope of every row by kid: None for a key without private half."""
        with closing(Database(self.store[1], None)) as database, database._reading() as connection:
            rows = connection.execute(select(schema.keys.c.kid, schema.keys.c.envelope)).all()
        return {row.kid: row.envelope for row in rows}

    def envelopes(self: Any) -> dict[str, str]:
        """Every envelope there is, by kid."""
        return {kid: text for kid, text in self.rows().items() if text is not None}

    def under(self: Any, kek: JWK) -> int:
        """How many envelopes are under this KEK."""
        return [kek_of(text) for text in self.envelopes().values()].count(kek.thumbprint())

    def run_jwksd(self: Any, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """With the Python options and arguments given."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=CHECKOUT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=WAIT,
        )

    def rewrap(self: Any) -> str:
        done = self.run_jwksd("-m", "jwksd", "kek", "rewrap", *self.store, *self.keks("both"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def break_off(self: Any, where: str) -> None:
        rewrap = ["kek", "rewrap", *self.store, *self.keks("both")]
        self.assertEqual(self.run_jwksd("-c", BROKEN_OFF, where, *rewrap).returncode, -9)

    def make_keys(self: Any) -> set[str]:
        """All keys under the old KEK; the kids of those that sign."""
        with self.serving("old") as daemon:
            active = signers(daemon)
            while self.under(OLD) < SEALED:
                signers(daemon)
        return active

    def assert_old_opens_nothing(self: Any) -> None:
        serve = ["-m", "jwksd", "serve", "--port", "0", *SERVE, *self.store, *self.keks("old")]
        refused = self.run_jwksd(*serve)
        self.assertGreater(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"\Ajwksd: a private key in --store cannot [^\n]+\n\Z")

    def test_nobody_notices(self: Any) -> None:
        """Broken off twice and run again under load: every request is answered with 200.

        Afterwards the old KEK opens nothing, and with the new one alone the same keys sign.
        """
        active = self.make_keys()
        old = self.envelopes()
        self.before()
        with self.serving("both") as daemon:
            with under_load(daemon) as load:
                self.break_off("between")
                self.assertEqual((self.under(NEW), self.under(OLD)), (2, SEALED - 2))
                load.wait_for(20)
                self.break_off("at the end")
                load.wait_for(20)
                told = f"0 private keys rewrapped; all are under {NEW.thumbprint()} now\n"
                self.assertEqual(self.rewrap(), told)
                load.wait_for(20)
            self.assertEqual(load.failed, [])
            self.assert_no_trace(old)
            self.assertEqual(signers(daemon), active)
        self.assert_no_trace(old)
        self.assertEqual(self.envelopes().keys(), old.keys())
        self.assertEqual(self.under(NEW), SEALED)
        self.assert_old_opens_nothing()
        with self.serving("new") as daemon:
            self.assertEqual(signers(daemon), active)
        for name in ("old", "both", "new"):
            log = (self.folder / name / "daemon.log").read_text()
            self.assertNotIn("Traceback", log)
            self.assertNotIn("away", log)

    def before(self) -> None:
        """What is to be looked at before anything is rewrapped."""

    def assert_no_trace(self, old: dict[str, str]) -> None:
        """Nothing is left of these envelopes, where that can be seen."""

    def test_what_a_server_changes_meanwhile_wins(self: Any) -> None:
        """A key that is retired while its envelope is made anew stays without private half."""
        database = self.database([OLD])
        pair, version = fresh_pair(), database.open().version
        pending = with_pending(Ring(), pair)
        version = database.swap(version, Ring(), pending, pair)
        active = plans.settle(pending, ["ES256"], NOW, SCHEDULE, {})
        version = database.swap(version, pending, active, None)
        retired = plans.settle(active, [], NOW, SCHEDULE, {})
        self.assertEqual([key.state for key in retired.keys], [State.RETIRED])
        other = self.database([NEW, OLD])
        seal = other.keychain.seal

        def retire_and_seal(private: bytes) -> str:
            self.assertEqual(database.swap(version, active, retired, None), version + 1)
            return seal(private)

        with patch.object(other.keychain, "seal", retire_and_seal):
            self.assertEqual(other.rewrap(), 0)
        self.assertEqual(self.rows(), {pair.kid: None})

    def database(self: Any, keks: list[JWK]) -> Database:
        database = Database(self.store[1], Keychain(keks))
        self.addCleanup(database.close)
        return database


class SQLiteRewrapTests(RewrapContract, TestCase):
    """A file, in whose bytes nothing old may be left."""

    def url(self) -> str:
        self.file = self.folder / "keys.db"
        return f"sqlite:///{self.file}"

    def octets(self) -> bytes:
        """The file, its log, and whatever else is beside it."""
        return b"".join(path.read_bytes() for path in self.folder.glob("keys.db*"))

    def before(self) -> None:
        octets = self.octets()
        found = [text for text in self.envelopes().values() if ciphertext(text) in octets]
        self.assertEqual(len(found), SEALED)

    def assert_no_trace(self, old: dict[str, str]) -> None:
        octets = self.octets()
        self.assertEqual([text for text in old.values() if ciphertext(text)[:40] in octets], [])
        self.assertEqual([text for text in old.values() if ciphertext(text)[-40:] in octets], [])

    def test_a_reader_without_a_pause_is_reported(self) -> None:
        """SQLite cannot empty its log then: the command says so, and goes well when run again."""
        with patch("jwksd.stores.engine.PATIENCE", 0.1):
            database, reader = self.database([OLD]), self.database([OLD])
            other = self.database([NEW, OLD])
        pair, version = fresh_pair(), database.open().version
        database.swap(version, Ring(), with_pending(Ring(), pair), pair)
        old = self.envelopes()
        with reader._reading() as connection:
            connection.execute(select(schema.keys)).all()
            with self.assertRaises(StoreAway) as caught:
                other.rewrap()
        self.assertIn("run this again", caught.exception.why)
        self.assertTrue(any(ciphertext(text) in self.octets() for text in old.values()))
        self.assertEqual(other.rewrap(), 0)
        self.assert_no_trace(old)


if postgres.find() is not None:

    class PostgreSQLRewrapTests(RewrapContract, TestCase):
        """A real server."""

        def url(self) -> str:
            return postgres.shared().new_database()
