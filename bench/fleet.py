"""A fleet of verifiers on the clock of a rotation: what an origin is asked in each second.

    python bench/fleet.py --verifiers 100000000 --max-age 1h

The laws of this simulation:
1. Time goes in whole seconds. A verifier that fetches in second t fetches next with the first token
   from second t + lifetime on; tokens come to it at random, ``token_gap`` seconds apart on average.
2. Verifiers that are alike are counted and never made: by the second in which their copies are
   over, and by whether their copy is the current document. What a part of them does is one draw
   from a binomial distribution. So 100 million cost no more than 10,000.
3. Edges of a CDN are made, one by one. Each sends one request to the origin, however many verifiers
   ask it in that second. A verifier that keeps to Cache-Control heeds ``Age`` too: its copy is over
   when its edge's is.
4. Everything follows from the seed.

See ../docs/scaling.md for what comes of it.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, log, log1p, sqrt
from random import Random

from common import CHECKOUT
from documents import SCALING, digits, fill, markdown, plain

sys.path.insert(1, str(CHECKOUT))

from jwksd.config.values import duration
from jwksd.lifecycle.schedule import ALERT_MAX_AGE

BEHIND, CURRENT = 0, 1
"""A copy that is none or an old document; and the current one."""

_NORMAL_FROM = 100.0
"""The variance from which on a binomial distribution is drawn as a normal one."""


def requests_per_second(verifiers: float, lifetime: float) -> float:
    """What so many verifiers ask that fetch once in a lifetime of their copies, in seconds."""
    return verifiers / lifetime


@dataclass(frozen=True, slots=True)
class Kind:
    """Verifiers that are alike, as a share of all.

    ``lifetime`` is None where they keep to Cache-Control. The ``curious`` fetch at an unknown kid;
    a ``conditional`` request has If-None-Match.
    """

    name: str
    share: float
    lifetime: int | None
    curious: bool
    conditional: bool


KINDS = (
    Kind("keeps to Cache-Control", 0.4, None, curious=False, conditional=True),
    Kind("the same, and fetches at an unknown kid", 0.2, None, curious=True, conditional=True),
    Kind("300 s, and fetches at an unknown kid", 0.15, 300, curious=True, conditional=False),
    Kind("600 s, and fetches at an unknown kid", 0.15, 600, curious=True, conditional=False),
    Kind("3,600 s", 0.1, 3600, curious=False, conditional=False),
)


@dataclass(frozen=True)
class Fleet:
    """The numbers of a simulation; durations are seconds. Without ``edges`` there is no CDN."""

    verifiers: int = 100_000_000
    max_age: int = 3600
    token_gap: float = 10.0
    edges: int = 0
    seconds: int = 7200
    started: float = 1.0
    kinds: tuple[Kind, ...] = KINDS
    seed: int = 1

    @property
    def asking(self) -> float:
        """The chance that a token comes to a verifier within a second."""
        return 1 - exp(-1 / self.token_gap) if self.token_gap else 1.0

    @property
    def expected(self) -> float:
        """Requests of verifiers in a second, when nothing happens, in closed form."""
        idle = (1 - self.asking) / self.asking
        rates = (
            requests_per_second(kind.share, (kind.lifetime or self.max_age) + idle)
            for kind in self.kinds
        )
        return self.verifiers * sum(rates)


class Dice:
    """Draws that follow from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.random = self._random.random
        self.below = self._random.randrange

    def binomial(self, number: int, chance: float) -> int:
        """How many of so many do what each does with this chance."""
        if chance > 0.5:
            return number - self.binomial(number, 1 - chance)
        variance = number * chance * (1 - chance)
        if variance > _NORMAL_FROM:
            drawn = round(self._random.gauss(number * chance, sqrt(variance)))
            return min(max(drawn, 0), number)
        return self._count(number, chance) if number and chance > 0 else 0

    def _count(self, number: int, chance: float) -> int:
        """The same, exactly: from each that does to the next one."""
        count, position, failing = 0, 0, log1p(-chance)
        while True:
            position += int(log(1 - self.random()) / failing) + 1
            if position > number:
                return count
            count += 1

    def spread(self, number: int, places: int) -> list[int]:
        """So many over so many places, each in any with the same chance."""
        counts = []
        for left in range(places, 0, -1):
            counts.append(self.binomial(number, 1 / left))
            number -= counts[-1]
        return counts


