"""This checkout beside another commit: GET and mint rates in alternating pairs.

    python bench/pairs.py REVISION [--pairs 20] [--turns 4] [--only TEXT] [--bound 0.97]

Both servers run at the same time on one core, and wrk on another asks them in turn, for a second
each and some turns a pair, so that what disturbs the machine disturbs both. Of each pair the ratio
of the rates is taken, new over old; printed are the mean and its 95 % interval. With ``--bound``,
exits with 1 where a lower end is below it.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from subprocess import run
from tempfile import TemporaryDirectory

import common
from servers import AUTH, JWKS, Server, Shot, jwksd
from tools import Tools, install
from wrk import Wrk

CORE, LOAD_CORE = 0, 1
CONNECTIONS = 16

T95 = 2.1
"""The factor of a 95 % interval by some twenty samples (Student's t)."""

LOADS: dict[str, tuple[Shot, Sequence[str]]] = {
    "GET jwks.json": (Shot(JWKS), ("--policy", "rotating", "--alg", "ES256")),
    "POST /auth, rotating ES256": (AUTH, ("--policy", "rotating", "--alg", "ES256")),
    "POST /auth, rotating RS256": (AUTH, ("--policy", "rotating")),
    "POST /auth, a fresh ES256 key each": (
        AUTH,
        ("--alg", "ES256", "--max-keys", "10000000", "--lifetime", "5s"),
    ),
}


@contextmanager
def at(checkout: Path, *arguments: str) -> Iterator[Server]:
    """The server of a checkout: ``python -m`` looks into the current folder first."""
    kept, common.CHECKOUT = common.CHECKOUT, checkout
    try:
        with jwksd(checkout.name, (CORE,), *arguments) as server:
            yield server
    finally:
        common.CHECKOUT = kept


def ratios(tools: Tools, other: Path, load: str, pairs: int, turns: int) -> list[float]:
    """New over old, of so many pairs; each turn begins with the one that the last ended with."""
    shot, arguments = LOADS[load]
    wrk = Wrk(tools, LOAD_CORE)
    with at(common.CHECKOUT, *arguments) as new, at(other, *arguments) as old:
        for server in (new, old):  # not counted: the first answers are slow
            wrk.rate(server.port, shot, CONNECTIONS, 2)
        found = []
        for _ in range(pairs):
            rates = {new.port: 0.0, old.port: 0.0}
            for number in range(turns):
                for server in (new, old) if number % 2 else (old, new):
                    rates[server.port] += wrk.rate(server.port, shot, CONNECTIONS, 1)
            found.append(rates[new.port] / rates[old.port])
        return found


def main() -> int:
    """The command."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("revision", help="what to compare with, as git names it")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--turns", type=int, default=4, help="of a second each, a pair")
    parser.add_argument("--only", default="", help="loads with this text in their names")
    parser.add_argument("--bound", type=float, default=0.0)
    parser.add_argument("--tools", type=Path, default=common.CHECKOUT / "build" / "peers")
    given = parser.parse_args()
    tools = install(given.tools, None)
    missed = 0
    with TemporaryDirectory() as folder:
        other = Path(folder, "old")
        run(["git", "clone", "--quiet", common.CHECKOUT, other], check=True)
        run(["git", "checkout", "--quiet", given.revision], cwd=other, check=True)
        for load in (name for name in LOADS if given.only in name):
            found = ratios(tools, other, load, given.pairs, given.turns)
            half = T95 * stdev(found) / sqrt(len(found))
            low, high = mean(found) - half, mean(found) + half
            missed += low < given.bound
            print(f"{load:36} {mean(found):.3f} ({low:.3f} to {high:.3f})", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
