"""DevClock: a clock that a developer may freeze, set and advance; timers follow it.

Real time goes on, and with it the network; only what is given this clock is moved. While it is
frozen, none of its timers runs; when it jumps forward, those that are due run at once, in order.

A clock that is advanced is a server that slept: time has passed. A clock that is set, or released,
is one that was wrong: ``steady``, the time that has passed, does not move.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer


@implementer(IReactorTime)
class DevClock:
    """The time of ``reactor``, shifted by ``offset`` seconds, or frozen."""

    def __init__(self, reactor: IReactorTime, steady: Callable[[], float] | None = None) -> None:
        self._reactor = reactor
        self._offset = 0.0
        self._frozen_at: float | None = None
        self._real_steady = steady or reactor.seconds
        self._steady_offset = 0.0
        self._steady_frozen_at = 0.0
        self._timers = Clock()
        self._wake: IDelayedCall | None = None

    @property
    def frozen(self) -> bool:
        """Whether it is frozen."""
        return self._frozen_at is not None

    @property
    def offset(self) -> float:
        """How far it is ahead of real time, in seconds."""
        return self.seconds() - self._reactor.seconds()

    def seconds(self) -> float:
        """The time, a NumericDate."""
        if self._frozen_at is not None:
            return self._frozen_at
        return self._reactor.seconds() + self._offset

    def steady(self) -> float:
        """Seconds that have passed, from any origin: those of real time, and those it was advanced
        by, without those for which it was frozen."""
        if self._frozen_at is not None:
            return self._steady_frozen_at
        return self._real_steady() + self._steady_offset

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        self._timers.rightNow = self.seconds()
        timer: IDelayedCall = self._timers.callLater(delay, callable, *args, **kwargs)
        self._set_wake()
        return timer

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return list(self._timers.getDelayedCalls())

    def freeze(self) -> None:
        """Stop at the present time."""
        self._steady_frozen_at = self.steady()
        self._frozen_at = self.seconds()
        self._catch_up()

    def set(self, now: float) -> None:
        """Jump to a time, backwards too; it goes on from there unless it is frozen."""
        if self._frozen_at is not None:
            self._frozen_at = now
        else:
            self._offset = now - self._reactor.seconds()
        self._catch_up()

    def advance(self, seconds: float) -> None:
        """Have so much time pass at once."""
        self._steady_frozen_at += seconds
        self._steady_offset += seconds
        self.set(self.seconds() + seconds)

    def release(self) -> None:
        """Show real time again."""
        self._steady_offset = self.steady() - self._real_steady()
        self._frozen_at, self._offset = None, 0.0
        self._catch_up()

    def _catch_up(self) -> None:
        self._timers.rightNow = self.seconds()
        self._timers.advance(0)
        self._set_wake()

    def _set_wake(self) -> None:
        """Have the reactor call when the next timer is due, unless the clock is frozen."""
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        timers = self._timers.getDelayedCalls()
        if timers and not self.frozen:
            due = min(timer.getTime() for timer in timers) - self.seconds()
            self._wake = self._reactor.callLater(max(0.0, due), self._catch_up)
