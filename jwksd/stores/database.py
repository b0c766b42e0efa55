"""Database: the store in SQLite or PostgreSQL, as blocking calls; ``sql`` runs them on threads.

The laws of the database:
1. Every change begins with the ring's row: its version is counted up under the row's lock. So
   versions are committed in order, and a reader of one version has seen all versions before it.
2. A private half is written in an envelope only. The envelope is set to NULL in the transaction
   that retires its key. The private half of a key that signs a single token is never written.
3. A call that fails raises StoreAway, as ``engine`` makes it of what the database says.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jwcrypto.jwk import JWK
from sqlalchemy import Connection, and_, case, delete, func, insert, select, text, update
from twisted.logger import Logger

from jwksd.errors import EnvelopeUnreadable, JwksdError, StartUpRefused, StoreAway, StoreUnreachable
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.envelopes import Keychain, kek_of
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.ring import Ring, State
from jwksd.stores import schema
from jwksd.stores.engine import as_damaged, as_store_away, damaged, make_engine, own_file
from jwksd.stores.migrate import migrate
from jwksd.stores.schema import GONE, SINGLE, keys, ring

CHANNEL = "jwksd_changed"
"""The channel on which PostgreSQL notifies other nodes of changes."""

REMEMBERED = 3600
"""Seconds for which the row of a withdrawn key is kept, so that other nodes read of it."""

CLOCK_TOLERANCE = 10
"""Seconds by which this machine's clock may differ from PostgreSQL's, which all nodes share."""

_RING_STATES = [state.value for state in State]
_SIGNING = (State.PENDING, State.ACTIVE)


class Database:
    """The tables, and every way to change them.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.
        keychain: opens and makes the envelopes of private keys; None leaves them closed.
        clock: the wall clock, a NumericDate.
    """

    _log = Logger()

    def __init__(
        self, url: str, keychain: Keychain | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.url = url
        self._clock = clock
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
                own_file(self.file)
            with as_store_away():
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
        with as_damaged():
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
                ring_key = after.get(added.kid)
                assert ring_key is not None  # noqa: S101  # the contract of swap
                row = schema.new_row(added.published(ring_key.created), ring_key.state)
                row |= schema.values(ring_key) | {"envelope": envelope, "changed": version + 1}
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
        """Keep keys that signed one token each, all or none; return the new version."""
        with self._writing() as connection:
            version = self._next_version(connection)
            rows = [schema.new_row(key, SINGLE) | {"changed": version} for key in new]
            connection.execute(insert(keys), rows)
        return version

    def withdraw(self, kids: Collection[str]) -> None:
        """See ``IStore.withdraw``."""
        with self._writing() as connection:
            version = self._next_version(connection)
            until = int(self._clock()) + REMEMBERED
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
                own, exp = update(keys).where(keys.c.kid == kid), keys.c.last_exp
                later = case((exp < more.last_exp, more.last_exp), else_=exp)
                new = own.values(signed=keys.c.signed + more.signed, last_exp=later)
                connection.execute(new)
            totals = select(keys.c.kid, keys.c.signed, keys.c.last_exp)
            rows = connection.execute(totals.where(keys.c.state.in_(_RING_STATES))).all()
        return {row.kid: Usage(row.signed, row.last_exp) for row in rows}

    def rewrap(self) -> int:
        """Encrypt every private key that is under another KEK under the first; return how many.

        Each key has a transaction of its own, which does nothing if the key has been changed
        meanwhile. So this can be broken off and run again, beside servers at work.

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
        """Remove every trace of old envelopes: vacuum PostgreSQL's table, empty SQLite's log.

        SQLite empties its log only while nobody reads from it; this waits ``PATIENCE`` seconds for
        such a moment.

        Raises:
            StoreAway: there was no such moment.
        """
        with as_store_away(), self.engine.connect() as connection:
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
        if not isinstance(pair, LocalKeyPair):
            raise JwksdError(f"key {pair.kid} lives elsewhere: a database has no envelope for it")
        return self.keychain.seal(pair.private_text_in_the_clear())

    def _pairs(
        self, rows: Sequence[Any], known: Collection[str], *, strict: bool
    ) -> Iterator[KeyPair]:
        """Open the envelopes of keys that sign and are not ``known``, and sign once with each: this
        runs on a worker thread.

        Raises:
            EnvelopeUnreadable: an envelope cannot be opened, and ``strict`` is true; else it is
                logged, and the pair is left out.
        """
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
            pair = LocalKeyPair.of_jwk(private, ALGORITHMS[row.alg])
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
        """Check that the database is whole and can be written to.

        Raises:
            StoreAway: it is damaged, or cannot be written to.
        """
        if self.is_sqlite:
            self._check_file()
        with self._writing() as connection:
            self._check_clock(connection)
            # A key in a state that no query asks for would not be found, and be replaced.
            unknown = keys.c.state.not_in([*_RING_STATES, SINGLE, GONE])
            kid = connection.scalar(select(keys.c.kid).where(unknown))
            if kid is not None:
                raise damaged(f"key {kid!r:.60} is in no known state")
            if connection.execute(update(ring).values(version=ring.c.version)).rowcount != 1:
                raise damaged("the row of the ring is missing")

    def _check_file(self) -> None:
        """Check every page, without the lock for writing: in a large store it takes a second.

        Raises:
            StoreAway: the file is damaged.
        """
        with self._reading() as connection:
            found = connection.scalar(text("PRAGMA integrity_check(1)"))
            if found != "ok":
                raise damaged(str(found).splitlines()[-1])

    def _check_clock(self, connection: Connection) -> None:
        """Refuse a clock that differs from PostgreSQL's: nodes that share a ring share its times.

        Raises:
            StoreAway: the clocks differ by more than ``CLOCK_TOLERANCE``.
        """
        if self.is_sqlite:
            return
        theirs = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        off = self._clock() - float(theirs or 0)
        if abs(off) > CLOCK_TOLERANCE:
            raise StoreAway(
                f"this machine's clock is {off:+.0f} s off the database's; no key is changed until"
                f" they agree within {CLOCK_TOLERANCE} s"
            )

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Begin a transaction that reads a snapshot: everything is of one moment."""
        with as_store_away(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Begin a transaction that writes; its commit notifies other nodes."""
        with as_store_away(), self.engine.connect() as connection:
            connection = connection.execution_options(write=True)
            with connection.begin():
                yield connection
                if not self.is_sqlite:
                    connection.execute(text(f"NOTIFY {CHANNEL}"))


def _in_portions(kids: list[str], size: int = 500) -> Iterator[list[str]]:
    for start in range(0, len(kids), size):
        yield kids[start : start + size]
