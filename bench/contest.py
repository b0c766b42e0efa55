"""How everybody is measured: in turn, round after round, and again where others were in the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mint
from common import Quiet
from results import Group, Results
from servers import Answer, Server, same
from tools import Tools
from wrk import Shot, Wrk

CONNECTIONS = 16
DISTURBANCE = 0.04
"""The share of all processors' time that others may take from a phase that counts."""

TRIES = 5


@dataclass(frozen=True)
class Samples:
    """How much is measured."""

    rounds: int
    seconds: int
    """Of each phase of load."""
    warm: int
    """Seconds of load before the first round."""
    starts: int
    fetches: int
    live_keys: int
    batches: int
    generation: mint.Samples
    tries: int = TRIES


FULL = Samples(
    rounds=7,
    seconds=5,
    warm=2,
    starts=11,
    fetches=1000,
    live_keys=100_000,
    batches=60,
    generation=mint.FULL,
)
QUICK = Samples(
    rounds=1,
    seconds=1,
    warm=1,
    starts=1,
    fetches=100,
    live_keys=1000,
    batches=5,
    generation=mint.QUICK,
    tries=1,
)

Measure = Callable[[], float]


@dataclass(frozen=True)
class Entry:
    """One who is measured: how, and with which processes."""

    measure: Measure
    pids: tuple[int, ...] = ()


@dataclass
class Bench:
    """What the parts share."""

    tools: Tools
    samples: Samples
    results: Results
    cores: list[int]
    disturbed: int = 0

    @property
    def wrk(self) -> Wrk:
        """wrk on the second core."""
        return Wrk(self.tools, self.cores[1])

    def in_turn(self, title: str, unit: str, entries: Mapping[str, Entry]) -> Group:
        """Measure everybody once a round."""
        values: dict[str, list[float]] = {name: [] for name in entries}
        for _ in range(self.samples.rounds):
            for name, entry in entries.items():
                values[name].append(self._undisturbed(entry))
        return Group(title, unit, values)

    def _undisturbed(self, entry: Entry) -> float:
        """The first value in which others had no part; after some tries the last, as it is."""
        for _ in range(self.samples.tries):
            quiet = Quiet(*entry.pids, interrupts=False)
            value = entry.measure()
            if quiet.disturbance <= DISTURBANCE:
                break
            self.disturbed += 1
        return value

    def fetching(
        self,
        server: Server,
        path: str,
        expected: Answer,
        *,
        connections: int = CONNECTIONS,
        condition: str | None = None,
    ) -> Entry:
        """GETs of a path; before and after each phase the server must answer as expected."""
        condition_field = {"If_None_Match": condition} if condition else {}
        shot = Shot(path, fields=(f"If-None-Match: {condition}",) if condition else ())

        def measure() -> float:
            same(expected, server.ask(path, **condition_field), server.name)
            value = self.wrk.rate(server.port, shot, connections, self.samples.seconds)
            same(expected, server.ask(path, **condition_field), server.name)
            return value

        self.wrk.rate(server.port, shot, connections, self.samples.warm)
        return Entry(measure, server.pids)

    def fetching_any(self, server: Server, kids: Path) -> Entry:
        """GETs of <kid>.json, each of any kid in a file."""
        shot = Shot("/", (str(kids),), "kids.lua")
        shoot = partial(self.wrk.rate, server.port, shot, CONNECTIONS)
        shoot(self.samples.warm)
        return Entry(lambda: shoot(self.samples.seconds), server.pids)

    def minting(self, server: Server, *, connections: int = CONNECTIONS, core: int = 1) -> Entry:
        """Tokens of a server."""
        wrk = Wrk(self.tools, self.cores[core])
        shoot = partial(wrk.rate, server.port, server.minting, connections)
        shoot(self.samples.warm)
        return Entry(lambda: shoot(self.samples.seconds), server.pids)
