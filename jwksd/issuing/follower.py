"""Follower: reads what others have changed in the store, and knows whether the store is there.

The laws of the follower:
1. One read is under way at a time. A caller who asks during a read waits for the next one, which
   begins after the call and so shows everything that was there by then.
2. A shared store is read when it says that something changed, and every second in any case.
3. A store that is away is read again every second. The log says once that it is away, and once that
   it is back. A read that began before it went away does not bring it back.
4. Nobody waits long for a store that does not answer: a caller then goes on with what is known.
5. A store with a lower version than before was restored from a backup, or its standby took over
   without the last changes. What it holds now is the truth, and all of it is read.
"""

from collections.abc import Callable, Collection
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jwksd.errors import StoreAway
from jwksd.interfaces import IStore
from jwksd.lifecycle.contents import Contents
from jwksd.waiters import Waiters

T = TypeVar("T")

POLL = 1.0
"""Seconds between two reads of a shared store that says nothing."""

LONGEST_WAIT = 2.0
"""Seconds that anyone waits for a read."""

WAIT_WHILE_AWAY = 0.5
"""Seconds that anyone waits for a read while the store is known to be away: it may be back."""

_NOTHING_KNOWN = -1
"""The version of a follower that has to read everything."""


class Follower:
    """Keeps this process up to date with the store.

    ``version`` is the last one that was read, ``away`` why the store cannot be used, or None.

    Args:
        store: the store.
        reactor: real time.
        apply: takes what was read.
        known: the kids whose private halves are here already.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        reactor: IReactorTime,
        apply: Callable[[Contents], None],
        known: Callable[[], Collection[str]],
    ) -> None:
        self.version = 0
        self.away: str | None = None
        self._store = store
        self._reactor = reactor
        self._apply = apply
        self._known = known
        self._seen = reactor.seconds()
        self._lost = self._seen
        self._reading = False
        self._waiting: Waiters[None] = Waiters()
        self._timer: IDelayedCall | None = None
        self._stopped = False

    @property
    def out_of_touch(self) -> float:
        """For how many seconds a store that others may change has not been read."""
        return max(0.0, self._reactor.seconds() - self._seen) if self._store.shared else 0.0

    def open(self) -> Contents:
        """Read all of it, blocking.

        Raises:
            StartUpRefused: the store cannot be used.
        """
        contents = self._store.open()
        self.version = contents.version
        self._seen = self._reactor.seconds()
        return contents

    def start(self) -> None:
        """Follow the store from now on."""
        if self._store.shared:
            self._store.watch(self._begin)
            self._set_timer()

    def stop(self) -> None:
        """Leave nothing in the reactor."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    async def refresh(self) -> None:
        """Wait for a read that begins now or later; it may find that the store is away."""
        if self._stopped:
            return
        waiter = self._waiting.wait()
        if not self._reading:
            self._begin()
        longest = LONGEST_WAIT if self.away is None else WAIT_WHILE_AWAY
        await waiter.addTimeout(longest, self._reactor, lambda result, timeout: None)

    async def kept(self, call: "Deferred[T]") -> T:
        """Wait for a call of the store, and return its result.

        Raises:
            StoreAway: the call failed; the store is away from now on, until a read succeeds.
        """
        try:
            return await call
        except StoreAway as error:
            self.lost(error)
            raise

    def error(self) -> StoreAway:
        """Return the error for a caller who needs the store while it is away."""
        return StoreAway("it is known to be away", self.away or "the store is away")

    def lost(self, error: StoreAway) -> None:
        """Note that a call failed: the store is away, until a read succeeds."""
        if self.away is None:
            self._log.error("the store is away: {why}", why=error.why)
        self.away = error.detail
        self._lost = self._reactor.seconds()

    def _begin(self) -> None:
        if self._reading or self._stopped:
            return
        self._reading = True
        waiting, self._waiting = self._waiting, Waiters()
        began, since = self._reactor.seconds(), self.version
        reading = self._store.read(None if since == _NOTHING_KNOWN else since, self._known())
        read = reading.addCallback(self._read, began, since).addErrback(self._failed)
        read.addCallback(lambda _: self._done(waiting))

    def _read(self, contents: Contents | None, began: float, since: int) -> "Deferred[None] | None":
        self._seen = began
        if self.away is not None and began >= self._lost:
            self._log.info("the store is back")
            self.away = None
        if contents is None or self._stopped:
            return None
        if contents.version < since:
            self._log.warn("the store is older than it was, as if restored; all of it is read")
            self.version = _NOTHING_KNOWN
            again = self._store.read(None, self._known())
            return again.addCallback(self._read, began, _NOTHING_KNOWN)
        if contents.version > self.version:
            self.version = contents.version
            self._apply(contents)
        return None

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreAway):
            self.lost(failure.value)
        else:
            self._log.failure("what the store holds could not be read", failure)
            self.away = "what the store holds could not be read; the log says why"

    def _done(self, waiting: Waiters[None]) -> None:
        self._reading = False
        waiting.serve(None)
        if self._waiting:
            self._begin()

    def _set_timer(self) -> None:
        self._timer = self._reactor.callLater(POLL, self._tick)

    def _tick(self) -> None:
        self._begin()
        self._set_timer()
