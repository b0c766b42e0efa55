"""bench/fleet.py: a fleet that is only counted does what one of objects does, and the formula.

Also that docs/scaling.md tells what these compute.
"""

import re
import sys
from random import Random
from unittest import TestCase

from tests.support.effort import pick
from tests.support.processes import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "bench"))
try:
    import documents
    import fleet
    import keyset_cost
finally:
    sys.path.pop(0)

SMALL = fleet.Fleet(verifiers=pick(2_000, 10_000), max_age=600, edges=20, seconds=2400, started=0.8)


class Objects:
    """The same fleet, each verifier an object; the rules are written anew, from the text."""

    def __init__(self, small: fleet.Fleet, *, cdn: bool) -> None:
        self.fleet = small
        self.random = Random(small.seed)
        self.max_age = small.max_age
        self.version = 0
        self.edges = [Copy(self.random.randrange(small.max_age)) for _ in range(small.edges)]
        kinds = [kind for kind in small.kinds for _ in range(round(kind.share * small.verifiers))]
        self.verifiers = [self.verifier(kind, cdn=cdn) for kind in kinds]

    def verifier(self, kind: fleet.Kind, *, cdn: bool) -> "Verifier":
        """One that has been at it for long."""
        edge = self.random.choice(self.edges) if cdn else None
        if edge is not None and kind.lifetime is None:
            return Verifier(kind, edge, edge.until)
        lifetime = kind.lifetime or self.max_age
        idle = (1 - self.fleet.asking) / self.fleet.asking
        waits = self.random.random() < idle / (lifetime + idle)
        return Verifier(kind, edge, 0 if waits else self.random.randrange(lifetime))

    def happen(self, event: str) -> None:
        """What the event does to documents, headers and copies."""
        self.version += "start" not in event and event != "nothing"
        if "revocation" in event:
            self.max_age = min(60, self.max_age)
        for verifier in self.verifiers:
            if self.loses(event, verifier.kind):
                verifier.lose()

    def loses(self, event: str, kind: fleet.Kind) -> bool:
        """Whether a verifier of this kind needs a new copy because of the event."""
        if "start" in event:
            return self.random.random() < self.fleet.started
        return "unknown" in event and kind.curious

    def second(self, now: int) -> tuple[int, int]:
        """Requests at the origin, and how many of them got a 304."""
        answers = []
        for verifier in self.verifiers:
            if verifier.until <= now and self.random.random() < self.fleet.asking:
                lifetime = verifier.kind.lifetime
                if verifier.edge is None:
                    same = verifier.kind.conditional and verifier.version == self.version
                    answers.append(same)
                    until = now + self.max_age
                else:
                    if verifier.edge.until <= now:
                        answers.append(verifier.edge.version == self.version)
                        verifier.edge.renew(now + self.max_age, self.version)
                    until = verifier.edge.until
                verifier.renew(now + lifetime if lifetime else until, self.version)
        return len(answers), sum(answers)

    def run(self, event: str) -> fleet.Load:
        """All of it."""
        self.happen(event)
        load = fleet.Load()
        for now in range(self.fleet.seconds):
            requests, unchanged = self.second(now)
            load.requests.append(requests)
            load.unchanged.append(unchanged)
        return load


class Copy:
    """A copy of the document, and when it is over."""

    def __init__(self, until: int) -> None:
        self.until, self.version = until, 0

    def renew(self, until: int, version: int) -> None:
        """A new one."""
        self.until, self.version = until, version


class Verifier(Copy):
    """One with its copy, behind an edge or none."""

    def __init__(self, kind: fleet.Kind, edge: Copy | None, until: int) -> None:
        super().__init__(until)
        self.kind, self.edge = kind, edge

    def lose(self) -> None:
        """It must fetch with its next token."""
        self.until, self.version = 0, -1


