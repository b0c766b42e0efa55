"""docs/operations.md: its commands, run in order as an operator would type them, on real stores.

What begins with ``jwksd serve`` is started in the background, and the server before it stopped; a
comment ``<!-- stopped -->`` says that the text tells to stop all servers there. The part with
PostgreSQL exists where PostgreSQL is installed.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import TestCase

from jwcrypto.jwk import JWK

from jwksd.jose.envelopes import write_kek
from tests.support import postgres
from tests.support.forks import run_forks
from tests.support.keys import assert_public, private_jwk
from tests.support.processes import CHECKOUT, environment

DOCUMENT = CHECKOUT / "docs" / "operations.md"
_PART = re.compile(r"^```sh\n(.*?)^```$|(<!-- stopped -->)", re.MULTILINE | re.DOTALL)
_URL = "postgresql://jwksd@db.example/jwksd"
STOPPED = ""
SERVE = ["serve", "--port", "0", "--policy", "rotating"]

CODES = {
    "--store must be": 2,
    "--retention (": 2,
    "--store cannot be used": 3,
    "it is damaged": 3,
    "this machine's clock is": 3,
}
"""The exit codes of refusals, where they are not 1."""


def parts() -> list[str]:
    """The shell blocks in order, and ``STOPPED`` where the servers are to be stopped."""
    return [match[1] or STOPPED for match in _PART.finditer(DOCUMENT.read_text("utf-8"))]


def refusals() -> list[str]:
    """The first column of the table of what a start is refused for."""
    section = DOCUMENT.read_text("utf-8").rpartition("\n## ")[2]
    return re.findall(r"^\| `([^`]+)` \| ", section, re.MULTILINE)[1:]


class Story:
    """A folder in which commands are run, and the servers that were started in it."""

    def __init__(self, folder: Path, url: str = _URL) -> None:
        self.folder = folder
        self.servers: list[tuple[subprocess.Popen[str], int]] = []
        self._url = url
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, command in (("python", ""), ("jwksd", "-m jwksd ")):
            program = self._programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {command}"$@"\n')
            program.chmod(0o700)
        binaries = postgres.find()
        self.environment = environment() | {
            "PATH": f"{self._programs}:{binaries or '/bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
        }

    def run(self, block: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a block to its end, whatever that is."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(_URL, self._url)],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def serve(self, command: str) -> int:
        """Start a server as the command says, on a free port, and wait for its greeting."""
        command = command.replace(_URL, self._url).rstrip()
        log = (self.folder / f"server-{len(list(self.folder.glob('server-*')))}.log").open("w")
        with log:
            process = subprocess.Popen(
                ["bash", "-euc", f"exec {command} --port 0"],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        greeting = process.stdout.readline()
        match = re.search(r":([0-9]+);", greeting)
        assert match is not None, Path(log.name).read_text()
        self.servers.append((process, int(match[1])))
        return int(match[1])

    def stop(self) -> None:
        """Stop every server in order; nothing private is in any log."""
        while self.servers:
            process, _ = self.servers.pop()
            process.terminate()
            process.communicate(timeout=60)
            assert process.returncode == 0, process.returncode
        for log in self.folder.glob("server-*.log"):
            assert_public(log.read_bytes(), "the log")
            assert "Traceback" not in log.read_text(), log.read_text()


@contextmanager
def story(url: str = _URL) -> Iterator[Story]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        told = Story(Path(folder), url)
        stack.callback(told.stop)
        yield told


def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def kids(port: int) -> list[str]:
    """What a server publishes."""
    return [key["kid"] for key in json.loads(get(port, "/.well-known/jwks.json")[1])["keys"]]


class OptionsTests(TestCase):
    def test_the_options_begin_as_the_story_does(self) -> None:
        """Its commands for keeping keys are the first ones of the document, which are run."""
        indented = "".join(f"    {line}\n" for line in parts()[0].splitlines())
        self.assertIn(f"\n\n{indented}\n", (CHECKOUT / "docs" / "options.md").read_text("utf-8"))


class StoryTestCase(TestCase):
    """What both stories check after each of their blocks."""

    def tell(self, told: Story, blocks: list[str], *, restart: bool) -> None:
        for block in blocks:
            with self.subTest(block=block):
                if block == STOPPED or (restart and "jwksd serve" in block):
                    told.stop()
                before, serve, command = block.partition("jwksd serve")
                result = told.run(before)
                self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
                if serve:
                    port = told.serve(serve + command)
                    self.assertEqual(get(port, "/auth", "POST")[0], 200)
                    self.assertEqual(get(port, "/readyz")[0], 200)
                self.check(told, block, result.stdout)

    def check(self, told: Story, block: str, output: str) -> None:
        """What the text promises of this block."""


class SQLiteTests(StoryTestCase):
    def test_the_story_with_a_file(self) -> None:
        """KEK changed and lost, keys listed, exported and imported, a copy made and restored."""
        with story() as told:
            signer = private_jwk(0).export_to_pem(private_key=True, password=None)
            (told.folder / "signer.pem").write_bytes(signer)
            self.signers: list[str] = []
            blocks = [
                block for block in parts() if "postgresql" not in block and "pg_" not in block
            ]
            self.assertGreater(len(blocks), 12)
            first_stop = blocks.index(STOPPED)
            del blocks[blocks.index(STOPPED, first_stop + 1)]  # that of PostgreSQL
            self.tell(told, blocks, restart=True)
            self.assertEqual(self.signers[0], self.signers[1], "a changed KEK changes no key")
            self.assertNotEqual(self.signers[1], self.signers[2], "a new store has new keys")
            self.assertEqual(self.signers[2], self.signers[3], "what was restored signs on")

    def check(self, told: Story, block: str, output: str) -> None:
        if "jwksd serve" in block:
            _, port = told.servers[-1]
            self.signers.append(json.loads(get(port, "/auth", "POST")[1])["kid"])
            expected = 3 if len(self.signers) == 4 else 2  # the last has an imported one
            while len(kids(port)) < expected:
                time.sleep(0.02)
        if "rewrap" in block:
            self.assertTrue(output.startswith("2 private keys rewrapped"), output)
        if "head -n 1" in block:
            self.assertEqual((told.folder / "kek.txt").read_text().count("jwksd-kek-"), 1)
        if "lost.json" in block:
            lost = json.loads((told.folder / "lost.json").read_text())
            self.assertIn(self.signers[-1], [key["kid"] for key in lost["keys"]])
        if "import" in block and "signer.pem" in block:
            self.assertEqual(output, f"{private_jwk(0).thumbprint()} (RS256) is pending\n")
        if "revoke" in block:
            self.assertIn(f"{self.signers[-1]} is revoked\n", output)
        elif "keys list" in block:
            self.assertEqual(output.count(self.signers[-1]), block.count("jwksd keys"))
        for path in told.folder.glob("*"):
            if path.suffix in (".db", ".txt"):
                self.assertEqual(path.stat().st_mode & 0o077, 0, path.name)
            if path.suffix == ".db":
                self.assertNotIn(private_jwk(0)["d"].encode(), path.read_bytes())


class RefusalTests(TestCase):
    """The table at the end: each row is what a real server says, in one line, and ends with."""

    def setUp(self) -> None:
        self.told = self.enterContext(story())
        self.folder = self.told.folder
        self.told.run("(umask 077; jwksd kek new > kek.txt; jwksd kek new > other.txt)")
        key = JWK.generate(kty="EC", crv="P-256").export_to_pem(private_key=True, password=None)
        (self.folder / "key.pem").write_bytes(key)
        stored = "--store sqlite:///keys.db --kek-file kek.txt --alg ES256 --as ES256"
        self.told.run(f"jwksd keys import {stored} key.pem")

    def test_every_row_is_what_is_said(self) -> None:
        """And every row is tried, save for those that need PostgreSQL where there is none."""
        starts: dict[str, tuple[str, dict[str, str]]] = {
            "--store keeps private keys encrypted only": ("--store sqlite:///new.db", {}),
            "holds no key-encryption keys": ("", {"JWKSD_KEK": "", "JWKSD_STORE": self.file()}),
            "can be read by others": ("--kek-file open.txt", {"JWKSD_STORE": self.file()}),
            "a private key in --store cannot be decrypted": (
                "--store sqlite:///keys.db --kek-file other.txt",
                {},
            ),
            "--store must be": ("--store mysql://h/d", {}),
            "--store is no URL that can be used": (
                self.good("postgresql://user:p@ss:word@h:x/d"),
                {},
            ),
            "--store cannot use": (self.good("sqlite:///none/keys.db"), {}),
            "--store cannot be used": (self.good(self.file("no database" * 99)), {}),
            "it is damaged": (self.good(self.damaged()), {}),
            "of a newer jwksd than this": (self.good(self.newer()), {}),
            "the keys of a rotation that is not over": (f"--policy per-token {self.good()}", {}),
            "--retention (": (f"{self.good()} --retention 86700", {}),
        }
        tried = dict(zip(starts, self.fork([*starts.values()]), strict=True))
        tried["--store needs"] = self.serve(self.good(), PYTHONPATH=self.without_sqlalchemy())
        if postgres.find() is not None:
            store = self.good(postgres.shared().new_database())
            tried["this machine's clock is"] = self.serve(store, PYTHONPATH=self.other_clock())
        for said, (code, error) in tried.items():
            with self.subTest(said=said):
                self.assertEqual(code, CODES.get(said, 1))
                self.assertRegex(error, r"\Ajwksd: [^\n]+\n\Z")
                self.assertIn(said, error)
        self.assertEqual(set(refusals()) - {"this machine's clock is"} - set(tried), set())
        self.assertEqual(set(tried) - set(refusals()), set())

    def fork(self, starts: list[tuple[str, dict[str, str]]]) -> list[tuple[int, str]]:
        """The exit codes of servers with these arguments and variables, and what they say."""
        ends = run_forks(
            self.folder,
            [("main", [*SERVE, *arguments.split()], variables) for arguments, variables in starts],
        )
        self.assertEqual({greeting for greeting, _, _ in ends}, {""})
        return [(code, error) for _, code, error in ends]

    def serve(self, arguments: str, **variables: str) -> tuple[int, str]:
        """The exit code of a server with these arguments, and what it says before it ends."""
        result = self.told.run(f"jwksd {' '.join(SERVE)} {arguments}", **variables)
        self.assertEqual(result.stdout, "")
        return result.returncode, result.stderr

    def good(self, store: str = "sqlite:///keys.db") -> str:
        return f"--store {store} --kek-file kek.txt"

    def file(self, text: str = "") -> str:
        """The URL of a file with this text; open.txt is made readable by all on the way."""
        (self.folder / "open.txt").write_text("")
        path = self.folder / f"file{len(text)}.db"
        path.write_text(text)
        path.chmod(0o600)
        return f"sqlite:///{path}"

    def copied(self, name: str) -> Path:
        """A copy of the good store."""
        path = self.folder / name
        with closing(sqlite3.connect(self.folder / "keys.db")) as good:
            good.execute("VACUUM INTO ?", [str(path)])
        path.chmod(0o600)
        return path

    def damaged(self) -> str:
        path = self.copied("damaged.db")
        with closing(sqlite3.connect(path)) as connection:
            root, size = connection.execute(
                "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema"
                " WHERE name = 'ix_jwksd_keys_until'"
            ).fetchone()
        with path.open("r+b") as file:
            file.seek((root - 1) * size)
            file.write(bytes(size))
        return f"sqlite:///{path}"

    def newer(self) -> str:
        path = self.copied("newer.db")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE jwksd_schema SET version_num = '9999'")
        return f"sqlite:///{path}"

    def without_sqlalchemy(self) -> str:
        """A path on which it cannot be imported."""
        folder = self.folder / "without"
        folder.mkdir()
        (folder / "sqlalchemy.py").write_text("raise ModuleNotFoundError(name='sqlalchemy')")
        return f"{folder}:{CHECKOUT}"

    def other_clock(self) -> str:
        """A path on which Python starts with a clock that is a minute ahead."""
        folder = self.folder / "ahead"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "import time\nright = time.time\ntime.time = lambda: right() + 60\n"
        )
        return f"{folder}:{CHECKOUT}"


if postgres.find() is not None:

    class PostgreSQLTests(StoryTestCase):
        def test_the_story_with_a_database(self) -> None:
            """A first server, a copy, a restore, and two servers that publish and sign the same."""
            with story(postgres.shared().new_database()) as told:
                (told.folder / "kek.txt").write_text(write_kek(JWK.generate(kty="oct", size=256)))
                (told.folder / "kek.txt").chmod(0o600)
                blocks = parts()
                first = next(i for i, block in enumerate(blocks) if "postgresql" in block)
                dump = next(i for i, block in enumerate(blocks) if "pg_dump" in block)
                serve = blocks[first]
                self.assertEqual(blocks[dump + 1], STOPPED)
                self.tell(told, [serve, *blocks[dump : dump + 3]], restart=False)
                rest = [block for block in blocks[dump + 3 :] if "postgresql" in block]
                self.tell(told, [serve, *rest], restart=False)
                ports = [port for _, port in told.servers]
                self.assertEqual(len(ports), 2)
                self.assertEqual(kids(ports[0]), kids(ports[1]))
                minted = [json.loads(get(port, "/auth", "POST")[1]) for port in ports]
                self.assertEqual(minted[0]["kid"], minted[1]["kid"])

        def check(self, told: Story, block: str, output: str) -> None:
            self.assertEqual(output, "")
