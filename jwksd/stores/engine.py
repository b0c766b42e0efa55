"""Engine: how a database is connected to, how a transaction begins, and what an error means.

1. A transaction that writes begins with the lock for writing. Otherwise two that both read and
   then write would make each other fail in SQLite.
2. A connection, a lock and a statement each fail after ``PATIENCE`` seconds.
3. What fails raises StoreAway with the database's own first line, without statement or parameters.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EISDIR
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from jwksd.errors import StartUpRefused, StoreAway

PATIENCE = 5
"""Seconds that a connection, a lock or a statement may take."""

CUT_OFF: dict[str, Any] = {
    "connect_timeout": PATIENCE,
    "tcp_user_timeout": PATIENCE * 1000,
    "keepalives_idle": PATIENCE,
    "keepalives_interval": 1,
    "keepalives_count": PATIENCE,
}
"""Has libpq give up a connection that no longer answers, which takes hours by default."""

_PAUSE = 0.01
"""Seconds between two tries where SQLite does not wait itself."""

_making = Lock()
"""Held while a file is made, so that no other ``Database`` of this process can have opened it."""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it: let that end",
    sqlite3.SQLITE_CANTOPEN: "its user must be able to write the file and its folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
    sqlite3.SQLITE_FULL: "make room for it",
    sqlite3.SQLITE_NOTADB: "it is damaged: restore it from a backup",
    sqlite3.SQLITE_READONLY: "its user must be able to write the file and its folder",
}
"""What an operator can do about an error of SQLite, by its primary code."""


def make_engine(url: str) -> Engine:
    """Return the engine for a database; it connects when it is used."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed, hide_parameters=True, connect_args={"timeout": PATIENCE}, pool_size=4
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # The last is for a node that vanishes within a transaction: its lock on the ring would stay.
    bounded = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    settings = " ".join(f"-c {name}={PATIENCE * 1000}" for name in bounded)
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=4,
        pool_timeout=PATIENCE,
        connect_args={"options": settings, **CUT_OFF},
    )


def _prepare_sqlite(connection: Any, _: object) -> None:
    # We begin transactions ourselves, at once with the lock that they need: see law 1.
    connection.isolation_level = None
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: Any) -> None:
    """Switch SQLite to a write-ahead log; while the file is locked, try again for ``PATIENCE``.

    SQLite's own time-out does not help here: it reads the file before it switches, and a reader
    that then wants to write fails at once where another connection writes or switches too.
    """
    end = monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= end:
                raise
        sleep(_PAUSE)


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("write") else "BEGIN")


def own_file(path: Path) -> None:
    """Make the file of a SQLite database if there is none, readable by its owner only.

    Raises:
        StartUpRefused: the file cannot be made, or others may read it.
    """
    try:
        _make(path)
        mode = path.stat().st_mode
    except OSError as error:
        raise StartUpRefused(
            f"--store cannot use {path}: {error.strerror}; its user must be able to write the file"
            " and its folder"
        ) from None
    if mode & 0o077:
        raise StartUpRefused(f"--store {path} can be read by others: chmod 600 {path}")


def _make(path: Path) -> None:
    """Make the file if there is none; do not open one that exists.

    When a process closes a file once, it loses all its locks on that file (POSIX). Another process
    would then remove the log to which a second ``Database`` of this process still writes.
    """
    with _making:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        elif path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        elif not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(EACCES, "it cannot be written")


@contextmanager
def as_store_away() -> Iterator[None]:
    """Turn what SQLAlchemy raises into StoreAway."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreAway(_reason(error)) from None
    except UnicodeDecodeError:  # even SQLite's own messages quote what is in a damaged file
        raise damaged("it holds text that is none") from None


@contextmanager
def as_damaged() -> Iterator[None]:
    """Turn what reading a row raises into StoreAway: the database is damaged."""
    try:
        yield
    except Exception as error:  # whatever it is, its text could quote anything
        raise damaged(f"a row cannot be read, {type(error).__name__}") from None


def damaged(what: str) -> StoreAway:
    """Return the error for a damaged database, with what is wrong with it."""
    return StoreAway(f"{what}; it is damaged: restore it from a backup")


def _reason(error: SQLAlchemyError) -> str:
    """Return the database's own words in one line, and what to do where we know it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    words = " ".join(str(cause).split())[:300] or type(cause).__name__
    advice = _ADVICE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    if words.startswith("Could not decode"):  # has no code, and quotes the column
        words, advice = "text in it is no UTF-8", _ADVICE[sqlite3.SQLITE_CORRUPT]
    return words if advice is None else f"{words}; {advice}"
