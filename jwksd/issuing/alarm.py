"""Alarm: one delayed call, which may be moved, and of which there are never two."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Alarm:
    """Calls ``ring`` once, at the time that was set last."""

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._timer: IDelayedCall | None = None

    def set(self, at: float) -> None:
        """Ring at ``at``, a NumericDate, and not when it was to ring before."""
        self.cancel()
        self._timer = self._clock.callLater(max(0.0, at - self._clock.seconds()), self._fire)

    def set_latest(self, at: float) -> None:
        """Ring at ``at``, unless it is to ring before."""
        if self._timer is None or self._timer.getTime() > at:
            self.set(at)

    def cancel(self) -> None:
        """Do not ring; nothing is left in the reactor."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._ring()
