"""What minting costs: against bare key generation, beside readers, and with many live keys.

Every figure with a bound compares two things measured in turn in the same run, or is a time or a
size that a client or an operator sees. See README.md beside this file.
"""

import asyncio
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, median, quantiles, stdev
from typing import TypeVar

from common import Daemon, Quiet, Report, processors, running
from cryptography.hazmat.primitives.asymmetric import rsa
from live import Remote, live_server, memory_of_keys
from load import paced_latencies, time_tokens

T = TypeVar("T")

CONNECTIONS = 32
FETCH_RATE = 100
"""GETs of jwks.json in a second."""

SKIPPED_TOKENS = 16
"""By then the reserve of 8 keys is drained, and every further token waits for its key."""

DISTURBANCE = 0.04
"""The share of the processors' time that others may take from a phase that counts."""

TRIES = 5

STORMS = 2
"""How often the latency is measured from no keys on."""

FEW, MANY = 10, 10_000

SINGLE_KEYS = {
    "any": "time_any_single_keys",
    "known": "time_single_keys",
    "new": "time_new_single_keys",
}
"""Of any live key; what is asked for again, which the fast path answers; and what is new to it."""


@dataclass(frozen=True)
class Samples:
    """How much is measured."""

    rounds: int
    """Phases of the storm, each in turn with as many bare keys."""
    tokens: int
    """Tokens in a phase, and bare keys."""
    fetches: int
    """GETs of jwks.json in a phase."""
    batches: int
    """Batches of requests with few and with many live keys, in turn."""


FULL = Samples(rounds=16, tokens=125, fetches=250, batches=60)
QUICK = Samples(rounds=2, tokens=25, fetches=100, batches=5)


