"""Database: the key store in SQLite or PostgreSQL, as blocking calls; ``sql`` runs them on threads.

The laws of the database:
1. Every change begins with the ring's row: its version is counted up under the row's lock, so that
   versions are committed in order, and whoever reads one has seen all before it.
2. A private half is written in an envelope only, and is overwritten with nothing in the step that
   retires its key. One that signs a single token is never written.
3. What fails raises StoreAway with the database's own first line, without statement or parameters.
"""

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EACCES, EISDIR
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

from jwcrypto.jwk import JWK
from sqlalchemy import (
    Connection,
    Engine,
    and_,
    case,
    create_engine,
    delete,
    event,
    func,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from twisted.logger import Logger

from jwksd.errors import EnvelopeUnreadable, StartUpRefused, StoreAway, StoreUnreachable
from jwksd.interfaces import Contents, Usage
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.envelopes import Keychain, kek_of
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.lifecycle.plan import Ring, State
from jwksd.stores import schema
from jwksd.stores.migrate import migrate
from jwksd.stores.schema import GONE, SINGLE, keys, ring

CHANNEL = "jwksd_changed"
"""Where PostgreSQL tells of changes."""

PATIENCE = 5
"""Seconds that a connection, a lock or a statement may take."""

CUT_OFF: dict[str, Any] = {
    "connect_timeout": PATIENCE,
    "tcp_user_timeout": PATIENCE * 1000,
    "keepalives_idle": PATIENCE,
    "keepalives_interval": 1,
    "keepalives_count": PATIENCE,
}
"""libpq gives up connections that a network has swallowed, instead of in hours."""

REMEMBERED = 3600
"""Seconds for which it is kept that a key was withdrawn, so that other nodes hear of it."""

CLOCK_TOLERANCE = 10
"""Seconds that this machine's clock may be off that of PostgreSQL, which all nodes share."""

_PAUSE = 0.01
"""Seconds between two tries where SQLite does not wait by itself."""

_making = Lock()
"""Held while a file is made, so that no other ``Database`` of this process has it open already."""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it: let that end",
    sqlite3.SQLITE_CANTOPEN: "its user must be able to write the file and its folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
    sqlite3.SQLITE_FULL: "make room for it",
    sqlite3.SQLITE_NOTADB: "it is damaged: restore it from a backup",
    sqlite3.SQLITE_READONLY: "its user must be able to write the file and its folder",
}
"""What to do about an error of SQLite."""

_RING_STATES = [state.value for state in State]
_SIGNING = (State.PENDING, State.ACTIVE)


