"""An operator's commands, on a SQLite file that servers of the tests use too."""

import json
import os
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from jwcrypto.jwk import JWK
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.cli.command import main
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.rotating import Rotating
from jwksd.jose.envelopes import Keychain, write_kek
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.lifecycle.contents import Contents
from jwksd.stores.database import Database
from jwksd.stores.sql import SqlStore
from tests.support.app import make_policy
from tests.support.stores import FreshKeys


class InlineStore(SqlStore):
    """A database that is waited for: each call is done when it returns."""

    def open(self) -> Contents:
        return self._database.open()

    def close(self) -> "Deferred[None]":
        self._database.close()
        return succeed(None)

    def _run(self, pool: Any, call: Any, *arguments: Any) -> "Deferred[Any]":
        return maybeDeferred(call, *arguments)


class OperatorTestCase(SynchronousTestCase):
    """A folder with a KEK, a store, and servers that run on a clock of their own."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "keys.db"
        self.kek_file = self.folder / "kek.txt"
        self.keks = [JWK.generate(kty="oct", size=256)]
        self.write_keks()
        self.store = ["--store", f"sqlite:///{self.file}"]
        self.keyed = [*self.store, "--kek-file", str(self.kek_file)]
        self.clock = Clock()
        self.clock.advance(int(time.time()))

    def write_keks(self) -> None:
        self.kek_file.write_text("\n".join(map(write_kek, self.keks)))
        self.kek_file.chmod(0o600)

    def run_command(
        self, *arguments: str, clock: Callable[[], float] = time.time, **variables: str
    ) -> str:
        """What ``jwksd`` prints, with no other variables of ours around it."""
        environment = {n: t for n, t in os.environ.items() if not n.startswith("JWKSD_")}
        out = StringIO()
        with patch.dict("os.environ", environment | variables, clear=True), redirect_stdout(out):
            main(arguments, clock)
        return out.getvalue()

    def assert_refused(self, said: str, *arguments: str, code: int = 1, **variables: str) -> None:
        """One line on stderr that says why, nothing secret in it, and the exit code."""
        error = StringIO()
        with redirect_stderr(error):
            end = self.assertRaises(SystemExit, self.run_command, *arguments, **variables)
        line = error.getvalue()
        self.assertRegex(line, r"\Ajwksd: [^\n]+\n\Z")
        self.assertIn(said, line)
        self.assertEqual(end.code, code, line)
        for kek in self.keks:
            self.assertNotIn(kek["k"], line)

    def listed(self, clock: Callable[[], float] = time.time) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = json.loads(
            self.run_command("keys", "list", "--json", *self.store, clock=clock)
        )["keys"]
        return keys

    def database(self) -> Database:
        return Database(f"sqlite:///{self.file}", Keychain(self.keks))

    def serve(self, policy: str = "rotating") -> Rotating | PerToken:
        """A server on the same file. It makes its first keys at once."""
        store = InlineStore(self.database(), reactor)
        made = make_policy(
            self.clock,
            FreshKeys(),
            reactor=Clock(),
            store=store,
            policy=policy,
            algorithms=["ES256"],
        )
        made.open()
        made.start()
        self.addCleanup(lambda: self.successResultOf(made.stop()))
        return made

    def sign(self, server: Rotating | PerToken, exp: int) -> KeyPair:
        """Have the server sign a token; the pair that it was signed with."""
        pairs = []

        def seal(pair: KeyPair) -> Token:
            pairs.append(pair)
            return Token(b"token", pair.kid, pair.alg, exp - 60, exp)

        self.successResultOf(Deferred.fromCoroutine(server.sign("ES256", seal)))
        return pairs[0]

    def envelopes(self) -> dict[str, str]:
        """Every envelope in the store, by kid."""
        with self.database().engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT kid, envelope FROM jwksd_keys").all()
        return {row.kid: row.envelope for row in rows}

    def key_file(self, jwk: JWK, name: str = "key.pem") -> str:
        path = self.folder / name
        path.write_bytes(jwk.export_to_pem(private_key=True, password=None))
        return str(path)

    def import_key(self, jwk: JWK) -> str:
        arguments = [*self.keyed, "--alg", "ES256", "--as", "ES256", self.key_file(jwk)]
        return self.run_command("keys", "import", *arguments)