class BareKeys:
    """Makes RSA keys with cryptography alone, on as many threads as there are processors."""

    def __init__(self, count: int) -> None:
        # The keys that are under way when the clock starts and when it stops make up for another.
        self._skip = processors()
        self._wanted = self._skip + count
        self._times: list[float] = []

    def seconds(self) -> float:
        """How long ``count`` keys take."""
        threads = [threading.Thread(target=self._make) for _ in range(processors())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times = sorted(self._times)
        return times[self._wanted - 1] - times[self._skip - 1]

    def _make(self) -> None:
        while len(self._times) < self._wanted:
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            self._times.append(time.perf_counter())


@dataclass
class Phases:
    """Measures again and again beside one daemon, and passes over what others disturbed."""

    daemon: Daemon
    disturbed: int = 0

    def undisturbed(self, measure: Callable[[], T]) -> T:
        """The first result in which others had no part; after ``TRIES`` the last, as it is."""
        for _ in range(TRIES):
            self.daemon.wait_until_idle()
            quiet = Quiet(self.daemon.process.pid)
            result = measure()
            if quiet.disturbance <= DISTURBANCE:
                break
            self.disturbed += 1
        return result

    def write(self, report: Report) -> None:
        """Write how often other processes disturbed a measurement."""
        if self.disturbed:
            report.note(
                f"{self.disturbed} times others took over {DISTURBANCE:.0%} of the processors;"
                f" each was measured anew, up to {TRIES} times"
            )


def time_throughput(report: Report, samples: Samples) -> tuple[list[float], list[float]]:
    """Seconds that as many bare keys took as a phase has tokens, and the tokens, by round."""
    bare, minted = [], []
    with running() as daemon:
        phases = Phases(daemon)
        for _ in range(samples.rounds):
            bare.append(phases.undisturbed(lambda: BareKeys(samples.tokens).seconds()))
            minted.append(phases.undisturbed(lambda: _time_tokens(daemon, samples)))
    phases.write(report)
    return bare, minted


def measure_throughput(report: Report, samples: Samples) -> None:
    """Tokens a second in a storm, over bare keys a second."""
    bare, minted = time_throughput(report, samples)
    ratios = [keys / tokens for keys, tokens in zip(bare, minted, strict=True)]
    report.bounded("tokens/s over bare RSA-2048 keys/s", sum(bare) / sum(minted), at_least=0.9)
    report.note(f"{_rates('bare keys/s', bare, samples)}; {_rates('tokens/s', minted, samples)}")
    error = stdev(ratios) / len(ratios) ** 0.5
    report.note(
        f"ratio by round {min(ratios):.2f} to {max(ratios):.2f}; standard error {error:.3f}"
    )


def _time_tokens(daemon: Daemon, samples: Samples) -> float:
    return asyncio.run(time_tokens(daemon.port, CONNECTIONS, SKIPPED_TOKENS, samples.tokens))


def _rates(what: str, seconds: list[float], samples: Samples) -> str:
    rates = [samples.tokens / phase for phase in seconds]
    mean_rate = len(seconds) * samples.tokens / sum(seconds)
    return f"{what} {mean_rate:.1f} ({min(rates):.1f} to {max(rates):.1f})"


def measure_latency(report: Report, samples: Samples) -> None:
    """GET jwks.json, 100 times a second, while the storm runs."""
    seconds: list[float] = []
    disturbed = 0
    # Each storm is of about a thousand tokens, and begins without keys: the document grows with it.
    for _ in range(STORMS):
        with running() as daemon:
            phases = Phases(daemon)
            for _ in range(max(1, samples.rounds // STORMS)):
                seconds += phases.undisturbed(lambda: _time_fetches(daemon, samples))
            disturbed += phases.disturbed
    percentiles = quantiles((1000 * latency for latency in seconds), n=1000)
    report.bounded(
        "p99 of jwks.json at 100/s beside the storm", percentiles[989], unit=" ms", at_most=25
    )
    report.note(
        f"p50 {percentiles[499]:.1f} ms, p90 {percentiles[899]:.1f} ms,"
        f" p99.9 {percentiles[998]:.1f} ms, longest {1000 * max(seconds):.1f} ms"
    )
    Phases(daemon, disturbed).write(report)


def _time_fetches(daemon: Daemon, samples: Samples) -> list[float]:
    return asyncio.run(
        paced_latencies(daemon.port, CONNECTIONS, SKIPPED_TOKENS, FETCH_RATE, samples.fetches)
    )


def measure_cost(report: Report, samples: Samples) -> None:
    """POST /auth and GET <kid>.json: with 10,000 live keys over with 10."""
    with live_server(FEW) as few, live_server(MANY) as many:
        _compare(report, "POST /auth", few, many, ("time_mints", 50), samples.batches)
        for what, call in SINGLE_KEYS.items():
            _compare(report, f"GET <kid>.json, {what}", few, many, (call, 200), samples.batches)
        seconds = [many.call("time_key_set") for _ in range(samples.batches)]
    report.note(f"jwks.json of {MANY} keys, first after a change: {1000 * median(seconds):.1f} ms")


def _compare(
    report: Report, what: str, few: Remote, many: Remote, call: tuple[str, int], batches: int
) -> None:
    with_few, with_many = [], []
    for _ in range(batches):
        with_few.append(few.call(*call))
        with_many.append(many.call(*call))
    ratio = median(with_many) / median(with_few)
    report.bounded(f"{what} with {MANY} live keys over with {FEW}", ratio, at_most=1.2)
    report.note(
        f"{1e6 * median(with_many):.0f} µs and {1e6 * median(with_few):.0f} µs;"
        f" by means {mean(with_many) / mean(with_few):.3f}"
    )


def measure_memory(report: Report, samples: Samples) -> None:
    """Resident memory of a live key."""
    per_key, document, grown = memory_of_keys(MANY)
    report.bounded(
        f"memory per live key, of {MANY}, before jwks.json", per_key / 1000, unit=" kB", at_most=3
    )
    report.bounded(
        "the same with a key's share of the bytes of jwks.json",
        (per_key + document / MANY) / 1000,
        unit=" kB",
        at_most=3,
    )
    report.note(
        f"jwks.json has {document / 1e6:.1f} MB; its first answer, with buffers that the next one"
        f" uses again, grew the process by {grown / 1e6:.1f} MB"
    )


PARTS = {
    "throughput": measure_throughput,
    "latency": measure_latency,
    "cost": measure_cost,
    "memory": measure_memory,
}


def main() -> int:
    """Measure, print, and answer the exit code."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is enforced")
    arguments = parser.parse_args()
    report = Report(enforced=not arguments.quick)
    for part in arguments.parts or PARTS:
        PARTS[part](report, QUICK if arguments.quick else FULL)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
