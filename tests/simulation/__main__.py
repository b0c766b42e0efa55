"""``python -m tests.simulation --seed N``: one run, its counts and its violations."""

import argparse
import sys

from tests.simulation.world import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rotations", type=int, default=12, help="about, of each issuer")
    parser.add_argument("--revocations", action="store_true")
    options = parser.parse_args()
    ledger = run(options.seed, rotations=options.rotations, revocations=options.revocations)
    for what, number in sorted(ledger.counts.items()):
        print(f"{number:>10,}  {what}")
    print(f"digest {ledger.digest()}")
    for violation in ledger.violations:
        print(violation)
    return 1 if ledger.violations else 0


if __name__ == "__main__":
    sys.exit(main())
