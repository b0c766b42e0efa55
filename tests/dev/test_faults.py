"""The queue of faults: which fault meets which answer."""

from unittest import TestCase

from twisted.internet.task import Clock

from jwksd.dev.faults import Fault, Faults


class FaultsTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.faults = Faults(self.clock)

    def kinds(self, answers: int) -> list[str | None]:
        """The kinds that so many answers meet."""
        met = [self.faults.next() for _ in range(answers)]
        return [fault and fault.kind for fault in met]

    def test_a_fault_has_as_many_answers_as_were_asked_for(self) -> None:
        """The next in the queue follows, then all is well."""
        self.faults.add(Fault("reset", count=2, until=None))
        self.faults.add(Fault("cut", count=1, until=None))
        self.assertEqual(self.kinds(4), ["reset", "reset", "cut", None])

    def test_a_fault_ends_at_its_second(self) -> None:
        """Not before, however many answers it met; and not after, however few."""
        self.faults.add(Fault("reset", count=None, until=10))
        self.faults.add(Fault("cut", count=1, until=None))
        self.clock.advance(9.5)
        self.assertEqual(self.kinds(3), ["reset"] * 3)
        self.clock.advance(0.5)
        self.assertEqual(self.kinds(2), ["cut", None])

    def test_pending_asks_without_counting(self) -> None:
        """To look whether a fault is there takes none of its answers."""
        self.assertFalse(self.faults.pending)
        self.faults.add(Fault("cut", count=1, until=None))
        self.assertTrue(self.faults.pending)
        self.assertEqual(self.kinds(1), ["cut"])
        self.assertFalse(self.faults.pending)

    def test_the_queue_is_described_in_order(self) -> None:
        """With what is left of each: answers, seconds."""
        self.faults.add(Fault("reset", count=2, until=10))
        self.faults.add(Fault("cut", count=None, until=None))
        self.kinds(1)
        self.clock.advance(2.25)
        self.assertEqual(
            self.faults.describe(),
            [
                {"fault": "reset", "count": 1, "seconds": 7.75},
                {"fault": "cut", "count": None, "seconds": None},
            ],
        )
        self.assertEqual((self.faults.clear(), self.faults.describe()), (2, []))
