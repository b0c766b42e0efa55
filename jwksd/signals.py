"""StopSignals: the first signal stops the server in order, and those that follow change nothing.

Twisted's reactor takes every SIGTERM and Ctrl-C for a call of ``stop``, and each call but the
first raises. So our handler takes the place of the reactor's, and passes on the first signal only.
"""

import signal
from collections.abc import Callable
from types import FrameType

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorCore

_SIGNALS = [number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM", "SIGBREAK")]


def ignore_signals() -> None:
    """Ignore what would end the process, of which nothing is left but its end.

    While the interpreter ends it gives each signal its default action back, unless it is ignored.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopSignals(Service):
    """Takes the place of the reactor's handlers of signals; others are left alone."""

    def __init__(self, reactor: IReactorCore) -> None:
        self._reactor = reactor
        self._handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
        self._received = False

    def startService(self) -> None:
        super().startService()
        # Not before it runs: only then the reactor has put its handlers.
        self._reactor.callWhenRunning(self._take_over)

    def stopService(self) -> None:
        """Give the signals back to the reactor, unless the server stops because of one."""
        super().stopService()
        if self._received:
            return
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._receive:
                signal.signal(number, handler)

    def _take_over(self) -> None:
        if not self.running:  # stopped before the reactor ran
            return
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler) and getattr(handler, "__self__", None) is self._reactor:
                self._handlers[number] = handler
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._received:
            self._received = True
            self._handlers[number](number, frame)
