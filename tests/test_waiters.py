"""The queue of those who wait: who is served, in which order, and who has left."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from jwksd.waiters import Waiters


class WaitersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiters: Waiters[str] = Waiters()

    def test_the_longest_waiting_is_served_first(self) -> None:
        """One at a time, in the order in which they came."""
        first, second = self.waiters.wait(), self.waiters.wait()
        self.waiters.serve_first("a")
        self.assertEqual(self.successResultOf(first), "a")
        self.assertNoResult(second)
        self.assertEqual(len(self.waiters), 1)

    def test_who_cancels_leaves_at_once(self) -> None:
        """The place is free, and the turn is the next one's."""
        first, second = self.waiters.wait(), self.waiters.wait()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(self.waiters), 1)
        self.waiters.serve_first("a")
        self.assertEqual(self.successResultOf(second), "a")

    def test_all_are_served_or_refused_together(self) -> None:
        """And nobody waits any more."""
        waiting = [self.waiters.wait() for _ in range(3)]
        self.waiters.serve("a")
        self.assertEqual([self.successResultOf(waiter) for waiter in waiting], ["a"] * 3)
        refused = self.waiters.wait()
        self.waiters.refuse(ValueError("none"))
        self.failureResultOf(refused, ValueError)
        self.assertEqual(len(self.waiters), 0)

    def test_who_comes_while_others_are_served_waits(self) -> None:
        """Being served may be the reason to ask again, which must not go on for ever."""
        again = []
        first = self.waiters.wait()
        first.addCallback(lambda _: again.append(self.waiters.wait()))
        self.waiters.serve("a")
        self.assertNoResult(again[0])
        self.assertEqual(len(self.waiters), 1)

    def test_one_who_is_served_may_cancel_another(self) -> None:
        """Who was cancelled is passed over."""
        first, second, third = (self.waiters.wait() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        self.waiters.serve("a")
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), "a")
