"""``python -m tests.proofs.fuzz``: a million inputs, and each is understood or refused."""

import argparse
import asyncio
import sys

from tests.proofs.fuzz.case import SERVERS
from tests.proofs.fuzz.generate import MAKERS
from tests.proofs.fuzz.run import MOST_VIOLATIONS, Run
from tests.proofs.fuzz.servers import learn, servers


def main() -> int:
    """The exit code: 1 when an answer was not right."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=tuple(MAKERS), help="of this kind alone")
    parser.add_argument("--repeat", metavar="SEED:NUMBER", help="one input again; show its answer")
    parser.add_argument(
        "--most", type=int, default=MOST_VIOLATIONS, help="violations until the end"
    )
    options = parser.parse_args()
    with servers([server.name for server in SERVERS]) as running:
        run = Run(running, learn(running), options.seed, options.only, options.most)
        if options.repeat:
            seed, _, number = options.repeat.partition(":")
            return asyncio.run(run.repeat(int(seed), int(number)))
        asyncio.run(run.run(options.requests))
        run.end()
    print(run.report())
    return int(bool(run.violations))


if __name__ == "__main__":
    sys.exit(main())
