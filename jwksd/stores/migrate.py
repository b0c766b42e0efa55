"""The schema: made where there is none, brought up to date where it is old, refused where new.

Alembic is imported only when there is something to do.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, column, inspect, select, table, text

from jwksd.errors import StartUpRefused

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002")
"""Every schema that this jwksd knows, oldest first; the last is what it works with."""

VERSION_TABLE = "jwksd_schema"

_version = table(VERSION_TABLE, column("version_num"))

_LOCK = 0x6A776B7364
"""The advisory lock under which PostgreSQL is migrated: "jwksd" in ASCII."""


def migrate(engine: Engine) -> None:
    """Bring the schema to what this jwksd works with.

    An older SQLite file is copied first, beside itself.

    Raises:
        StartUpRefused: the schema is of a newer jwksd, or there is no way to copy the file.
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
    """Run the steps up to a revision."""
    from alembic import command

    command.upgrade(configure(connection), revision)


def configure(connection: Connection) -> "Config":
    """What Alembic's commands need to work on this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
    return config


def _revision(connection: Connection) -> str | None:
    """The schema that there is, or None for none.

    Raises:
        StartUpRefused: it is none that we know.
    """
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
    """Copy the file as it is, readable by its owner only, as ``<file>.backup-<revision>``.

    The caller holds the lock for writing, so that the copy has everything; reading goes on.
    """
    backup = f"{engine.url.database}.backup-{revision}"
    try:
        os.close(os.open(backup, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StartUpRefused(f"--store cannot be copied to {backup}: {error.strerror}") from None
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM INTO :backup"), {"backup": backup})
