"""Which keys expire when, and how much is remembered of those that are gone."""

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from jwksd.lifecycle.expiries import Expiries


class ExpiriesTests(TestCase):
    def setUp(self) -> None:
        self.expiries = Expiries()

    def test_keys_are_due_in_their_second(self) -> None:
        """Not a second before, and each is told once."""
        self.expiries.add(10, "a")
        self.expiries.add(12, "b")
        self.expiries.add(10, "c")
        self.assertFalse(self.expiries.is_due(9.9))
        self.assertEqual(self.expiries.pop(9.9), [])
        self.assertTrue(self.expiries.is_due(10))
        self.assertEqual(self.expiries.pop(10), ["a", "c"])
        self.assertEqual(self.expiries.first, 12)
        self.assertEqual(self.expiries.pop(99), ["b"])
        self.assertIsNone(self.expiries.first)
        self.assertFalse(self.expiries.is_due(99))

    def test_a_key_that_is_removed_is_not_due(self) -> None:
        """Its second is forgotten with the last key that expires in it."""
        for kid in "ab":
            self.expiries.add(10, kid)
        self.expiries.add(11, "c")
        self.expiries.remove(10, "a")
        self.assertEqual(self.expiries.first, 10)
        self.expiries.remove(10, "b")
        self.assertEqual(self.expiries.first, 11)
        self.assertEqual(self.expiries.pop(20), ["c"])

    def test_seconds_without_keys_are_dropped_when_they_are_many(self) -> None:
        """Beyond twice the seconds that have keys, and eight, nothing is kept of the others."""
        for size, held in ((20, [20] * 14 + [5] * 6), (21, [21] * 14 + [6] * 7)):
            expiries = Expiries()
            for second in range(size):
                expiries.add(second, str(second))
            found = []
            for second in range(size - 1, -1, -1):
                expiries.remove(second, str(second))
                found.append(len(expiries._seconds))
            self.assertEqual(found, held)

    @given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
    def test_in_any_order_it_is_a_table(self, steps: list[tuple[int, bool]]) -> None:
        """Adding, removing and popping give what a table of kids and seconds would."""
        expiries, table = Expiries(), dict[str, int]()
        for number, (second, is_added) in enumerate(steps):
            if is_added or not table:
                table[str(number)] = second
                expiries.add(second, str(number))
            else:
                kid = sorted(table)[number % len(table)]
                expiries.remove(table.pop(kid), kid)
            self.assertEqual(expiries.first, min(table.values(), default=None))
        due = {kid for kid, second in table.items() if second <= 15}
        self.assertEqual(set(expiries.pop(15)), due)
        self.assertEqual(set(expiries.pop(30)), set(table) - due)
