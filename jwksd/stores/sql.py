"""SqlStore: the database on threads of its own, because the reactor's thread never waits for it.

Keys that signed one token each are committed in groups: those that arrive during one commit are
written by the next one. So many keys share the milliseconds that a disk takes for a commit.
"""

from collections.abc import Callable, Collection, Mapping
from threading import Event, Thread
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from jwksd.errors import StoreAway
from jwksd.interfaces import IStore, IThreadReactor
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.ring import Ring
from jwksd.stores.database import CHANNEL, Database
from jwksd.stores.engine import CUT_OFF, PATIENCE

T = TypeVar("T")

_WRITERS, _READERS = 3, 1
"""Numbers of threads. Reading has its own, because a writer may wait for a lock."""

_LONGEST_CALL = 2 * PATIENCE
"""Seconds after which a call fails though its thread still waits: a database that hangs, or cannot
be reached, ends no statement itself."""


@implementer(IStore)
class SqlStore:
    """Keys in a database that other processes may change too."""

    shared = True
    at_once = False

    def __init__(self, database: Database, reactor: IThreadReactor) -> None:
        self.one_machine = database.is_sqlite
        self._database = database
        self._reactor = reactor
        self._writers = ThreadPool(minthreads=0, maxthreads=_WRITERS, name="store")
        self._readers = ThreadPool(minthreads=0, maxthreads=_READERS, name="store-reader")
        self._queued: list[tuple[PublishedKey, Deferred[int]]] = []
        self._inserting = False
        self._listener: NotificationListener | None = None

    def open(self) -> Contents:
        contents = self._database.open()
        for pool in (self._writers, self._readers):
            pool.start()
        return contents

    def close(self) -> "Deferred[None]":
        return deferToThread(self._close)

    def read(self, since: int | None, known: Collection[str]) -> "Deferred[Contents | None]":
        return self._run(self._readers, self._database.read, since, known)

    def swap(
        self, version: int, before: Ring, after: Ring, added: KeyPair | None
    ) -> "Deferred[int | None]":
        return self._write(self._database.swap, version, before, after, added)

    def insert(self, key: PublishedKey) -> "Deferred[int]":
        inserted: Deferred[int] = Deferred()
        self._queued.append((key, inserted))
        if not self._inserting:
            self._insert_queued()
        return inserted

    def withdraw(self, kids: Collection[str]) -> "Deferred[None]":
        return self._write(self._database.withdraw, kids)

    def expire(self, now: float) -> "Deferred[None]":
        return self._write(self._database.expire, now)

    def count(self, usage: Mapping[str, Usage]) -> "Deferred[Mapping[str, Usage]]":
        return self._write(self._database.count, usage)

    def watch(self, changed: Callable[[], None]) -> None:
        if not self._database.is_sqlite:
            call = self._reactor.callFromThread
            self._listener = NotificationListener(self._database.url, lambda: call(changed))
            self._listener.start()

    def _write(self, call: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        return self._run(self._writers, call, *arguments)

    def _run(self, pool: ThreadPool, call: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        called = deferToThreadPool(self._reactor, pool, call, *arguments)
        return called.addTimeout(_LONGEST_CALL, self._reactor, _unanswered)

    def _insert_queued(self) -> None:
        queued, self._queued = self._queued, []
        self._inserting = True
        keys = [key for key, _ in queued]
        waiting = [waiter for _, waiter in queued]
        self._write(self._database.insert, keys).addBoth(self._inserted, waiting)

    def _inserted(self, result: int | Failure, waiting: list["Deferred[int]"]) -> None:
        self._inserting = False
        if self._queued:
            self._insert_queued()
        for waiter in waiting:
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        for pool in (self._writers, self._readers):
            if pool.started:
                pool.stop()
        self._database.close()


def _unanswered(result: object, timeout: float) -> NoReturn:
    raise StoreAway(f"the database has not answered for {timeout:.0f} s")


class NotificationListener:
    """Receives PostgreSQL's notifications on a thread of its own; reconnects until stopped."""

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        self._url = url
        self._changed = changed
        self._stopped = Event()
        self._thread = Thread(target=self._listen_for_ever, name="store-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and wait for the thread to end: a second at most."""
        self._stopped.set()
        self._thread.join()

    def _listen_for_ever(self) -> None:
        import psycopg

        while not self._stopped.is_set():
            try:
                self._listen()
            except psycopg.Error:
                # The follower, which polls too, reports that the store is away.
                self._stopped.wait(1)

    def _listen(self) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True, **CUT_OFF) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._changed()  # for what was missed while there was no connection
            while not self._stopped.is_set():
                for _ in connection.notifies(timeout=0.5):
                    self._changed()
