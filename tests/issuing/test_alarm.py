"""The alarm: one call, at the time that was set last."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.issuing.alarm import Alarm


class AlarmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rung: list[float] = []
        self.alarm = Alarm(self.clock, lambda: self.rung.append(self.clock.seconds()))

    def test_it_rings_once_at_the_time_that_was_set_last(self) -> None:
        """Later or earlier than before, and at once where that time has passed."""
        for at in (5, 3, 9):
            self.alarm.set(at)
        self.clock.pump([1] * 20)
        self.assertEqual(self.rung, [9])
        self.alarm.set(1)
        self.clock.advance(0)
        self.assertEqual(self.rung, [9, 20])

    def test_a_latest_time_only_moves_it_forward(self) -> None:
        """And sets it where it was not set, or has rung."""
        for at in (5, 7, 3, 4):
            self.alarm.set_latest(at)
        self.clock.pump([1] * 10)
        self.assertEqual(self.rung, [3])
        self.alarm.set_latest(12)
        self.clock.pump([1] * 10)
        self.assertEqual(self.rung, [3, 12])

    def test_cancelled_it_leaves_nothing(self) -> None:
        """In the reactor, whether it was set, has rung, or neither."""
        self.alarm.cancel()
        self.alarm.set(5)
        self.alarm.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.alarm.set(5)
        self.clock.advance(5)
        self.alarm.cancel()
        self.assertEqual(self.rung, [5])

    def test_it_may_be_set_while_it_rings(self) -> None:
        """Which is what a clock does that rings every minute."""
        alarm = Alarm(self.clock, lambda: alarm.set(self.clock.seconds() + 60))
        alarm.set(60)
        self.clock.pump([60] * 3)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [240])

    def test_a_call_that_was_lost_does_not_keep_it_from_ringing_again(self) -> None:
        """A clock may drop a call that is due, as one does whose process is asleep."""
        self.alarm.set(5)
        (call,) = self.clock.getDelayedCalls()
        call.func = lambda: None
        self.clock.advance(5)
        self.alarm.set(6)
        self.clock.advance(1)
        self.assertEqual(self.rung, [6])
