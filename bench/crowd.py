"""Whether a crowd starves others: latency beside it, and the memory that it makes the server hold.

    python bench/crowd.py [turns] [memory] [--quick]

turns: the 99th percentile of GETs that a probing client makes beside 300 clients that pipeline
without a pause, over the same beside 300 polite ones, which wait for each answer. Both crowds take
turns at the same server, in one run.

memory: how much the server grows beside 400 clients that ask for a large jwks.json and read nothing
of it, 2,000 that never complete a head and 1,000 that never complete a body; and what is left of
that when they have gone. Whoever is disconnected by the server connects again.

Server, crowd and probing client are processes of their own. The server has the first core; a crowd
has another, where it gives way to the probing client if there is no third. See README.md beside
this file.
"""

import asyncio
import os
import resource
import sys
import time
from argparse import ArgumentParser
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from clients import (
    Client,
    Group,
    Pipelining,
    Polite,
    SlowBody,
    SlowHead,
    answer_size,
    call,
    child,
    crowd,
    get,
)
from common import Quiet, Report, resident, wait_until_idle
from load import paced_fetches
from servers import Server, jwksd, jwksd_with_keys
from start import JWKS

HEALTH = "/healthz"

MANY = 300
"""Clients of a crowd that asks."""

READERS, HEADS, BODIES = 400, 2_000, 1_000
"""Clients of the crowd that holds connections open: reads nothing, slow heads, slow bodies."""

EVERYBODY = READERS + HEADS + BODIES

PATIENCE = 15.0
"""Seconds that the crowd may take to be accepted, and its connections to be closed."""

KEYS = 10_000
"""Live ES256 keys: a jwks.json of over 2 MB."""

DOCUMENT = 2_000_000
"""Octets that the document must have at least."""

RATE = 100
"""GETs of the probing client in a second."""

WARM_UP = 50
"""Its first GETs, on new connections, which do not count."""

RATIO = 5
GROWTH = 50
LEFT = 10
"""Bounds: of p99 over p99, and of memory in MB."""

DISTURBANCE = 0.04
"""The share of the processors' time that others may take from a phase that counts."""

LONGEST = 30
"""Seconds that a phase of the probing client may take after the last GET is sent."""


@dataclass(frozen=True)
class Samples:
    """How much is measured."""

    rounds: int
    """Phases of each crowd, in turn."""
    fetches: int
    """GETs of the probing client in a phase."""
    hold: int
    """Seconds that the crowd of open connections stays; more than the longest deadline."""
    visits: int
    """How often it comes."""
    tries: int
    """How often a phase is measured at most, while others disturb it."""


FULL = Samples(rounds=6, fetches=500, hold=25, visits=2, tries=5)
QUICK = Samples(rounds=1, fetches=100, hold=3, visits=1, tries=1)


@dataclass
class Side:
    """What the phases of one crowd, or of none, have given."""

    latencies: list[float] = field(default_factory=list)
    """Of the probing client, in ms."""
    answers: list[float] = field(default_factory=list)
    """Of the crowd, a second."""
    closed: int = 0

    def add(self, other: "Side") -> None:
        """Count another phase."""
        self.latencies += other.latencies
        self.answers += other.answers
        self.closed += other.closed

    @property
    def p99(self) -> float:
        """The 99th percentile in ms."""
        return quantiles(self.latencies, n=100)[98]

    def describe(self, who: str) -> str:
        """Its absolute values, for people."""
        rate = f"; {median(self.answers):,.0f} answers/s" if any(self.answers) else ""
        return f"beside {who}: p50 {median(self.latencies):.2f} ms, p99 {self.p99:.2f} ms{rate}"


