"""Wall: the clock of one process, which may be wrong, asleep, or dead."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer


@implementer(IReactorTime)
class Wall:
    """True time, shifted by ``offset`` seconds.

    While it is ``asleep`` no timer runs; ``wake`` runs those that were missed. Once it is ``dead``
    none ever does: the process is gone.
    """

    def __init__(self, clock: Clock, offset: float) -> None:
        self._clock = clock
        self.offset = offset
        self.asleep = False
        self.dead = False
        self._missed: list[Callable[[], Any]] = []

    def seconds(self) -> float:
        now: float = self._clock.seconds() + self.offset
        return now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        call: IDelayedCall = self._clock.callLater(
            delay, self._run, lambda: callable(*args, **kwargs)
        )
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return []

    def wake(self) -> None:
        self.asleep = False
        missed, self._missed = self._missed, []
        for call in missed:
            self._run(call)

    def _run(self, call: Callable[[], Any]) -> None:
        if self.dead:
            return
        if self.asleep:
            self._missed.append(call)
        else:
            call()


def run_until(clock: Clock, end: float) -> None:
    """Have time pass call by call, so that each call sees its own time."""
    while clock.calls and clock.calls[0].getTime() <= end:
        clock.rightNow = max(clock.rightNow, clock.calls[0].getTime())
        clock.advance(0)
    clock.rightNow = end
