"""DevClock: what it shows while it runs, while it is frozen, and after it was set or advanced."""

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jwksd.dev.clock import DevClock
from tests.support.keys import NOW


class DevClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.real, self.steady = Clock(), Clock()
        self.real.advance(NOW)
        self.steady.advance(50)
        self.clock = DevClock(self.real, self.steady.seconds)
        self.ran: list[Any] = []

    def pass_time(self, seconds: float) -> None:
        self.steady.advance(seconds)
        self.real.advance(seconds)

    def shown(self) -> tuple[float, float, float]:
        """The time, that from any origin, and how far the first is ahead."""
        return self.clock.seconds(), self.clock.steady(), self.clock.offset

    def test_it_can_stand_in_for_a_reactor(self) -> None:
        """Whatever sets timers may be given it."""
        self.assertTrue(verifyObject(IReactorTime, self.clock))

    def test_until_it_is_changed_it_shows_real_time(self) -> None:
        """Now, and later."""
        self.assertEqual(self.shown(), (NOW, 50, 0))
        self.pass_time(7)
        self.assertEqual(self.shown(), (NOW + 7, 57, 0))

    def test_advanced_it_goes_on_from_there(self) -> None:
        """Each time by so many seconds; they have passed in either sense."""
        for seconds, ahead in ((3600, 3600), (0.5, 3600.5), (2, 3602.5)):
            self.clock.advance(seconds)
            self.assertEqual(self.shown(), (NOW + ahead, 50 + ahead, ahead))
        self.pass_time(7)
        self.assertEqual(self.shown(), (NOW + 3609.5, 3659.5, 3602.5))

    def test_set_it_goes_on_from_there_and_no_time_has_passed(self) -> None:
        """Forwards and backwards."""
        for to in (NOW + 100, NOW - 100):
            self.clock.set(to)
            self.assertEqual(self.shown(), (to, 50, to - NOW))
        self.pass_time(7)
        self.assertEqual(self.shown(), (NOW - 93, 57, -100))

    def test_frozen_it_stands(self) -> None:
        """While real time goes on; advanced and set, it stands elsewhere."""
        self.clock.advance(10)
        self.clock.freeze()
        self.pass_time(7)
        self.assertEqual(self.shown(), (NOW + 10, 60, 3))
        self.clock.advance(5)
        self.assertEqual(self.shown(), (NOW + 15, 65, 8))
        self.clock.set(NOW)
        self.pass_time(1)
        self.assertEqual(self.shown(), (NOW, 65, -8))

    def test_released_it_shows_real_time_and_what_has_passed_stays(self) -> None:
        """The time that passes never runs back, whatever the clock was before."""
        self.clock.advance(10)
        self.clock.freeze()
        self.clock.advance(5)
        self.pass_time(7)
        self.clock.release()
        self.assertEqual(self.shown(), (NOW + 7, 65, 0))
        self.pass_time(1)
        self.assertEqual(self.shown(), (NOW + 8, 66, 0))

    def test_a_timer_is_due_so_many_seconds_of_this_clock_from_now(self) -> None:
        """Wherever it was set to before; and real time brings it there, at its second."""
        for seconds in (1000, -2000):
            self.clock.set(self.clock.seconds() + seconds)
            self.clock.callLater(10, self.ran.append, seconds)
            self.pass_time(9.5)
            self.assertNotIn(seconds, self.ran)
            self.pass_time(0.5)
            self.assertIn(seconds, self.ran)
        self.assertEqual(self.real.getDelayedCalls(), [])

    def test_the_reactor_is_never_asked_for_what_is_past(self) -> None:
        """A real one refuses a negative delay; and it has one timer, however many are set here."""
        asked: list[float] = []
        later = self.real.callLater
        self.real.callLater = lambda delay, *rest: asked.append(delay) or later(delay, *rest)  # type: ignore[assignment,func-returns-value,method-assign]
        self.clock.callLater(10, self.ran.append, 1)
        self.clock.callLater(20, self.ran.append, 2)
        self.assertEqual(len(self.real.getDelayedCalls()), 1)
        self.real.rightNow += 15  # it was busy, and comes late
        self.clock.callLater(1, self.ran.append, 3)
        self.pass_time(0)
        self.assertEqual((self.ran, min(asked)), ([1], 0))
