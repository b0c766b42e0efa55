"""What signals do: the first that ends the server ends it in order, others change nothing.

Twisted's reactor takes every SIGTERM and Ctrl-C for a call of ``stop``, and each call but the
first raises. So our handler takes the place of the reactor's, and passes on the first signal only.
"""

import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorCore


def _those(*names: str) -> list[signal.Signals]:
    """Return the signals of these names that the system has."""
    return [number for number in signal.Signals if number.name in names]


_SIGNALS = _those("SIGINT", "SIGTERM", "SIGBREAK")
_HANG_UP = _those("SIGHUP")
_UNUSED = _those("SIGUSR1", "SIGUSR2")


def ignore_signals() -> None:
    """Ignore what would end the process, of which nothing is left but its end.

    While the interpreter ends it gives each signal its default action back, unless it is ignored.
    """
    for number in (*_SIGNALS, *_HANG_UP, *_UNUSED):
        signal.signal(number, signal.SIG_IGN)


def ignore_unhandled(numbers: Iterable[signal.Signals] = _UNUSED) -> None:
    """Ignore those that nobody handles, by default SIGUSR1 and SIGUSR2, which end a process."""
    for number in numbers:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)


class UnusedSignals(Service):
    """Ignores them from the start of the service on, when twistd has put what handlers it has."""

    def startService(self) -> None:
        super().startService()
        ignore_unhandled()


class HangUp:
    """What SIGHUP does to a server in the foreground.

    It ends in order where it was started in a terminal, which is then gone. Anywhere else
    ``reload`` is called; before the server runs there is nothing to reload. Where SIGHUP was
    ignored from the start, as by nohup, it is ignored.
    """

    def __init__(self, reactor: Any, reload: Callable[[], object]) -> None:
        self._reactor = reactor
        self._reload = reload
        # Not when it comes: a terminal that has hung up is none any more.
        self._in_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._numbers = [n for n in _HANG_UP if signal.getsignal(n) == signal.SIG_DFL]
        if not self._in_terminal:
            ignore_unhandled(self._numbers)

    def take_over(self) -> None:
        """Handle it from now on; ``StopSignals`` handles SIGTERM already."""
        for number in self._numbers:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._in_terminal:
            signal.raise_signal(signal.SIGTERM)
        else:
            self._reactor.callFromThread(self._reload)


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