class Crowd:
    """Verifiers of one kind, counted by the second in which their copies are over."""

    def __init__(self, dice: Dice, fleet: Fleet, kind: Kind, size: int) -> None:
        lifetime = kind.lifetime or fleet.max_age
        self.kind = kind
        self._dice = dice
        self._asking = fleet.asking
        idle = (1 - fleet.asking) / fleet.asking
        waiting = dice.binomial(size, idle / (lifetime + idle))
        after = [0] * (fleet.seconds + 1)
        self._waiting = [0, waiting]
        self._due = [[0] * lifetime + after, dice.spread(size - waiting, lifetime) + after]

    def ask(self, second: int, max_age: int) -> tuple[int, int]:
        """How many ask in this second, BEHIND and CURRENT; their copies are new from then on."""
        asked = [0, 0]
        for held in (BEHIND, CURRENT):
            self._waiting[held] += self._due[held][second]
            asked[held] = self._dice.binomial(self._waiting[held], self._asking)
            self._waiting[held] -= asked[held]
        self._due[CURRENT][second + (self.kind.lifetime or max_age)] += sum(asked)
        return asked[BEHIND], asked[CURRENT]

    def outdate(self) -> None:
        """The document changes: nobody's copy is current."""
        behind, current = self._due
        self._due = [[a + b for a, b in zip(behind, current, strict=True)], [0] * len(current)]
        self._waiting = [sum(self._waiting), 0]

    def lose_copies(self, share: float) -> None:
        """A part of them must fetch with their next token, as if they had no copy."""
        draw = self._dice.binomial
        for held, due in enumerate(self._due):
            lost = [draw(count, share) for count in due]
            self._due[held] = [count - gone for count, gone in zip(due, lost, strict=True)]
            self._waiting[BEHIND] += sum(lost)
        started = draw(self._waiting[CURRENT], share)
        self._waiting[CURRENT] -= started
        self._waiting[BEHIND] += started


@dataclass(slots=True)
class Edge:
    """One cache of a CDN, and the verifiers behind it that keep to Cache-Control.

    ``held`` of them have a copy, which is over when the edge's is; ``waiting`` have none.
    """

    until: int
    held: int
    waiting: int = 0
    current: bool = True


class Direct:
    """Every verifier asks the origin."""

    def __init__(self, dice: Dice, fleet: Fleet, kinds: Sequence[Kind]) -> None:
        self.crowds = [
            Crowd(dice, fleet, kind, round(kind.share * fleet.verifiers)) for kind in kinds
        ]

    def ask(self, second: int, max_age: int) -> tuple[int, int]:
        """Requests at the origin in this second, and how many of them are answered with 304."""
        requests = unchanged = 0
        for crowd in self.crowds:
            behind, current = crowd.ask(second, max_age)
            requests += behind + current
            unchanged += current if crowd.kind.conditional else 0
        return requests, unchanged

    def outdate(self) -> None:
        """The document changes."""
        for crowd in self.crowds:
            crowd.outdate()

    def lose_copies(self, share: float, *, curious_only: bool) -> None:
        """A part of the verifiers, or of the curious ones, must fetch with their next token."""
        for crowd in self.crowds:
            if crowd.kind.curious or not curious_only:
                crowd.lose_copies(share)


class Network:
    """Every verifier asks its edge of a CDN, and the edges ask the origin."""

    def __init__(self, dice: Dice, fleet: Fleet) -> None:
        self._dice = dice
        self._asking = fleet.asking
        heeding = [kind for kind in fleet.kinds if kind.lifetime is None]
        share = sum(kind.share for kind in heeding)
        curious = sum(kind.share for kind in heeding if kind.curious)
        self._curious = curious / share if share else 0.0
        self._others = Direct(dice, fleet, [kind for kind in fleet.kinds if kind.lifetime])
        sizes = dice.spread(round(share * fleet.verifiers), fleet.edges)
        self._edges = [Edge(dice.below(fleet.max_age), size) for size in sizes]

    def ask(self, second: int, max_age: int) -> tuple[int, int]:
        """Requests at the origin in this second, and how many of them are answered with 304."""
        others, _ = self._others.ask(second, max_age)
        passed_by = (1 - 1 / len(self._edges)) ** others
        requests = unchanged = 0
        for edge in self._edges:
            if self._asked(edge, second, passed_by):
                requests += 1
                unchanged += edge.current
                edge.until, edge.current = second + max_age, True
        return requests, unchanged

    def _asked(self, edge: Edge, second: int, passed_by: float) -> bool:
        """Whether an edge is asked for what it has no copy of any more."""
        over = edge.until <= second
        if over:
            edge.waiting += edge.held
            edge.held = 0
        asked = 0
        if edge.waiting:
            asked = self._dice.binomial(edge.waiting, self._asking)
            edge.waiting -= asked
            edge.held += asked
        return over and (asked > 0 or self._dice.random() >= passed_by)

    def outdate(self) -> None:
        """The document changes."""
        for edge in self._edges:
            edge.current = False

    def lose_copies(self, share: float, *, curious_only: bool) -> None:
        """A part of the verifiers must ask their edge; the edges have their copies still."""
        self._others.lose_copies(share, curious_only=curious_only)
        for edge in self._edges:
            lost = self._dice.binomial(edge.held, share * (self._curious if curious_only else 1))
            edge.held -= lost
            edge.waiting += lost


