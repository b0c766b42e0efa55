"""``python -m tests.proofs.cluster [--rotations N] [--seed N]``: a run and its figures."""

import argparse
import sys
import time

from tests.proofs.cluster import pertoken, rotating
from tests.proofs.cluster.ledger import Ledger
from tests.proofs.cluster.nodes import find_nginx
from tests.support import postgres


def main() -> int:
    """The exit code: 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.cluster", description=__doc__)
    parser.add_argument("--rotations", type=int, default=1000, help="of all algorithms together")
    parser.add_argument("--tokens", type=int, default=600, help="of the nodes of a key for each")
    parser.add_argument("--seed", type=int, default=1, help="which node is killed, and when")
    options = parser.parse_args()
    for program, found in (("nginx", find_nginx()), ("PostgreSQL", postgres.find())):
        if found is None:
            raise SystemExit(f"{program} is not installed")
    ledger, began = Ledger(), time.monotonic()
    rotating.run(ledger, options.rotations, options.seed)
    pertoken.run_postgres(ledger, options.tokens)
    pertoken.run_sqlite(ledger, options.tokens)
    ledger.counts["refusals of valid tokens"] += 0  # shown when there is none, too
    print(ledger.report())
    print(f"{time.monotonic() - began:10.0f}  s in all")
    for failure in ledger.failures:
        print(f"FAILED: {failure}")
    return 1 if ledger.failures else 0


if __name__ == "__main__":
    sys.exit(main())
