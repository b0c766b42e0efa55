"""What keeping keys costs: minting on SQLite and PostgreSQL beside memory, and starting with many.

The databases are new ones in a temporary folder; PostgreSQL is started for this where it is
installed. See README.md beside this file.
"""

import asyncio
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from common import CHECKOUT, Report, running
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from live import SharedKey
from load import time_tokens
from start import free_port, time_first_answer

sys.path.insert(1, str(CHECKOUT))

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import PublishedKey
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.stores.database import Database
from tests.support import postgres

CONNECTIONS = 32
STORED = 10_000
MINTING = ("--alg", "ES256", "--max-keys", "1000000", "--reserve", "64", "--max-waiting", "1000")


@dataclass(frozen=True)
class Samples:
    """How much is measured."""

    rounds: int
    tokens: int
    starts: int


FULL = Samples(rounds=8, tokens=4000, starts=11)
QUICK = Samples(rounds=1, tokens=300, starts=3)


@contextmanager
def engines(folder: str) -> Iterator[dict[str, Callable[[], str]]]:
    """By name, how to have a new store of each kind; its ``--store``."""
    numbers = count()
    made = {
        "memory": lambda: "memory",
        "SQLite": lambda: f"sqlite:///{folder}/{next(numbers)}.db",
    }
    if postgres.find() is None:
        yield made
        return
    with postgres.cluster() as cluster:
        yield {**made, "PostgreSQL": cluster.new_database}


def measure_minting(report: Report, stores: dict[str, Callable[[], str]], samples: Samples) -> None:
    """Per-token ES256 tokens a second, each phase on a new store, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(samples.rounds):
        for name, new_store in stores.items():
            with running(*MINTING, "--store", new_store()) as daemon:
                storm = time_tokens(daemon.port, CONNECTIONS, 100, samples.tokens)
                seconds[name].append(asyncio.run(storm))
    memory = median(seconds["memory"])
    for name in stores:
        rate = samples.tokens / median(seconds[name])
        report.note(
            f"per-token ES256 on {name}: {rate:.0f} tokens/s,"
            f" {memory / median(seconds[name]):.2f} of memory"
        )


def measure_start(report: Report, stores: dict[str, Callable[[], str]], samples: Samples) -> None:
    """First 200 with 10,000 stored keys, over that with none."""
    port = free_port()
    for name in stores.keys() - {"memory"}:
        empty, full = stores[name](), stores[name]()
        fill(empty, 0)
        fill(full, STORED)
        times: dict[str, list[float]] = {empty: [], full: []}
        for _ in range(samples.starts):
            for store, measured in times.items():
                command = [sys.executable, "-m", "jwksd", "serve", "--port", str(port)]
                command += ["--store", store, "--max-keys", "100000"]
                measured.append(time_first_answer(command, port))
        ratio = median(times[full]) / median(times[empty])
        report.bounded(f"start with {STORED} keys in {name} over none", ratio, at_most=2)
        report.note(f"{1000 * median(times[full]):.0f} ms and {1000 * median(times[empty]):.0f} ms")


def fill(store: str, number: int) -> None:
    """Put so many RSA keys into a store, whose moduli are random numbers."""
    signer = generate_private_key(public_exponent=65_537, key_size=2048)
    database = Database(store, None)
    database.open()
    if number:
        database.insert([stored_key(signer) for _ in range(number)])
    database.close()


def stored_key(signer: RSAPrivateKey) -> PublishedKey:
    """The public half of a key that signed a token valid for a day."""
    now = int(time.time())
    pair = LocalKeyPair(SharedKey(signer), ALGORITHMS["RS256"])
    return pair.published(now, now + 86_400)


def main() -> int:
    """Measure, print, and answer the exit code."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is enforced")
    arguments = parser.parse_args()
    report = Report(enforced=not arguments.quick)
    samples = QUICK if arguments.quick else FULL
    with TemporaryDirectory() as folder, engines(str(Path(folder))) as stores:
        measure_minting(report, stores, samples)
        measure_start(report, stores, samples)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