Origin = Direct | Network


def _nothing(origin: Origin, fleet: Fleet) -> int:
    return fleet.max_age


def _rotation(origin: Origin, fleet: Fleet) -> int:
    """A key that everybody knows takes over, and the one after it is published."""
    origin.outdate()
    return fleet.max_age


def _deployment(origin: Origin, fleet: Fleet) -> int:
    origin.lose_copies(fleet.started, curious_only=False)
    return fleet.max_age


def _revocation(origin: Origin, fleet: Fleet) -> int:
    """A key is gone; the next one, which everybody knows, signs."""
    origin.outdate()
    return min(ALERT_MAX_AGE, fleet.max_age)


def _stranger(origin: Origin, fleet: Fleet) -> int:
    """A key is gone, and one that nobody knows signs: each who is curious fetches once for it."""
    origin.outdate()
    origin.lose_copies(1.0, curious_only=True)
    return min(ALERT_MAX_AGE, fleet.max_age)


EVENTS: dict[str, Callable[[Origin, Fleet], int]] = {
    "nothing": _nothing,
    "a rotation": _rotation,
    "all verifiers start at once": _deployment,
    "a revocation": _revocation,
    "a revocation, the next key unknown": _stranger,
}
"""What happens in second 0, and the max-age from then on."""


@dataclass(slots=True)
class Load:
    """Requests at the origin, and those answered with 304, by the second."""

    requests: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Requests in a second."""
        return sum(self.requests) / len(self.requests)

    @property
    def peak(self) -> int:
        """Requests in the busiest second."""
        return max(self.requests)

    @property
    def peak_at(self) -> int:
        """The busiest second."""
        return self.requests.index(self.peak)

    @property
    def unchanged_share(self) -> float:
        """Which part of all is answered with 304."""
        return sum(self.unchanged) / max(1, sum(self.requests))


def simulate(fleet: Fleet, event: str) -> Load:
    """What the origin is asked from the event on, after a long time in which nothing happened."""
    dice = Dice(fleet.seed)
    origin: Origin = Network(dice, fleet) if fleet.edges else Direct(dice, fleet, fleet.kinds)
    max_age = EVENTS[event](origin, fleet)
    load = Load()
    for second in range(fleet.seconds):
        requests, unchanged = origin.ask(second, max_age)
        load.requests.append(requests)
        load.unchanged.append(unchanged)
    return load


HEAD = ["asked by", "what happens", "mean /s", "busiest second", "which", "304"]


def rows(verifiers: int, max_age: int, edges: int, **changes: float) -> list[list[str]]:
    """The table: each event, without a CDN and with one."""
    told = []
    for count in (0, edges):
        fleet = Fleet(verifiers, max_age, edges=count, **changes)  # type: ignore[arg-type]
        who = f"{count:,} edges" if count else "verifiers"
        for event in EVENTS:
            load = simulate(fleet, event)
            share = f"{100 * load.unchanged_share:.0f} %"
            numbers = [digits(load.mean), digits(load.peak), f"{load.peak_at:,} s", share]
            told.append([who, event, *numbers])
    return told


def main() -> int:
    """Simulate, print, and answer the exit code."""
    arguments = parse()
    verifiers = 100_000 if arguments.quick else arguments.verifiers
    table = rows(
        verifiers,
        arguments.max_age,
        arguments.edges,
        token_gap=arguments.token_gap,
        started=arguments.started,
        seed=arguments.seed,
    )
    fleet = Fleet(verifiers, arguments.max_age, token_gap=arguments.token_gap)
    print(
        f"{verifiers:,} verifiers, max-age {arguments.max_age} s, {fleet.seconds:,} s from then on"
    )
    print(f"verifiers ask {digits(fleet.expected)} times a second, in closed form\n")
    print(plain(HEAD, table, left=2))
    if arguments.write_docs:
        fill(SCALING, "fleet", markdown(HEAD, table, left=2))
    return 0


def parse() -> Namespace:
    """The command line."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--verifiers", type=int, default=Fleet.verifiers, help="how many")
    parser.add_argument("--max-age", type=duration, default=3600, help="of Cache-Control")
    parser.add_argument("--edges", type=int, default=300, help="caches of the CDN")
    parser.add_argument("--token-gap", type=float, default=10, help="seconds between two tokens")
    parser.add_argument("--started", type=float, default=1, help="the share that starts at once")
    parser.add_argument("--seed", type=int, default=1, help="another gives other draws")
    parser.add_argument("--quick", action="store_true", help="100,000 verifiers")
    parser.add_argument("--write-docs", action="store_true", help="update docs/scaling.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
