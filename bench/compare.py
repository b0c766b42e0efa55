"""jwksd beside nginx and other issuers: everybody in turn, in one run, pinned to one core alike.

    python bench/compare.py                 measure all, and judge
    python bench/compare.py --write-docs    the same, and write docs/benchmarks.md and its picture

See ../docs/benchmarks.md for the method.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

import machine
from common import CHECKOUT, Report
from contest import FULL, QUICK, Bench
from figures import PARTS
from picture import draw
from results import DOCUMENT, Results, write
from tools import install


def main() -> int:
    """Measure, print, and answer the exit code."""
    arguments = parse()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("one core only: the servers and the load need one each")
    tools = install(arguments.tools, arguments.node)
    told = machine.describe(tools)
    for name, what in told.items():
        print(f"{name:20} {what}")
    report = Report(enforced=not arguments.quick)
    results = Results(report, told, arguments.quick)
    samples = QUICK if arguments.quick else FULL
    samples = replace(samples, rounds=arguments.rounds or samples.rounds)
    bench = Bench(tools, samples, results, cores)
    for part in arguments.only:
        PARTS[part](bench)
    if bench.disturbed:
        report.note(f"{bench.disturbed} phases were disturbed by others")
    save(results, arguments)
    return report.exit_code()


def save(results: Results, arguments: Namespace) -> None:
    """Write what is to be written."""
    picture = arguments.svg or (DOCUMENT.with_suffix(".svg") if arguments.write_docs else None)
    if picture:
        write(picture, draw(results.groups))
    if arguments.json:
        write(arguments.json, results.to_json())
    if arguments.write_docs:
        results.write_document()
        print(f"wrote {DOCUMENT}")


def parse() -> Namespace:
    """The command line."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is enforced")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--only", type=parts, default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--svg", type=Path, help="draw the picture into this file")
    parser.add_argument("--json", type=Path, help="write all values into this file")
    parser.add_argument("--write-docs", action="store_true", help="update docs/benchmarks.*")
    parser.add_argument("--tools", type=Path, default=CHECKOUT / "build" / "peers")
    parser.add_argument("--node", help="the Node for its peers, instead of the pinned one")
    return parser.parse_args()


def parts(text: str) -> list[str]:
    """The parts that a list with commas names."""
    names = text.split(",")
    if unknown := set(names) - PARTS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
