"""``python -m tests.proofs.crash --engine E --kills N``: kills under load.

Half of the kills hit a server with a key for every token, half one that rotates its keys; both
series run beside each other, each on a store of its own.
"""

import argparse
import asyncio
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

from tests.proofs.crash import planting
from tests.proofs.crash.blows import plan
from tests.proofs.crash.engines import engine
from tests.proofs.crash.stream import POLICIES, Stream
from tests.proofs.crash.violation import Violation, demand


async def strike(stream: Stream, kills: int, random: Random) -> None:
    """All kills of one stream.

    Raises:
        Violation: a promise was broken; it says after which kill.
    """
    try:
        for blow in plan(kills, stream.engine, random):
            await blow(stream, random)
            await asyncio.to_thread(stream.engine.inspect)
            if stream.kills % stream.engine.search_every == 0:
                # Or tokens would expire unseen while the search takes its time.
                await stream.start()
                await stream.reap()
                await stream.look_for_leaks()
                print(f"{stream.policy}: {stream.kills} kills", flush=True)
        await conclude(stream)
    except Violation as violation:
        raise Violation(f"{stream.policy}, after kill {stream.kills}: {violation}") from violation
    finally:
        await stream.reap()


async def conclude(stream: Stream) -> None:
    """The last restarts, in order, and the last search."""
    for _ in range(2):
        await stream.start()
        await stream.stop()
    await asyncio.to_thread(stream.engine.inspect)
    await stream.look_for_leaks()
    ledger = stream.ledger
    demand(ledger.acknowledged > stream.kills, "there was hardly any load")
    demand(ledger.unseen < ledger.acknowledged / 4, "too many tokens expired unseen")
    if stream.policy == "rotating" and stream.kills >= 50:
        demand(len(stream.succession.gone) > 3, "there was hardly any rotation")


async def run(name: str, kills: int, random: Random) -> list[str]:
    """The report: a line for each counter.

    Raises:
        Violation: a promise was broken.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        streams = [
            Stream(policy, stack.enter_context(engine(name)), _folder(stack)) for policy in POLICIES
        ]
        numbers = [(kills + 1) // 2, kills // 2]
        async with asyncio.TaskGroup() as group:
            for stream, number in zip(streams, numbers, strict=True):
                group.create_task(strike(stream, number, Random(random.random())))
        planted = [
            planting.prove(stream.leaks, stream.engine.main_file, _folder(stack))
            for stream in streams
        ]
    report = [line for stream in streams for line in describe(stream)]
    total = f"{sum(stream.kills for stream in streams)} kills"
    return [*report, f"{sum(planted)} planted secrets found", f"{total}, {_since(began)}"]


def describe(stream: Stream) -> list[str]:
    """The counters of one stream."""
    ledger = stream.ledger
    counts = [
        (stream.kills, "kills"),
        (stream.database_crashes, "crashes of the database"),
        (ledger.acknowledged, "tokens acknowledged"),
        (ledger.signatures, "signatures verified"),
        (ledger.verdicts, "verdicts, on each live token after each start"),
        (ledger.unseen, "tokens that expired before a restart could be asked"),
        (len(stream.leaks.secrets), "secrets known"),
        (stream.leaks.bytes_searched, "bytes searched"),
        (round(1000 * stream.slowest), "ms from spawn to serving, at the slowest"),
    ]
    if stream.policy == "rotating":
        counts += [
            (len(kids), f"keys seen {state.value}")
            for state, kids in stream.succession.states.items()
        ]
        counts.append((len(stream.succession.gone), "keys gone"))
    return [f"{stream.policy}: {number:>13,}  {what}" for number, what in counts]


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory(prefix="jwksd-crash-")))


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def main() -> int:
    """The exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.crash", description=__doc__)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), required=True)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"{options.engine}, seed {options.seed}", flush=True)
    failed = False
    try:
        report = asyncio.run(run(options.engine, options.kills, Random(options.seed)))
    except* Violation as group:
        report = [f"FAILED (seed {options.seed}): {line}" for line in group.exceptions]
        failed = True
    print("\n".join(report))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
