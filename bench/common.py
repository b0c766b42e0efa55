"""What the benchmarks share: a daemon of a process of its own, and figures held to bounds."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Report:
    """Figures, each printed as soon as it is known; those with a bound are held to it."""

    enforced: bool
    missed: int = field(default=0, init=False)

    def bounded(
        self,
        what: str,
        value: float,
        *,
        unit: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """A figure with its bound and the verdict on it."""
        low = at_least is not None and value < at_least
        high = at_most is not None and value > at_most
        self.missed += low or high
        verdict = "MISSED" if low or high else "ok"
        bound = f"at most {at_most:g}" if at_least is None else f"at least {at_least:g}"
        print(f"{verdict:6} {what:58} {value:7.3f}{unit:3} {bound}", flush=True)

    def note(self, what: str) -> None:
        """A line for people, without a bound."""
        print(f"       - {what}", flush=True)

    def exit_code(self) -> int:
        """0, or 1 when a bound that counts has been missed."""
        if not self.enforced:
            print("quick: too few samples to judge by; no bound is enforced")
            return 0
        return 1 if self.missed else 0


class Quiet:
    """Tells how much other processes, and other guests of the host, disturbed a measurement.

    Args:
        pids: the processes that take part in it, beside this one and its children that end.
        interrupts: whether their handling counts as others' work; on a network it is one's own.
    """

    def __init__(self, *pids: int, interrupts: bool = True) -> None:
        self._pids = (os.getpid(), *pids)
        self._interrupts = interrupts
        self._wall = time.perf_counter()
        self._foreign = self._foreign_time()

    @property
    def disturbance(self) -> float:
        """The share of all processors' time that others took since this was made."""
        available = (time.perf_counter() - self._wall) * processors()
        return max(0.0, self._foreign_time() - self._foreign) / available

    def _foreign_time(self) -> float:
        with Path("/proc/stat").open(encoding="ascii") as lines:
            user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
        interrupts = irq + softirq if self._interrupts else 0
        ended = os.times()
        ours = ended.children_user + ended.children_system + sum(map(processor_time, self._pids))
        return (user + nice + system + interrupts + steal) / TICK - ours


@dataclass(frozen=True)
class Daemon:
    """A running jwksd."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def rss(self) -> int:
        """Its resident memory in bytes."""
        return resident(self.process.pid)

    def wait_until_idle(self) -> None:
        """Wait until it makes no more keys."""
        wait_until_idle(self.process.pid)


def wait_until_idle(pid: int) -> None:
    """Wait until a process has used no processor time for 0.4 s, a minute at most."""
    before = -1.0
    deadline = time.monotonic() + 60
    while (now := processor_time(pid)) != before and time.monotonic() < deadline:
        before = now
        time.sleep(0.4)


def resident(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * PAGE


def processor_time(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICK


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def environment() -> dict[str, str]:
    """The environment of a child process: ours, without any option of jwksd."""
    return {name: text for name, text in os.environ.items() if not name.startswith("JWKSD_")}


@contextmanager
def process(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """A child process, ended and reaped on the way out. Its stdout is a pipe."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield child
        finally:
            child.terminate()
            child.communicate(timeout=60)


@contextmanager
def running(*arguments: str, prefix: Sequence[str] = ()) -> Iterator[Daemon]:
    """A jwksd on a free port, its command behind a prefix such as taskset's."""
    command = [*prefix, sys.executable, "-m", "jwksd", "serve", "--port", "0", *arguments]
    with process(command) as child:
        assert child.stdout is not None
        greeting = child.stdout.readline()
        match = re.search(r":([0-9]+)(;|$)", greeting)
        assert match is not None, f"jwksd did not start: {greeting!r}"
        yield Daemon(child, int(match[1]))
