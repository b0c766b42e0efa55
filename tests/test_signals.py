"""The first signal reaches the reactor, and nobody's handlers are lost."""

import signal
from collections.abc import Callable
from types import FrameType

from twisted.trial.unittest import SynchronousTestCase

from jwksd.signals import StopSignals


class Reactor:
    """As much of a reactor as handles signals, and runs on demand."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.when_running: list[Callable[[], None]] = []

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        self.when_running.append(call)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.handle)
        for call in self.when_running:
            call()

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


class StopSignalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor = Reactor()
        self.service = StopSignals(self.reactor)
        self.service.startService()

    def test_only_the_first_is_let_through(self) -> None:
        """Also of those that come when the service has been stopped because of it."""
        self.reactor.run()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        self.service.stopService()
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.reactor.received, [signal.SIGTERM])

    def test_the_handlers_of_others_are_left_alone(self) -> None:
        """Such as a debugger's; and one that was put later stays when the service stops."""
        received: list[int] = []
        signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
        self.reactor.run()
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        self.assertEqual(received, [signal.SIGINT] * 2)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.service.stopService()
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)

    def test_stopped_without_a_signal_it_gives_them_back(self) -> None:
        """To a program that runs the reactor on, and also if it never ran while the service did."""
        for runs in (True, False):
            with self.subTest(runs=runs):
                reactor = Reactor()
                service = StopSignals(reactor)
                service.startService()
                if runs:
                    reactor.run()
                service.stopService()
                reactor.run()
                self.assertEqual(signal.getsignal(signal.SIGTERM), reactor.handle)