def cores() -> tuple[int, int, int]:
    """The cores of the server, the crowd and the probing client; raises RuntimeError if too few."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise RuntimeError("two cores are needed: one of them is the server's")
    return found[0], found[1], found[min(2, len(found) - 1)]


def fetch(port: int, request: bytes, count: int) -> list[float]:
    """Latencies in ms of GETs that are due ``RATE`` times a second, each from when it was due.

    A server that has not answered them all ``LONGEST`` after the last has that for each.
    """
    fetches = paced_fetches(port, RATE, WARM_UP + count, request)
    try:
        seconds = asyncio.run(asyncio.wait_for(fetches, (WARM_UP + count) / RATE + LONGEST))
    except TimeoutError:
        return [1000.0 * LONGEST] * count
    return [1000 * latency for latency in seconds[WARM_UP:]]


def probe(port: int, request: bytes, count: int) -> list[float]:
    """The same in a process of its own."""
    with child(call, cores()[2], fetch, port, request, count) as control:
        latencies: list[float] = control.recv()
    return latencies


def beside(server: Server, habit: type[Client] | None, request: bytes, count: int) -> Side:
    """One phase of a crowd of a habit, or of none."""
    size = answer_size(server.port, request)
    groups = [] if habit is None else [Group(habit, MANY, request, size)]
    with crowd(server.port, cores()[1], *groups) as result:
        latencies = probe(server.port, request, count)
    return Side(latencies, [result.answers], result.closed)


def undisturbed(
    server: Server, habit: type[Client] | None, path: str, samples: Samples
) -> list[Side]:
    """All tries of a phase, of which the last counts: others had no part in it, or too often."""
    tries: list[Side] = []
    for _ in range(samples.tries):
        wait_until_idle(server.pids[0])
        quiet = Quiet(*server.pids, interrupts=False)
        tries.append(beside(server, habit, get(path), samples.fetches))
        if quiet.disturbance <= DISTURBANCE:
            break
    return tries


def measure_path(report: Report, server: Server, path: str, samples: Samples) -> None:
    """Polite and pipelining crowds in turn, all of which ask for one path."""
    habits = {"nobody": None, f"{MANY} polite": Polite, f"{MANY} pipelining": Pipelining}
    _, polite, pipelining = sides = [Side() for _ in habits]
    discarded = 0
    for _ in range(samples.rounds):
        for side, habit in zip(sides, habits.values(), strict=True):
            *disturbed, phase = undisturbed(server, habit, path, samples)
            side.add(phase)
            discarded += len(disturbed)
    report.bounded(
        f"p99 of {path} beside pipelining over polite", pipelining.p99 / polite.p99, at_most=RATIO
    )
    # A server that hangs up on its crowd would meet the bound.
    report.bounded(
        f"of {MANY} clients disconnected: {path}", polite.closed + pipelining.closed, at_most=0
    )
    for who, side in zip(habits, sides, strict=True):
        report.note(side.describe(who))
    if discarded:
        report.note(f"{discarded} times others took over {DISTURBANCE:.0%}; measured anew")


def measure_turns(report: Report, samples: Samples) -> None:
    """Latency beside a crowd that asks."""
    with jwksd("jwksd", cores()[:1], "--policy", "rotating", "--alg", "ES256") as server:
        for path in (JWKS, HEALTH):
            measure_path(report, server, path, samples)


@dataclass(frozen=True)
class Memory:
    """The memory of a process, and how many files it has open."""

    pid: int

    @property
    def now(self) -> float:
        """Resident, in MB."""
        return resident(self.pid) / 1e6

    @property
    def peak(self) -> float:
        """The most that was resident since ``reset``, in MB, as the kernel counts it."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6

    def reset(self) -> None:
        """Begin anew with the peak."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    @property
    def files(self) -> int:
        """How many descriptors are open: all connections, and some more."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def wait_for_files(self, least: int, most: int) -> None:
        """Wait until so many are open, ``PATIENCE`` at most."""
        deadline = time.monotonic() + PATIENCE
        while not least <= self.files <= most and time.monotonic() < deadline:
            time.sleep(0.1)


@dataclass(frozen=True)
class Visit:
    """What one visit of the crowd that holds connections open did; memory in MB."""

    peak: float
    left: float
    fewest: int
    """Connections that the server had at the beginning or at the end, the lower number."""
    closed: int
    latencies: list[float]
    """Of GET /healthz meanwhile, in ms."""


def visit(server: Server, memory: Memory, seconds: int) -> Visit:
    """Let the crowd come, stay and go."""
    files = memory.files
    memory.reset()
    groups = (
        Group(Client, READERS, get(JWKS)),
        Group(SlowHead, HEADS, b"GET / HTTP/1.1\r\nHost: localhost\r\na: b\r\n"),
        Group(
            SlowBody,
            BODIES,
            b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nb",
        ),
    )
    with crowd(server.port, cores()[1], *groups) as result:
        memory.wait_for_files(files + EVERYBODY, sys.maxsize)  # some wait in the listen backlog
        first = memory.files - files
        latencies = probe(server.port, get(HEALTH), seconds * RATE)
        fewest = min(first, memory.files - files)
    peak = memory.peak
    memory.wait_for_files(0, files)
    wait_until_idle(server.pids[0])
    return Visit(peak, memory.now, fewest, result.closed, latencies)


def settle(server: Server) -> float:
    """Have the large document made and sent whole, before memory is counted; its size in MB."""
    for _ in range(5):
        size = answer_size(server.port, get(JWKS))
    if size < DOCUMENT:
        raise RuntimeError(f"jwks.json has {size} octets, {DOCUMENT} are wanted")
    wait_until_idle(server.pids[0])
    return size / 1e6


def measure_memory(report: Report, samples: Samples) -> None:
    """Resident memory beside a crowd that holds connections open, and after it."""
    raise_limit_of_files()
    with jwksd_with_keys("jwksd", cores()[0], KEYS, "--alg", "ES256") as server:
        size = settle(server)
        memory = Memory(server.pids[0])
        before = memory.now
        visits = [visit(server, memory, samples.hold) for _ in range(samples.visits)]
    peak, left = max(one.peak for one in visits), max(one.left for one in visits)
    report.bounded("memory grown beside open requests", peak - before, unit=" MB", at_most=GROWTH)
    report.bounded("memory left when they have gone", left - before, unit=" MB", at_most=LEFT)
    # A server that lets nobody in would meet the bounds.
    share = min(one.fewest for one in visits) / EVERYBODY
    report.bounded(f"share of {EVERYBODY:,} connections that were open", share, at_least=0.95)
    report.note(
        f"{READERS} read nothing of {size:.1f} MB; {HEADS:,} slow heads, {BODIES:,} slow bodies"
    )
    for one in visits:
        p99 = quantiles(one.latencies, n=100)[98]
        report.note(
            f"{before:.1f} MB before, {one.peak:.1f} MB at most, {one.left:.1f} MB after;"
            f" {one.closed:,} closed for slowness; {HEALTH} meanwhile: p99 {p99:.2f} ms"
        )


def raise_limit_of_files() -> None:
    """Let this process's children open as many files as the crowd needs.

    Raises:
        RuntimeError: the hard limit does not allow that.
    """
    wanted = EVERYBODY + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise RuntimeError(f"{wanted} open files are needed; the hard limit is {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


PARTS = {"turns": measure_turns, "memory": measure_memory}


def main() -> int:
    """Measure, print, and answer the exit code."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is enforced")
    arguments = parser.parse_args()
    report = Report(enforced=not arguments.quick)
    for part in arguments.parts or PARTS:
        PARTS[part](report, QUICK if arguments.quick else FULL)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
