"""Where keys are kept: the KEKs that are found, the store that is opened, and what is refused."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from jwcrypto.jwk import JWK
from twisted.internet.task import Clock

from jwksd.config.settings import Settings
from jwksd.errors import StartUpRefused
from jwksd.jose.envelopes import write_kek
from jwksd.storage import load_keks, make_store, open_database
from jwksd.stores.memory import MemoryStore

SECRET = "hunter2-hunter2"


def open_and_read(settings: Settings) -> None:
    open_database(settings, needs_keks=False).open()


class StorageTestCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(patch.dict("os.environ", clear=True))
        self.keks = [JWK.generate(kty="oct", size=256) for _ in range(4)]

    def file(self, name: str, text: str | bytes, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    def refusal(self, *arguments: Any, **named: Any) -> str:
        """Why the call is refused: one line, in which nothing is secret."""
        with self.assertRaises(StartUpRefused) as caught:
            arguments[0](*arguments[1:], **named)
        line = str(caught.exception.code)
        self.assertNotIn("\n", line)
        for secret in (SECRET, *(kek["k"] for kek in self.keks)):
            self.assertNotIn(secret, line)
        return line


class KekTests(StorageTestCase):
    def test_keks_come_from_files_then_the_variable_then_the_credential(self) -> None:
        """All that are given count, in this order: the first encrypts."""
        texts = list(map(write_kek, self.keks))
        files = [self.file("b", texts[0]), self.file("a", f"# old\n{texts[1]}\n", 0o400)]
        self.file("jwksd-kek", texts[3], 0o400)
        environment = {"JWKSD_KEK": texts[2], "CREDENTIALS_DIRECTORY": str(self.folder)}
        found = load_keks(files, environment)
        self.assertEqual([kek["k"] for kek in found], [kek["k"] for kek in self.keks])
        self.assertEqual(
            [kek["k"] for kek in load_keks([], environment)], [kek["k"] for kek in self.keks[2:]]
        )

    def test_without_any_there_is_none(self) -> None:
        """Nothing given, and a service with other credentials than ours."""
        self.assertEqual(load_keks([], {}), [])
        self.assertEqual(load_keks([], {"CREDENTIALS_DIRECTORY": str(self.folder)}), [])

    def test_a_credential_is_as_systemd_makes_it(self) -> None:
        """Its ACL for the service's user shows as read permission of the group."""
        name = self.file("jwksd-kek", write_kek(self.keks[0]), 0o440)
        environment = {"CREDENTIALS_DIRECTORY": str(self.folder)}
        self.assertEqual(len(load_keks([], environment)), 1)
        Path(name).chmod(0o444)
        self.assertIn("can be read by others", self.refusal(load_keks, [], environment))

    def test_files_that_others_can_read_are_refused(self) -> None:
        """Or write, or search: whatever is not the owner's alone."""
        for mode in (0o640, 0o604, 0o620, 0o601, 0o666):
            with self.subTest(mode=oct(mode)):
                name = self.file("kek", write_kek(self.keks[0]), mode)
                line = self.refusal(load_keks, [name], {})
                self.assertEqual(line, f"jwksd: {name} can be read by others: chmod 600 {name}")

    def test_what_holds_no_keks_is_told_by_its_place(self) -> None:
        """Wrong text, no text, no file, a folder; the variable too."""
        kek = write_kek(self.keks[0])
        for said, text in (
            ("kek holds no key-encryption keys: line 2 is no key", f"{kek}\n{SECRET}\n"),
            ("kek holds no key-encryption keys: there is no key in it", "\n# none\n"),
            ("kek holds no key-encryption keys: it is no text", b"\xff\xfe" + kek.encode()),
        ):
            self.assertIn(said, self.refusal(load_keks, [self.file("kek", text)], {}))
        none = str(self.folder / "none")
        self.assertIn(f"cannot read {none}: No such file", self.refusal(load_keks, [none], {}))
        self.folder.chmod(0o700)
        line = self.refusal(load_keks, [str(self.folder)], {})
        self.assertIn("Is a directory", line)
        for text in ("", SECRET, self.keks[0]["k"], kek[:-1]):
            line = self.refusal(load_keks, [], {"JWKSD_KEK": text})
            self.assertIn("JWKSD_KEK holds no key-encryption keys", line)


class StoreTests(StorageTestCase):
    def settings(self, **changes: Any) -> Settings:
        return Settings(**{"store": f"sqlite:///{self.folder}/keys.db", **changes})

    def test_the_default_is_memory(self) -> None:
        """No file is made, no KEK looked for, and SQLAlchemy not needed."""
        with patch.dict("sys.modules", {"sqlalchemy": None}):
            self.assertIsInstance(make_store(Settings(), Clock()), MemoryStore)  # type: ignore[arg-type]
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_private_keys_are_not_kept_without_a_kek(self) -> None:
        """A rotation with a database needs one; keys of single tokens are public halves only."""
        rotating = self.settings(policy="rotating")
        line = self.refusal(make_store, rotating, Clock())
        self.assertIn("jwksd kek new", line)
        self.assertIn("--kek-file", line)
        make_store(self.settings(), Clock()).open()  # type: ignore[arg-type]

    def test_the_missing_extra_is_named(self) -> None:
        """Whichever of its packages is missing, the line says what to install."""
        postgresql = self.settings(store=f"postgresql://user:{SECRET}@db.example/jwksd")
        for missing, settings in (
            ("sqlalchemy", self.settings()),
            ("alembic", self.settings()),
            ("psycopg", postgresql),
        ):
            with self.subTest(missing=missing), patch.dict("sys.modules", {missing: None}):
                if missing == "sqlalchemy":
                    sys.modules.pop("jwksd.stores.database", None)
                line = self.refusal(open_database, settings, needs_keks=False)
                self.assertEqual(
                    line, f"jwksd: --store needs {missing}: python -m pip install 'jwksd[sql]'"
                )

    def test_a_password_is_never_told(self) -> None:
        """Neither where the URL cannot be read, nor where nobody answers."""
        for rest, said in (
            (f"user:{SECRET}@127.0.0.1:1/jwksd", "--store cannot be used"),
            (f"user:{SECRET}@[::1/jwksd", "--store "),
            (f"user:{SECRET}@db.example:port/jwksd", "no URL that can be used (ValueError)"),
            (f"user:{SECRET}/@127.0.0.1:1/jwksd", "--store cannot be used"),
            (f"user:%zz{SECRET}@127.0.0.1:1/jwksd", "--store cannot be used"),
            (f"127.0.0.1:1/jwksd?password={SECRET}", "--store cannot be used"),
            (f"127.0.0.1:1/jwksd?sslmode={SECRET[:3]}&password={SECRET}", "--store cannot be used"),
            (f"127.0.0.1:1/jwksd?pasword={SECRET}", "--store cannot be used"),
        ):
            with self.subTest(rest=rest):
                settings = self.settings(store=f"postgresql://{rest}")
                line = self.refusal(open_and_read, settings)
                self.assertIn(said, line)

    def test_files_that_cannot_be_used_are_refused(self) -> None:
        """A folder that is not there, a folder instead of a file, a file that others can read."""
        for said, store in (
            ("No such file", f"sqlite:///{self.folder}/none/keys.db"),
            ("Is a directory", f"sqlite:///{self.folder}"),
            ("chmod 600", f"sqlite:///{self.file('open.db', '', 0o644)}"),
            ("file is not a database", f"sqlite:///{self.file('text.db', 'no database' * 99)}"),
        ):
            with self.subTest(said=said):
                settings = self.settings(store=store)
                line = self.refusal(open_and_read, settings)
                self.assertIn(said, line)
