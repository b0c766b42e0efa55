"""Migration: makes the schema where there is none, upgrades an old one, refuses a newer one.

Alembic is imported only where there is something to migrate.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, column, inspect, select, table, text

from jwksd.errors import StartUpRefused

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002")
"""Every schema that this jwksd knows, oldest first. It works with the last one."""

VERSION_TABLE = "jwksd_schema"

_version = table(VERSION_TABLE, column("version_num"))

_LOCK = 0x6A776B7364
"""The advisory lock under which PostgreSQL is migrated: "jwksd" in ASCII."""


def migrate(engine: Engine) -> None:
    """Bring the schema up to date. A SQLite file with an older one is copied first, beside itself.

    Raises:
        StartUpRefused: the schema is of a newer jwksd, or the file cannot be copied.
        SQLAlchemyError: the database cannot be used.
    """
    with engine.connect() as connection:
        if _revision(connection) == REVISIONS[-1]:
            return
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        current = _revision(connection)
        if current == REVISIONS[-1]:  # another was faster
            return
        if current is not None and engine.dialect.name == "sqlite":
            _back_up(engine, current)
        upgrade(connection, REVISIONS[-1])


def upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations up to a revision."""
    from alembic import command

    command.upgrade(configure(connection), revision)


def configure(connection: Connection) -> "Config":
    """Return the configuration with which Alembic's commands work on this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
    return config


def _revision(connection: Connection) -> str | None:
    """Return the revision of the schema, or None for none; refuse one of a newer jwksd."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(select(_version.c.version_num))
    if revision is not None and revision not in REVISIONS:
        raise StartUpRefused(
            f"--store has schema {revision}, of a newer jwksd than this, which knows"
            f" {REVISIONS[-1]}: upgrade jwksd, or restore the backup from before"
        )
    return revision


def _back_up(engine: Engine, revision: str) -> None:
    """Copy the file to ``<file>.backup-<revision>``, readable by its owner only.

    The caller holds the lock for writing, so nothing changes meanwhile; others can go on reading.
    """
    backup = f"{engine.url.database}.backup-{revision}"
    try:
        os.close(os.open(backup, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StartUpRefused(f"--store cannot be copied to {backup}: {error.strerror}") from None
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM INTO :backup"), {"backup": backup})
