"""SqlStore: the database on threads of its own, for the reactor's thread never waits for it.

Keys that signed one token each are committed together: those that come while a commit is under way
are the next one. So a disk that takes five milliseconds to be sure takes them for many at once.
"""

from collections.abc import Callable, Collection, Mapping
from threading import Event, Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from jwksd.interfaces import Contents, IStore, Usage
from jwksd.keys import Key, KeyPair
from jwksd.lifecycle import Ring
from jwksd.stores.database import CHANNEL, PATIENCE, Database

T = TypeVar("T")

_THREADS = 4


@implementer(IStore)
class SqlStore:
    """Keys in a database that other processes may change too."""

    shared = True
    at_once = False

    def __init__(self, database: Database, reactor: IReactorFromThreads) -> None:
        self.one_machine = database.is_sqlite
        self._database = database
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=_THREADS, name="store")
        self._queued: list[tuple[Key, Deferred[int]]] = []
        self._inserting = False
        self._listener: Listener | None = None

    def open(self) -> Contents:
        contents = self._database.open()
        self._pool.start()
        return contents

    def close(self) -> "Deferred[None]":
        return deferToThread(self._close)

    def read(self, since: int | None, known: Collection[str]) -> "Deferred[Contents | None]":
        return self._run(self._database.read, since, known)

    def swap(
        self, version: int, before: Ring, after: Ring, added: KeyPair | None
    ) -> "Deferred[int | None]":
        return self._run(self._database.swap, version, before, after, added)

    def insert(self, key: Key) -> "Deferred[int]":
        inserted: Deferred[int] = Deferred()
        self._queued.append((key, inserted))
        if not self._inserting:
            self._insert_queued()
        return inserted

    def withdraw(self, kids: Collection[str]) -> "Deferred[None]":
        return self._run(self._database.withdraw, kids)

    def expire(self, now: float) -> "Deferred[None]":
        return self._run(self._database.expire, now)

    def count(self, usage: Mapping[str, Usage]) -> "Deferred[Mapping[str, Usage]]":
        return self._run(self._database.count, usage)

    def watch(self, changed: Callable[[], None]) -> None:
        if not self._database.is_sqlite:
            tell = self._reactor.callFromThread
            self._listener = Listener(self._database.url, lambda: tell(changed))
            self._listener.start()

    def _run(self, call: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        return deferToThreadPool(self._reactor, self._pool, call, *arguments)

    def _insert_queued(self) -> None:
        queued, self._queued = self._queued, []
        self._inserting = True
        keys = [key for key, _ in queued]
        waiting = [waiter for _, waiter in queued]
        self._run(self._database.insert, keys).addBoth(self._inserted, waiting)

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
        if self._pool.started:
            self._pool.stop()
        self._database.close()


class Listener:
    """Hears of PostgreSQL's notifications on a thread of its own, and connects anew for ever."""

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        self._url = url
        self._changed = changed
        self._stopped = Event()
        self._thread = Thread(target=self._listen_for_ever, name="store-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End it; waits for its last second."""
        self._stopped.set()
        self._thread.join()

    def _listen_for_ever(self) -> None:
        import psycopg

        while not self._stopped.is_set():
            try:
                self._listen()
            except psycopg.Error:
                self._stopped.wait(1)  # the follower, which polls too, tells that the store is away

    def _listen(self) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True, connect_timeout=PATIENCE) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._changed()  # whatever was missed
            while not self._stopped.is_set():
                for _ in connection.notifies(timeout=0.5):
                    self._changed()
