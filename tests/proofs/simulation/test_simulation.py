"""The simulation: a million verifications without a fault, and a fault for each broken promise.

The quick run has every fourth seed, which still makes a million.
"""

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import TestCase

from jwksd.issuing.holdings import Holdings
from jwksd.issuing.rotating import Rotating
from jwksd.issuing.rotator import Rotator
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.lifecycle.schedule import Schedule
from tests.proofs.simulation.ledger import Ledger
from tests.proofs.simulation.realm import Weather
from tests.proofs.simulation.server import WHOLE, Rotation
from tests.proofs.simulation.world import CLEAR, run
from tests.support.effort import pick

STEP = pick(4, 1)
"""Which seeds are run: every fourth, or each. What is counted over all of them is counted less."""

TIGHT = Schedule.of(
    rotation_interval=330,
    propagation=330,
    max_age=100,
    stale_while_revalidate=100,
    stale_if_error=100,
    clock_skew=30,
    max_lifetime=200,
)
"""Not a second to spare."""


CALM = Weather(calm=True)


def seeds(first: int, number: int) -> range:
    """Those of so many that are run."""
    return range(first, first + number, STEP)


@cache
def totals(weather: Weather, of: range) -> tuple[Counter[str], list[str]]:
    """The counts of many seeds together, and all that went wrong."""
    counts: Counter[str] = Counter()
    violations: list[str] = []
    for seed in of:
        ledger = run(seed, weather)
        counts += ledger.counts
        violations += ledger.violations
    return counts, violations


def short(name: str, seconds: int) -> Schedule:
    """The tight schedule with one number less; nothing checks it."""
    return replace(TIGHT, **{name: getattr(TIGHT, name) - seconds})


class SafetyTests(TestCase):
    def test_no_valid_token_is_refused_and_nothing_else_goes_wrong(self) -> None:
        """Over a million verifications and hundreds of rotations: no valid token is refused, none
        is accepted too late, and no key signs that is not active."""
        counts, violations = totals(CLEAR, seeds(0, 16))
        self.assertEqual(violations, [])
        self.assertGreaterEqual(counts["verifications"], 1_000_000)
        self.assertGreaterEqual(counts["rotations"], 1000 / STEP)

    def test_there_was_trouble(self) -> None:
        """The runs had all that is to be survived, and little of it was excused."""
        counts, _ = totals(CLEAR, seeds(0, 16))
        for trouble in ("restarts", "sleeps", "clock steps", "rotated early", "foreign"):
            self.assertGreater(counts[trouble], 500 / STEP, trouble)
        for trouble in ("keys that failed", "keys that were slow", "bridged by a CDN"):
            self.assertGreater(counts[trouble], 50 / STEP, trouble)
        self.assertLess(counts["refused while unreachable"], 0.03 * counts["verifications"])

    def test_a_revoked_key_is_gone_and_all_is_well_again(self) -> None:
        """It signs nothing and is soon accepted by no cache that heeds headers; once the next key
        was published for the cache lifetime and the skew, no valid token is refused."""
        counts, violations = totals(Weather(revocations=True), seeds(1000, 8))
        self.assertEqual(violations, [])
        self.assertGreater(counts["revoked"], 200 / STEP)
        self.assertGreater(counts["refused after a revocation"], 0)
        self.assertGreater(counts["of a revoked key"], 1000 / STEP)

    def test_a_clock_that_was_hours_behind_is_set_right(self) -> None:
        """What propagates counts the time that passed, so that the tokens of the right time verify
        everywhere; nor is a key gone early."""
        counts, violations = totals(Weather(hours_behind=2), seeds(2000, 8))
        self.assertGreater(counts["clock steps"], 200 / STEP)
        self.assertEqual(violations, [])

    def test_a_clock_may_be_set_while_its_process_is_down(self) -> None:
        """Within its share of the skew, and as often as there are restarts."""
        counts, violations = totals(Weather(set_while_down=True), seeds(2000, 8))
        self.assertGreater(counts["restarts"], 200 / STEP)
        self.assertEqual(violations, [])


class SeedTests(TestCase):
    def test_a_seed_reproduces_a_run(self) -> None:
        """The same seed gives the same events at the same times, whatever the keys are."""
        first, second = run(7, rotations=4), run(7, rotations=4)
        self.assertEqual(first.digest(), second.digest())
        self.assertEqual(first.counts, second.counts)

    def test_another_seed_is_another_run(self) -> None:
        """Nothing is fixed but the rules."""
        self.assertNotEqual(run(7, rotations=4).digest(), run(8, rotations=4).digest())


class Forgetful(Holdings):
    """What a key has signed does not keep it published."""

    def last_exps(self) -> dict[str, int]:
        return {}


class CarelessRotator(Rotator):
    """Its holdings are forgetful."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.holdings = Forgetful()


class CarelessRotating(Rotating):
    """A token that would outlive its key is signed."""

    def _refuse_to_outlive(self, pair: KeyPair, token: Token) -> None:
        pass


CARELESS: Rotation = (CarelessRotator, CarelessRotating)
"""Without the two defences behind the inequality."""


class BrokenTests(TestCase):
    """Each promise, broken on purpose, beside its twin of the same seed that is whole."""

    def calm(self, schedule: Schedule, rotation: Rotation = WHOLE) -> Ledger:
        return run(1, CALM, schedule=schedule, rotation=rotation)

    def test_a_whole_inequality(self) -> None:
        """With not a second to spare, nothing goes wrong."""
        TIGHT.check()
        ledger = self.calm(TIGHT)
        self.assertEqual(ledger.violations, [])
        self.assertGreater(ledger.counts["rotations"], 20)

    def test_propagation_a_second_short(self) -> None:
        """A key signs a second before the last cache can know it, and that cache refuses."""
        broken = short("propagation", 1)
        self.assertRaises(ValueError, broken.check)
        violations = self.calm(broken).violations
        self.assertTrue(violations)
        for violation in violations:
            self.assertIn("Longest: refuses a valid token", violation)

    def test_retention_a_second_short(self) -> None:
        """The longest token would outlive its key, so that it is not signed."""
        broken = short("retention", 1)
        self.assertRaises(ValueError, broken.check)
        violations = self.calm(broken).violations
        self.assertTrue(violations)
        for violation in violations:
            self.assertRegex(violation, "signs no token of 200 s: .* outlives its key")

    def test_retention_without_its_defences(self) -> None:
        """Retention alone keeps a key long enough; less would have verifiers refuse its last
        token. It takes two seconds: a token's exp is rounded down, and a key's end up."""
        self.assertEqual(self.calm(TIGHT, CARELESS).violations, [])
        violations = self.calm(short("retention", 2), CARELESS).violations
        self.assertTrue(violations)
        for violation in violations:
            self.assertIn("refuses a valid token", violation)
