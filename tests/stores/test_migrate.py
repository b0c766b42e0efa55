"""The schema: made where there is none, brought up to date where it is old, refused where new.

PostgreSQL's part exists where PostgreSQL is installed; CI installs it.
"""

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from jwcrypto.jwk import JWK
from sqlalchemy import Connection, column, insert, inspect, table, text

from jwksd.errors import StartUpRefused
from jwksd.jose.envelopes import Keychain
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle.contents import Usage
from jwksd.stores import migrate, schema
from jwksd.stores.database import Database
from tests.support import postgres
from tests.support.keys import NOW
from tests.support.stores import fresh_pair

KEYCHAIN = Keychain([JWK.generate(kty="oct", size=256)])


def old_row(pair: KeyPair) -> dict[str, object]:
    """A pending key, as revision 0001 keeps it."""
    row = schema.new_row(pair.published(NOW), "pending")
    del row["signed"], row["last_exp"]
    return row | {"envelope": KEYCHAIN.seal(pair.private_text_in_the_clear()), "changed": 1}


class MigrationContract:
    """What holds for every kind of database. ``new_url`` names an empty one."""

    def new_url(self) -> str:
        raise NotImplementedError

    def setUp(self: Any) -> None:
        self.url = self.new_url()
        self.database = self.connect()

    def connect(self: Any) -> Database:
        """Another process's view of the same database."""
        database = Database(self.url, KEYCHAIN)
        self.addCleanup(database.close)
        return database

    def in_transaction(self: Any, work: Callable[[Connection], Any]) -> Any:
        engine = self.database.engine
        with engine.connect().execution_options(write=True) as connection, connection.begin():
            return work(connection)

    def revision(self: Any) -> str | None:
        return self.in_transaction(lambda c: c.scalar(text("SELECT * FROM jwksd_schema")))

    def make_old(self: Any) -> KeyPair:
        """A database of revision 0001, with one key."""
        pair = fresh_pair()
        row = old_row(pair)
        keys = table("jwksd_keys", *map(column, row))

        def make(connection: Connection) -> None:
            migrate.upgrade(connection, "0001")
            connection.execute(insert(keys).values(row))

        self.in_transaction(make)
        return pair

    def open_two_at_once(self: Any) -> int:
        """Two that have both seen the old schema before either goes on; how many migrated."""
        barrier = Barrier(2, timeout=30)
        looks = iter([barrier.wait] * 2 + [int] * 2)
        look, upgrade = migrate._revision, migrate.upgrade

        def revision(connection: Connection) -> str | None:
            found = look(connection)
            next(looks)()
            return found

        with (
            patch.object(migrate, "_revision", revision),
            patch.object(migrate, "upgrade", side_effect=upgrade) as upgraded,
            ThreadPoolExecutor(2) as pool,
        ):
            opened = list(pool.map(Database.open, (self.connect(), self.connect())))
        self.assertEqual(opened[0].ring, opened[1].ring)
        return upgraded.call_count

    def test_an_empty_database_gets_the_newest_schema(self: Any) -> None:
        """And the tables that the code works with are the tables that the migrations make."""
        self.database.open()
        self.assertEqual(self.revision(), migrate.REVISIONS[-1])

        def differences(connection: Connection) -> Any:
            options = {"compare_server_default": True, "version_table": migrate.VERSION_TABLE}
            context = MigrationContext.configure(connection, opts=options)
            return compare_metadata(context, schema.metadata)

        self.assertEqual(self.in_transaction(differences), [])

    def test_two_may_find_it_empty_at_once(self: Any) -> None:
        """One makes the schema, the other waits for it."""
        self.assertEqual(self.open_two_at_once(), 1)

    def test_an_old_one_is_brought_up_to_date(self: Any) -> None:
        """Its key is there with its private half; what it has signed counts from now on."""
        pair = self.make_old()
        contents = self.database.open()
        self.assertEqual(self.revision(), migrate.REVISIONS[-1])
        self.assertEqual([key.kid for key in contents.ring.keys], [pair.kid])
        self.assertEqual([read.kid for read in contents.pairs], [pair.kid])
        self.assertEqual(self.database.count({}), {pair.kid: Usage()})

    def test_two_may_find_it_old_at_once(self: Any) -> None:
        """One migrates, the other waits for it; both open the same key."""
        pair = self.make_old()
        self.assertEqual(self.open_two_at_once(), 1)
        self.assertEqual([key.kid for key in self.database.open().keys], [pair.kid])

    def test_a_newer_one_is_refused(self: Any) -> None:
        """The line names its schema and ours, and nothing is changed."""
        self.database.open()
        newer = text("UPDATE jwksd_schema SET version_num = '9876'")
        self.in_transaction(lambda connection: connection.execute(newer))
        with self.assertRaises(StartUpRefused) as refused:
            self.database.open()
        self.assertIn("schema 9876", str(refused.exception))
        self.assertIn(f"knows {migrate.REVISIONS[-1]}: upgrade jwksd", str(refused.exception))
        self.assertEqual(self.revision(), "9876")

    def test_the_way_back_leaves_nothing(self: Any) -> None:
        """Every step can be undone; Alembic's own table stays, empty."""
        self.make_old()
        self.database.open()

        def downgrade(connection: Connection) -> list[str]:
            command.downgrade(migrate.configure(connection), "base")
            return inspect(connection).get_table_names()

        self.assertEqual(self.in_transaction(downgrade), [migrate.VERSION_TABLE])
        self.assertIsNone(self.revision())