class Database:
    """The tables, and every way to change them.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.
        keychain: opens and makes the envelopes of private keys; None leaves them closed.
    """

    _log = Logger()

    def __init__(self, url: str, keychain: Keychain | None) -> None:
        self.url = url
        self.engine = make_engine(url)
        self.keychain = keychain
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.file = Path(self.engine.url.database or "") if self.is_sqlite else None

    def open(self) -> Contents:
        """Bring the schema up to date, and read everything.

        Raises:
            StartUpRefused: the database cannot be used, with what to do about it.
        """
        try:
            if self.file is not None:
                _own(self.file)
            with self._away():
                migrate(self.engine)
            self._try_out()
            contents = self.read(None, (), strict=True)
        except StoreAway as error:
            raise StoreUnreachable(f"--store cannot be used: {error.why}") from None
        except ImportError as error:
            raise StartUpRefused(
                f"--store needs {error.name}: python -m pip install 'jwksd[sql]'"
            ) from None
        except EnvelopeUnreadable as error:
            raise StartUpRefused(
                f"a private key in --store cannot be decrypted: {error.detail}; give the right"
                " --kek-file, or restore the store and its key-encryption key from a backup"
            ) from None
        assert contents is not None  # noqa: S101  # without a version there is always something
        return contents

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def read(
        self, since: int | None, known: Collection[str], *, strict: bool = False
    ) -> Contents | None:
        """See ``IStore.read``.

        Raises:
            StoreAway: the database cannot be read.
            EnvelopeUnreadable: a private key cannot be decrypted, and ``strict`` is true.
        """
        with self._reading() as connection:
            own = connection.execute(select(ring)).one()
            if own.version == since:
                return None
            rows = connection.execute(select(keys).where(keys.c.state.in_(_RING_STATES))).all()
            whole = since is None or since < own.forgotten
            singles = select(keys).where(keys.c.state == SINGLE)
            if not whole:
                singles = singles.where(keys.c.changed > since)
            single_rows = connection.execute(singles).all()
            gone = None if whole else self._gone(connection, since)
        with _undamaged():
            after = schema.ring_of(own, rows)
            public = [schema.public_key(row, strict=strict) for row in (*rows, *single_rows)]
        return Contents(
            version=own.version,
            ring=after,
            keys=public,
            pairs=list(self._pairs(rows, known, strict=strict)),
            gone=gone,
        )

    def swap(self, version: int, before: Ring, after: Ring, added: KeyPair | None) -> int | None:
        """See ``IStore.swap``."""
        envelope = None if added is None else self._seal(added)
        with self._writing() as connection:
            self._check_clock(connection)
            new = schema.ring_values(after) | {"version": version + 1}
            same = update(ring).where(ring.c.version == version)
            if connection.execute(same.values(new)).rowcount == 0:
                return None
            if added is not None:
                managed = after.get(added.kid)
                assert managed is not None  # noqa: S101  # the contract of swap
                row = schema.new_row(added.published(managed.created), managed.state)
                row |= schema.values(managed) | {"envelope": envelope, "changed": version + 1}
                connection.execute(insert(keys).values(row))
            for key in after.keys:
                old = before.get(key.kid)
                if old is not None and old != key:
                    self._update(connection, key.kid, schema.values(key), version + 1, key.state)
            dropped = [key.kid for key in before.keys if after.get(key.kid) is None]
            if dropped:
                connection.execute(delete(keys).where(keys.c.kid.in_(dropped)))
        return version + 1

    def insert(self, new: Sequence[PublishedKey]) -> int:
        """Keep keys that signed one token each, all or none; the new version."""
        with self._writing() as connection:
            version = self._next_version(connection)
            rows = [schema.new_row(key, SINGLE) | {"changed": version} for key in new]
            connection.execute(insert(keys), rows)
        return version

    def withdraw(self, kids: Collection[str]) -> None:
        """See ``IStore.withdraw``."""
        with self._writing() as connection:
            version = self._next_version(connection)
            until = int(time.time()) + REMEMBERED
            for some in _in_portions(list(kids)):
                connection.execute(
                    update(keys)
                    .where(keys.c.kid.in_(some), keys.c.state == SINGLE)
                    .values(state=GONE, changed=version, until=until)
                )

    def expire(self, now: float) -> None:
        """See ``IStore.expire``."""
        over = keys.c.until <= now
        with self._writing() as connection:
            newest = select(func.max(keys.c.changed)).where(keys.c.state == GONE, over)
            forgotten = connection.scalar(newest)
            if forgotten is not None:
                later = ring.c.forgotten < forgotten
                connection.execute(update(ring).where(later).values(forgotten=forgotten))
            connection.execute(delete(keys).where(keys.c.state.in_([SINGLE, GONE]), over))

    def count(self, usage: Mapping[str, Usage]) -> Mapping[str, Usage]:
        """See ``IStore.count``."""
        with self._writing() as connection:
            for kid, more in usage.items():
                later = case(
                    (keys.c.last_exp < more.last_exp, more.last_exp), else_=keys.c.last_exp
                )
                connection.execute(
                    update(keys)
                    .where(keys.c.kid == kid)
                    .values(signed=keys.c.signed + more.signed, last_exp=later)
                )
            totals = select(keys.c.kid, keys.c.signed, keys.c.last_exp)
            rows = connection.execute(totals.where(keys.c.state.in_(_RING_STATES))).all()
        return {row.kid: Usage(row.signed, row.last_exp) for row in rows}

    def rewrap(self) -> int:
        """Encrypt every private key under the first KEK that is under another; how many.

        Each is done by itself, and only if nobody has changed it meanwhile: it can be broken off
        and run again, beside servers that are at work.

        Raises:
            StoreAway: the database cannot be used.
            EnvelopeUnreadable: a private key cannot be decrypted; those before it are done.
        """
        assert self.keychain is not None  # noqa: S101  # the caller has one
        with self._reading() as connection:
            sealed = select(keys.c.kid, keys.c.envelope).where(keys.c.envelope.is_not(None))
            rows = connection.execute(sealed.order_by(keys.c.kid)).all()
        done = 0
        for row in rows:
            if kek_of(row.envelope) == self.keychain.first:
                continue
            envelope = self.keychain.seal(self.keychain.open(row.envelope))
            with self._writing() as connection:
                same = and_(keys.c.kid == row.kid, keys.c.envelope == row.envelope)
                done += connection.execute(
                    update(keys).where(same).values(envelope=envelope)
                ).rowcount
        self._scrub()
        return done

    def _scrub(self) -> None:
        """Leave no old envelope in the file; PostgreSQL does so when it next vacuums.

        SQLite empties its log only in a moment when nobody reads what is in it: ``PATIENCE``
        seconds are waited for one.
        """
        with self._away(), self.engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            if not self.is_sqlite:
                connection.execute(text(f"VACUUM {keys.name}"))
            elif connection.scalar(text("PRAGMA wal_checkpoint(TRUNCATE)")):
                raise StoreAway(
                    "all keys are rewrapped, but old envelopes are still in the -wal file, for"
                    " another process reads without a pause; run this again"
                )

    def _update(
        self,
        connection: Connection,
        kid: str,
        new: dict[str, object],
        version: int,
        state: State,
    ) -> None:
        if state not in _SIGNING:
            new |= {"envelope": None}
        connection.execute(update(keys).where(keys.c.kid == kid).values(new | {"changed": version}))

    def _next_version(self, connection: Connection) -> int:
        connection.execute(update(ring).values(version=ring.c.version + 1))
        version: int = connection.execute(select(ring.c.version)).scalar_one()
        return version

    def _gone(self, connection: Connection, since: int | None) -> list[str]:
        withdrawn = select(keys.c.kid).where(keys.c.state == GONE, keys.c.changed > since)
        return list(connection.scalars(withdrawn))

    def _seal(self, pair: KeyPair) -> str:
        assert self.keychain is not None  # noqa: S101  # rotating does not start without one
        return self.keychain.seal(pair.private_text_in_the_clear())

    def _pairs(
        self, rows: Sequence[Any], known: Collection[str], *, strict: bool
    ) -> Iterator[KeyPair]:
        """The private halves that can be had; warm, for this is no reactor thread."""
        for row in rows:
            if self.keychain is None or row.state not in _SIGNING or row.kid in known:
                continue
            try:
                yield self._pair(row)
            except EnvelopeUnreadable as error:
                if strict:
                    raise
                self._log.error("{why}", why=error.detail)

    def _pair(self, row: Any) -> KeyPair:
        assert self.keychain is not None  # noqa: S101  # see _pairs
        if row.envelope is None:
            raise EnvelopeUnreadable(f"key {row.kid} has no envelope")
        try:
            private = JWK(**json.loads(self.keychain.open(row.envelope)))
            private.unsafe_skip_rsa_key_validation = True  # authenticated, and checked when made
            pair = KeyPair.of_jwk(private, ALGORITHMS[row.alg])
        except EnvelopeUnreadable as error:
            raise EnvelopeUnreadable(f"key {row.kid}: {error.detail}") from None
        except Exception:  # whatever it is, its text could quote the key
            raise EnvelopeUnreadable(
                f"key {row.kid}: its envelope holds no {row.alg} key"
            ) from None
        if pair.kid != row.kid:
            raise EnvelopeUnreadable(f"key {row.kid}: its envelope holds another key, {pair.kid}")
        pair.sign(b"the first signature builds the key, and is thrown away")
        return pair

    def _try_out(self) -> None:
        """Find out now whether the database is whole and can be written to."""
        if self.is_sqlite:
            self._check_file()
        with self._writing() as connection:
            self._check_clock(connection)
            # A key in a state that nobody asks for would be missed, and replaced.
            unknown = keys.c.state.not_in([*_RING_STATES, SINGLE, GONE])
            kid = connection.scalar(select(keys.c.kid).where(unknown))
            if kid is not None:
                raise _damaged(f"key {kid!r:.60} is in no known state")
            if connection.execute(update(ring).values(version=ring.c.version)).rowcount != 1:
                raise _damaged("the row of the ring is missing")

    def _check_file(self) -> None:
        """Read every page, without the lock for writing: in a large store it takes a second."""
        with self._reading() as connection:
            found = connection.scalar(text("PRAGMA integrity_check(1)"))
            if found != "ok":
                raise _damaged(str(found).splitlines()[-1])

    def _check_clock(self, connection: Connection) -> None:
        """Where machines share the keys, they share the time too: a ring that one node reads by
        another clock would not be safe."""
        if self.is_sqlite:
            return
        theirs = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        off = time.time() - float(theirs or 0)
        if abs(off) > CLOCK_TOLERANCE:
            raise StoreAway(
                f"this machine's clock is {off:+.0f} s off the database's; no key is changed until"
                f" they agree within {CLOCK_TOLERANCE} s"
            )

    @contextmanager
    def _away(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreAway(_reason(error)) from None
        except UnicodeDecodeError:  # even SQLite's own messages quote what is in a damaged file
            raise _damaged("it holds text that is none") from None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A snapshot: all that is read is of one moment."""
        with self._away(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction; other nodes hear of it when it is committed."""
        with self._away(), self.engine.connect() as connection:
            connection = connection.execution_options(write=True)
            with connection.begin():
                yield connection
                if not self.is_sqlite:
                    connection.execute(text(f"NOTIFY {CHANNEL}"))


def make_engine(url: str) -> Engine:
    """The connections to a database; none is made yet."""
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
    # Transactions are begun by us, at once with the lock that they need, or two that both read and
    # then write would fail each other.
    connection.isolation_level = None
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: Any) -> None:
    """Have SQLite write changes to a log first; while ``PATIENCE`` lasts it is tried again.

    The time-out of the connection does not help here: SQLite reads the file before it switches it,
    and who has read gives up at once where another writes, or switches too.
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


def _own(path: Path) -> None:
    """Make the file if there is none; it is its owner's alone.

    Raises:
        StartUpRefused: it cannot be made, or others may read it.
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
    """Make the file if there is none; one that there is is left closed.

    With the first file that it closes, a process loses all its locks on it (POSIX); another process
    would then take away the log that a second ``Database`` here still writes to.
    """
    with _making:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        elif path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        elif not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(EACCES, "it cannot be written")


@contextmanager
def _undamaged() -> Iterator[None]:
    """What a row says is understood, or the database is damaged."""
    try:
        yield
    except Exception as error:  # whatever it is, its text could quote anything
        raise _damaged(f"a row cannot be read, {type(error).__name__}") from None


def _damaged(what: str) -> StoreAway:
    return StoreAway(f"{what}; it is damaged: restore it from a backup")


def _in_portions(kids: list[str], size: int = 500) -> Iterator[list[str]]:
    for start in range(0, len(kids), size):
        yield kids[start : start + size]


def _reason(error: SQLAlchemyError) -> str:
    """The database's own words, in one line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    words = " ".join(str(cause).split())[:300] or type(cause).__name__
    advice = _ADVICE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    if words.startswith("Could not decode"):  # has no code, and quotes the column
        words, advice = "text in it is no UTF-8", _ADVICE[sqlite3.SQLITE_CORRUPT]
    return words if advice is None else f"{words}; {advice}"
