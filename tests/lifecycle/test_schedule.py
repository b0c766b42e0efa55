"""The schedule: what is derived, which numbers are refused, and the headers that follow."""

from dataclasses import replace
from typing import Any
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from jwksd.lifecycle.schedule import Schedule


class ScheduleTests(TestCase):
    @given(
        st.fixed_dictionaries(
            {
                "rotation_interval": st.integers(1, 10_000),
                "propagation": st.integers(1, 5000),
                "max_age": st.integers(1, 3000),
                "clock_skew": st.integers(0, 500),
                "max_lifetime": st.integers(1, 10_000),
                "stale_while_revalidate": st.none() | st.integers(0, 3000),
                "stale_if_error": st.none() | st.integers(0, 3000),
                "retention": st.none() | st.integers(1, 20_000),
            }
        )
    )
    def test_what_is_made_is_safe_and_what_is_not_is_refused(self, numbers: Any) -> None:
        """Whatever the numbers, both inequalities hold of a schedule that Schedule.of gives."""
        try:
            made = Schedule.of(**numbers)
        except ValueError:
            stale = (numbers["stale_while_revalidate"] or 0) + (numbers["stale_if_error"] or 0)
            caches = numbers["max_age"] + stale + numbers["clock_skew"]
            needed = numbers["max_lifetime"] + numbers["clock_skew"]
            self.assertTrue(
                numbers["propagation"] < caches
                or (numbers["retention"] or needed) < needed
                or numbers["rotation_interval"] < numbers["propagation"]
            )
            return
        self.assertGreaterEqual(made.propagation, made.cache_lifetime + made.clock_skew)
        self.assertGreaterEqual(made.retention, made.max_lifetime + made.clock_skew)
        for given_number, kept in numbers.items():
            if kept is not None:
                self.assertEqual(getattr(made, given_number), kept)

    def test_one_second_too_little_is_refused_with_the_numbers(self) -> None:
        """Of propagation, of retention, and of the rotation interval."""
        good = Schedule(1000, 130, 100, 15, 5, 10, 200, 210)
        good.check()
        for change, said in (
            ({"propagation": 129}, r"--propagation \(129 s\) must be at least 130 s: --max-age"),
            ({"retention": 209}, r"--retention \(209 s\) must be at least 210 s: --max-lifetime"),
            ({"rotation_interval": 129}, r"--rotation-interval \(129 s\) must be at least --prop"),
        ):
            with self.subTest(change=change), self.assertRaisesRegex(ValueError, said):
                replace(good, **change).check()

    def test_more_than_is_needed_is_as_good(self) -> None:
        """Of propagation, of retention, and of the rotation interval."""
        exact = Schedule(131, 130, 100, 15, 5, 10, 200, 210)
        for change in ({"propagation": 131}, {"retention": 211}, {"rotation_interval": 132}):
            with self.subTest(change=change):
                replace(exact, **change).check()

    def test_an_outage_counts_on_both_sides(self) -> None:
        """A node that hears nothing may serve a document without the key, and sign with the old."""
        good = Schedule(1000, 137, 100, 15, 5, 10, 200, 217, outage=7)
        good.check()
        for change in ({"propagation": 136}, {"retention": 216}):
            said = r"must be at least .* \+ --outage \(7 s\); else"
            with self.subTest(change=change), self.assertRaisesRegex(ValueError, said):
                replace(good, **change).check()
        numbers = {"rotation_interval": 1000, "propagation": 137, "max_age": 100}
        made = Schedule.of(**numbers, clock_skew=10, max_lifetime=200, outage=7)
        self.assertEqual((made.cache_lifetime, made.retention), (120, 217))

    def test_the_default_headers(self) -> None:
        """An hour fresh, another while asking anew, and nearly the rest of a day in an outage."""
        made = Schedule.of(
            rotation_interval=2_592_000,
            propagation=86_400,
            max_age=3600,
            clock_skew=300,
            max_lifetime=86_400,
        )
        self.assertEqual(
            made.cache_control(alert=False),
            b"public, max-age=3600, stale-while-revalidate=3600, stale-if-error=78900",
        )