class SQLiteMigrationTests(MigrationContract, TestCase):
    """A file, which is copied before."""

    def new_url(self) -> str:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.file = self.folder / "keys.db"
        self.file.touch(0o600)
        return f"sqlite:///{self.file}"

    def assert_backup(self, pair: KeyPair) -> None:
        """Only its owner may read it, and it holds the old rows in the old schema."""
        backup = self.folder / "keys.db.backup-0001"
        self.assertEqual(backup.stat().st_mode & 0o777, 0o600)
        with closing(sqlite3.connect(backup)) as connection:
            connection.row_factory = sqlite3.Row
            version = connection.execute("SELECT version_num FROM jwksd_schema").fetchone()
            self.assertEqual(version[0], "0001")
            (row,) = connection.execute("SELECT * FROM jwksd_keys").fetchall()
        self.assertEqual(row["kid"], pair.kid)
        self.assertEqual(set(row.keys()), set(old_row(pair)))
        private = JWK(**json.loads(KEYCHAIN.open(row["envelope"])))
        self.assertEqual(private.thumbprint(), pair.kid)

    def test_an_old_one_is_copied_first(self) -> None:
        """The copy has all that was in the file, and in the log beside it."""
        pair = self.make_old()
        self.assertGreater((self.folder / "keys.db-wal").stat().st_size, 0)
        self.database.open()
        self.assert_backup(pair)

    def test_the_copy_is_made_once(self) -> None:
        """Of two at once, the one that comes second does not copy what the first has migrated."""
        pair = self.make_old()
        self.open_two_at_once()
        self.assert_backup(pair)

    def test_new_and_current_ones_are_not_copied(self) -> None:
        """There is nothing to go back to."""
        for _ in range(2):
            self.connect().open()
        self.assertEqual(list(self.folder.glob("*backup*")), [])

    def test_without_a_copy_there_is_no_migration(self) -> None:
        """Here the place of the copy is taken by a folder."""
        self.make_old()
        (self.folder / "keys.db.backup-0001").mkdir()
        with self.assertRaises(StartUpRefused) as refused:
            self.database.open()
        self.assertIn("cannot be copied to", str(refused.exception))
        self.assertEqual(self.revision(), "0001")


class RevisionTests(TestCase):
    def test_those_named_are_those_there_are(self) -> None:
        """In order, with one head: the schema that the code works with."""
        script = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
        found = [step.revision for step in script.walk_revisions()]
        self.assertEqual(tuple(reversed(found)), migrate.REVISIONS)
        self.assertEqual(script.get_heads(), [migrate.REVISIONS[-1]])


if postgres.find() is not None:

    class PostgreSQLMigrationTests(MigrationContract, TestCase):
        """A real server, and its advisory lock."""

        def new_url(self) -> str:
            return postgres.shared().new_database()
