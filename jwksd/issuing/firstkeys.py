"""Requests that wait for first keys: for a token, that of one algorithm; for the key set, all.

The laws of this module:
1. A reader of the key set waits ``HOLD`` seconds of real time at most.
2. One timer serves all readers: who came first is late first.
3. One who cancels leaves at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from jwksd.errors import JwksdError, NotReady, Stopping, TooManyWaiting
from jwksd.interfaces import IReaders
from jwksd.issuing.alarm import Alarm
from jwksd.waiters import Waiters

HOLD = 10
"""Seconds that a reader waits at most."""


class FirstTokens:
    """Requests for tokens, by algorithm.

    Args:
        algorithms: the names of those that there may be tokens of.
        max_waiting: how many requests may wait for each.
    """

    def __init__(self, algorithms: Iterable[str], max_waiting: int) -> None:
        self._waiting: dict[str, Waiters[None]] = {alg: Waiters() for alg in algorithms}
        self._max_waiting = max_waiting

    def wait(self, alg: str) -> "Deferred[None]":
        """Wait until an algorithm has a key that signs here; cancelling the Deferred gives up.

        Raises:
            TooManyWaiting: no more may wait.
        """
        if len(self._waiting[alg]) >= self._max_waiting:
            raise TooManyWaiting(self._max_waiting, f"the first {alg} key")
        return self._waiting[alg].wait()

    def serve(self, algorithms: Iterable[str]) -> None:
        """Have those go on that wait for these algorithms."""
        for alg in algorithms:
            if alg in self._waiting:
                self._waiting[alg].serve(None)

    def refuse(self, alg: str, error: JwksdError) -> None:
        """Refuse those that wait for an algorithm."""
        self._waiting[alg].refuse(error)

    def stop(self) -> None:
        """Refuse all."""
        for alg in self._waiting:
            self.refuse(alg, Stopping())


@implementer(IReaders)
class Readers:
    """Readers of the key set.

    Args:
        reactor: real time.
        algorithms: the names of those without which the set is not complete.
    """

    def __init__(self, reactor: IReactorTime, algorithms: Sequence[str] = ()) -> None:
        self._reactor = reactor
        self._missing = tuple(algorithms)
        self._until: dict[Deferred[None], float] = {}  # ordered, and quick to leave
        self._alarm = Alarm(reactor, self._refuse_late)
        self._complete = False
        self._dismissed = False

    def __len__(self) -> int:
        return len(self._until)

    @property
    def must_wait(self) -> bool:
        """Whether an algorithm has no key yet."""
        return bool(self._missing)

    def wait(self) -> "Deferred[None]":
        if self._dismissed:
            return fail(Stopping())
        waiter: Deferred[None] = Deferred(self._left)
        self._until[waiter] = until = self._reactor.seconds() + HOLD
        self._alarm.set_latest(until)
        return waiter

    def follow(self, missing: Sequence[str], *, empty: bool, revoked: bool) -> None:
        """Learn which algorithms have no key now; where none is waited for, have all readers go on.

        Once all have had one, nobody waits for a key that was lost, until there is none at all: the
        other keys would be kept from verifiers. Nor does who reads after a revocation, who must
        learn of it.

        Args:
            missing: the algorithms.
            empty: whether there is no key of any.
            revoked: whether one was revoked a short time ago.
        """
        self._complete = not empty and (self._complete or not missing)
        self._missing = () if self._complete or revoked else tuple(missing)
        if self._missing:
            return
        for waiter in self._leaving(list(self._until)):
            waiter.callback(None)
        self._set_alarm()

    def dismiss(self) -> None:
        self._dismissed = True
        self._refuse(list(self._until), Stopping)

    def _left(self, waiter: "Deferred[None]") -> None:
        self._until.pop(waiter, None)

    def _refuse_late(self) -> None:
        now = self._reactor.seconds()
        late = takewhile(lambda waiter: self._until[waiter] <= now, self._until)
        self._refuse(list(late), self._too_late)

    def _too_late(self) -> JwksdError:
        missing = ", ".join(self._missing)
        return NotReady(f"there is no {missing} key yet; try again in 1 s", retry_after=1)

    def _refuse(self, waiters: "list[Deferred[None]]", error: Callable[[], JwksdError]) -> None:
        for waiter in self._leaving(waiters):
            waiter.errback(error())
        self._set_alarm()

    def _leaving(self, waiters: "list[Deferred[None]]") -> "Iterator[Deferred[None]]":
        # One who goes on may cancel another of them.
        return (waiter for waiter in waiters if self._until.pop(waiter, None) is not None)

    def _set_alarm(self) -> None:
        first = next(iter(self._until.values()), None)
        if first is None:
            self._alarm.cancel()
        else:
            self._alarm.set(first)
