"""``python -m tests.proofs.simulation --seed N``: one run, its counts and its violations."""

import argparse
import sys

from tests.proofs.simulation.realm import Weather
from tests.proofs.simulation.world import run


def main() -> int:
    """The exit code: 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rotations", type=int, default=12, help="about, of each issuer")
    parser.add_argument("--revocations", action="store_true")
    parser.add_argument("--hours-behind", type=int, default=0, metavar="H")
    parser.add_argument("--set-while-down", action="store_true")
    options = parser.parse_args()
    weather = Weather(
        revocations=options.revocations,
        hours_behind=options.hours_behind,
        set_while_down=options.set_while_down,
    )
    ledger = run(options.seed, weather, rotations=options.rotations)
    for what, number in sorted(ledger.counts.items()):
        print(f"{number:>10,}  {what}")
    print(f"digest {ledger.digest()}")
    for violation in ledger.violations:
        print(violation)
    return 1 if ledger.violations else 0


if __name__ == "__main__":
    sys.exit(main())