class FleetTests(TestCase):
    def check(self, event: str, *, cdn: bool) -> None:
        """Requests by the quarter, in the first seconds, and the 304s, of both fleets."""
        edges = SMALL.edges if cdn else 0
        counted = fleet.simulate(fleet.Fleet(**{**vars(SMALL), "edges": edges}), event)
        made = Objects(SMALL, cdn=cdn).run(event)
        quarter = SMALL.seconds // 4
        for part in (slice(0, 5), *(slice(n * quarter, (n + 1) * quarter) for n in range(4))):
            self.near(sum(counted.requests[part]), sum(made.requests[part]))
            self.near(sum(counted.unchanged[part]), sum(made.unchanged[part]))

    def near(self, one: int, other: int) -> None:
        """Within five standard deviations of two counts, and a few."""
        self.assertLessEqual(abs(one - other), 5 * (one + other) ** 0.5 + 3)

    def test_counting_verifiers_is_as_good_as_making_them(self) -> None:
        """Whatever happens, many objects ask as often, as suddenly, and get as many 304s."""
        for event in fleet.EVENTS:
            with self.subTest(event=event):
                self.check(event, cdn=False)

    def test_edges_ask_as_often_for_verifiers_that_are_counted(self) -> None:
        """So it is behind a CDN that collapses requests and gives the age of its copies."""
        for event in fleet.EVENTS:
            with self.subTest(event=event):
                self.check(event, cdn=True)

    def test_a_fleet_at_rest_keeps_to_the_formula(self) -> None:
        """N verifiers that all wait for a token alike ask N / lifetime times a second."""
        kind = fleet.Kind("all", 1.0, None, curious=False, conditional=True)
        for size in (10_000, 100_000_000):
            many = fleet.Fleet(size, 600, token_gap=0, seconds=1200, kinds=(kind,))
            load = fleet.simulate(many, "nothing")
            formula = fleet.requests_per_second(size, 600)
            self.assertAlmostEqual(load.mean / formula, 1, places=9)
            self.assertAlmostEqual(many.expected / formula, 1, places=9)
            self.assertEqual(load.unchanged_share, 1)

    def test_a_mixed_fleet_keeps_to_its_closed_form(self) -> None:
        """The kinds' lifetimes, and the wait for a token, add up as they should."""
        many = fleet.Fleet()
        self.assertAlmostEqual(fleet.simulate(many, "nothing").mean / many.expected, 1, delta=0.002)

    def test_edges_spare_the_origin(self) -> None:
        """E edges ask at most E / max-age times a second, however many verifiers start at once."""
        many = fleet.Fleet(edges=300)
        load = fleet.simulate(many, "all verifiers start at once")
        self.assertLessEqual(load.mean, fleet.requests_per_second(300, 3600))

    def test_a_seed_gives_one_result(self) -> None:
        """The same seed the same requests in every second, another one others."""
        loads = [
            fleet.simulate(fleet.Fleet(10_000, 60, seconds=300, seed=seed), "a rotation").requests
            for seed in (1, 1, 2)
        ]
        self.assertEqual(loads[0], loads[1])
        self.assertNotEqual(loads[0], loads[2])

    def test_draws_are_binomial(self) -> None:
        """Mean and variance are right in every way of drawing; no draw is beyond its bounds."""
        dice = fleet.Dice(1)
        for number, chance in ((5, 0.1), (300, 0.3), (300, 0.9), (10**6, 0.01), (10**6, 0.999)):
            draws = [dice.binomial(number, chance) for _ in range(3000)]
            mean = sum(draws) / len(draws)
            variance = sum((draw - mean) ** 2 for draw in draws) / len(draws)
            expected = number * chance * (1 - chance)
            self.assertTrue(0 <= min(draws) <= max(draws) <= number)
            self.assertLess(abs(mean - number * chance), 5 * (expected / 3000) ** 0.5)
            self.assertAlmostEqual(variance / expected, 1, delta=0.2)
        self.assertEqual(
            [dice.binomial(7, 0), dice.binomial(7, 1), dice.binomial(0, 0.5)], [0, 7, 0]
        )
        self.assertEqual(sum(dice.spread(10**6, 77)), 10**6)


class DocumentTests(TestCase):
    def table(self, name: str) -> list[list[str]]:
        """The cells of a part of docs/scaling.md, below the rule."""
        lines = documents.part(documents.SCALING, name).splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return [rows[0], *rows[2:]]

    def test_the_table_of_rates_is_the_formula(self) -> None:
        """Each cell is what the formula makes of its row and column."""
        head, *rows = self.table("formula")
        self.assertEqual(len(rows), 5)
        for verifiers, *cells in rows:
            for lifetime, cell in zip(head[1:], cells, strict=True):
                rate = fleet.requests_per_second(number(verifiers), number(lifetime))
                self.assertEqual(cell, documents.digits(rate))

    def test_the_example_is_reckoned_right(self) -> None:
        """Its requests and processes follow from its round numbers."""
        text = documents.SCALING.read_text("utf-8")
        for lifetime in (3600, 60):
            rate = fleet.requests_per_second(20_000_000, lifetime)
            row = f"| {documents.digits(rate)} | {-(-rate // 2500):.0f} |\n"
            self.assertIn(row, text)
        self.assertEqual(fleet.requests_per_second(300, 60), 5)

    def test_the_document_has_what_the_simulation_finds(self) -> None:
        """Events, 304s and rates of the document are those of a new run, within 5 %."""
        head, *told = self.table("fleet")
        self.assertEqual(head, fleet.HEAD)
        found = fleet.rows(100_000_000, 3600, 0)[: len(fleet.EVENTS)]
        for row, again in zip(told, found, strict=False):
            self.assertEqual(row[:2], again[:2])
            for cell, same in zip(row[2:4] + row[5:], again[2:4] + again[5:], strict=True):
                self.assertAlmostEqual(number(cell) / number(same), 1, delta=0.06)
        self.assertEqual([row[1] for row in told], [*fleet.EVENTS] * 2)

    def test_the_bytes_of_keys_are_the_servers(self) -> None:
        """Each algorithm's sets are as large as the document says; it has all three sizes."""
        _, *rows = self.table("keysets")
        self.assertEqual(len(rows), 9)
        for algorithm, keys, each, size, *_ in rows:
            self.assertIn(number(keys), keyset_cost.SIZES)
            if number(keys) <= 1000:
                text = keyset_cost.make_set(algorithm.split(",")[0], int(number(keys)))
                self.assertEqual(size, keyset_cost.size(len(text)))
                self.assertEqual(each, f"{len(text) / number(keys):.0f}")


def number(text: str) -> float:
    """The number at the beginning of a cell."""
    match = re.match(r"[0-9,.]+", text)
    assert match is not None, text
    return float(match[0].replace(",", ""))
