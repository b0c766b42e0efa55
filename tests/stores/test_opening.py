"""Which store is opened for a URL, and what is refused."""

import sys
from time import time
from unittest.mock import patch

from twisted.internet.task import Clock

from jwksd.stores.memory import MemoryStore
from jwksd.stores.opening import make_store, open_database
from tests.support.secretfiles import SECRET, SecretsTestCase


def open_and_read(url: str) -> None:
    open_database(url, None, time, private_keys=False).open()


class StoreTests(SecretsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.url = f"sqlite:///{self.folder}/keys.db"

    def test_the_default_is_memory(self) -> None:
        """No file is made, no KEK needed, and SQLAlchemy neither."""
        with patch.dict("sys.modules", {"sqlalchemy": None}):
            made = make_store("memory", None, Clock(), private_keys=True)  # type: ignore[arg-type]
            self.assertIsInstance(made, MemoryStore)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_private_keys_are_not_kept_without_a_kek(self) -> None:
        """A rotation with a database needs one; keys of single tokens are public halves only."""
        line = self.refusal(make_store, self.url, None, Clock(), private_keys=True)
        self.assertIn("jwksd kek new", line)
        self.assertIn("--kek-file", line)
        make_store(self.url, None, Clock(), private_keys=False).open()  # type: ignore[arg-type]

    def test_the_missing_extra_is_named(self) -> None:
        """Whichever of its packages is missing, the line says what to install."""
        postgresql = f"postgresql://user:{SECRET}@db.example/jwksd"
        for missing, url in (
            ("sqlalchemy", self.url),
            ("alembic", self.url),
            ("psycopg", postgresql),
        ):
            with self.subTest(missing=missing), patch.dict("sys.modules", {missing: None}):
                if missing == "sqlalchemy":
                    sys.modules.pop("jwksd.stores.database", None)
                line = self.refusal(open_database, url, None, time, private_keys=False)
                self.assertEqual(
                    line, f"jwksd: --store needs {missing}: python -m pip install 'jwksd[sql]'"
                )

    def test_a_file_that_others_can_use_in_any_way_is_refused(self) -> None:
        """Each of the six permissions of group and others is one too many; the owner's are not."""
        for bit in range(6):
            file = self.file(f"{bit}.db", "", 0o600 | 1 << bit)
            with self.subTest(bit=bit):
                self.assertIn("chmod 600", self.refusal(open_and_read, f"sqlite:///{file}"))
        for mode in (0o600, 0o700):
            open_and_read(f"sqlite:///{self.file(f'{mode}.db', '', mode)}")

    def test_a_password_is_never_shown(self) -> None:
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
                line = self.refusal(open_and_read, f"postgresql://{rest}")
                self.assertIn(said, line)

    def test_files_that_cannot_be_used_are_refused(self) -> None:
        """A folder that is not there, a folder instead of a file, a file that others can read."""
        for said, url in (
            ("No such file", f"sqlite:///{self.folder}/none/keys.db"),
            ("Is a directory", f"sqlite:///{self.folder}"),
            ("chmod 600", f"sqlite:///{self.file('open.db', '', 0o644)}"),
            ("file is not a database", f"sqlite:///{self.file('text.db', 'no database' * 99)}"),
        ):
            with self.subTest(said=said):
                line = self.refusal(open_and_read, url)
                self.assertIn(said, line)
