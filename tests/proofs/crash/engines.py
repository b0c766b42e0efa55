"""The engines: where a store is, which files it has, whether they are whole, and how it crashes."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from tests.proofs.crash.violation import demand
from tests.support import postgres


class SQLite:
    """A file, and those that SQLite puts beside it."""

    crashes = False
    search_every = 10

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.main_file = folder / "keys.db"
        self.url = f"sqlite:///{self.main_file}"

    def files(self) -> list[Path]:
        """Everything that was written, backups included."""
        return [path for path in self._folder.iterdir() if path.is_file()]

    def inspect(self) -> None:
        """Open a copy, as it is after a kill: the original is left for the server to recover.

        Raises:
            Violation: SQLite finds fault with it.
        """
        with TemporaryDirectory() as scratch:
            for suffix in ("", "-wal"):
                part = self.main_file.with_name(self.main_file.name + suffix)
                if part.exists():
                    shutil.copy(part, scratch)
            connection = sqlite3.connect(Path(scratch, self.main_file.name))
            found = connection.execute("PRAGMA integrity_check").fetchall()
            connection.close()
        demand(found == [("ok",)], f"the file is damaged: {found}")


class PostgreSQL:
    """A server of the run's own."""

    crashes = True
    search_every = 75

    def __init__(self, cluster: postgres.Cluster) -> None:
        self.cluster = cluster
        self.url = cluster.new_database()
        with psycopg.connect(self.url, autocommit=True) as connection:
            # All that it ever logs stays to be searched; otherwise files are used again.
            connection.execute("ALTER SYSTEM SET wal_keep_size = '8GB'")
            connection.execute("SELECT pg_reload_conf()")

    @property
    def main_file(self) -> Path:
        """The newest of its write-ahead log: what was written last is in it."""
        log = self.cluster.folder / "data" / "pg_wal"
        return max(log.glob("0*"), key=lambda path: path.stat().st_mtime)

    def files(self) -> list[Path]:
        """Tables, write-ahead log and what it said, with nothing held back in memory."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        found = [path for path in self.cluster.folder.rglob("*") if path.is_file()]
        return [path for path in found if path.name != "postmaster.pid"]

    def inspect(self) -> None:
        """Read all rows, along the table and along its index, which must agree.

        Raises:
            Violation: they do not.
        """
        ways = []
        with psycopg.connect(self.url) as connection:
            # One snapshot: a killed server's last commit may still be under way.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            if not connection.execute("SELECT to_regclass('jwksd_keys')").fetchone()[0]:  # type: ignore[index]
                return
            for off in ("indexscan", "seqscan"):
                connection.execute(f"SET LOCAL enable_{off} = off".encode())
                connection.execute("SET LOCAL enable_bitmapscan = off")
                rows = connection.execute("SELECT * FROM jwksd_keys ORDER BY kid").fetchall()
                connection.execute(f"SET LOCAL enable_{off} = on".encode())
                ways.append(rows)
        demand(ways[0] == ways[1], "the table and its index do not agree")


Engine = SQLite | PostgreSQL


@contextmanager
def engine(name: str) -> Iterator[Engine]:
    """A new store that is empty, and nothing of it left behind."""
    if name == "sqlite":
        with TemporaryDirectory(prefix="jwksd-crash-") as folder:
            yield SQLite(Path(folder))
    else:
        with postgres.cluster() as cluster:
            yield PostgreSQL(cluster)
