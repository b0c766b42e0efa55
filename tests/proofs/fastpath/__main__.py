"""``python -m tests.proofs.fastpath``: a million requests, through the fast path and without it."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import Pool
from os import cpu_count

from tests.proofs.fastpath.proof import REQUESTS, run
from tests.proofs.fastpath.recorded import record, replay_all
from tests.proofs.fastpath.sites import Different

WORLDS = 20
"""Of one piece of work."""

LEAST_SHARE = 0.3
"""Of the answers that have to come through the fast path; else little would be proved."""


def work(seed: int, requests: int) -> Iterator[list[str]]:
    """The seeds of so many requests, in pieces."""
    worlds = -(-requests // REQUESTS)
    for begin in range(0, worlds, WORLDS):
        yield [f"{seed}:{number}" for number in range(begin, min(worlds, begin + WORLDS))]


def prove(seed: int, requests: int, processes: int) -> "tuple[Counter[str], str | None]":
    """The counts, and the first difference."""
    counts: Counter[str] = Counter()
    with closing(Pool(processes)) as pool:
        for done, difference in pool.imap_unordered(run, work(seed, requests)):
            counts += done
            if difference is not None:
                pool.terminate()
                return counts, difference
    return counts, None


def prove_raw() -> "tuple[Counter[str], str | None]":
    """The same of all that the raw-HTTP suite sends, cut at every octet."""
    result, streams = record()
    failed = [*result.failures, *result.errors]
    if failed:
        return Counter(), f"{failed[0][0]}\n{failed[0][1]}"
    try:
        return replay_all(streams), None
    except Different as difference:
        return Counter(), str(difference)


def main() -> int:
    """The exit code: 1 when the two differ, or the fast path was hardly used."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.fastpath", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=cpu_count() or 1)
    parser.add_argument("--raw", action="store_true", help="what the raw-HTTP suite sends, instead")
    options = parser.parse_args()
    proved = (
        prove_raw() if options.raw else prove(options.seed, options.requests, options.processes)
    )
    counts, difference = proved
    for what, number in sorted(counts.items()):
        print(f"{number:>12,}  {what}")
    if difference is not None:
        print(difference)
        return 1
    share = counts["through the fast path"] / max(1, counts["answered"])
    print(f"no difference; {share:.0%} of the answers came through the fast path")
    return 0 if options.raw or share >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
