"""What was counted, and what was wrong."""

from collections import Counter


class Ledger:
    """Counts and failures of a run."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def check(self, holds: bool, failure: str) -> None:
        """Note a failure unless something holds."""
        self.counts["checks"] += 1
        if not holds:
            self.failures.append(failure)

    def report(self) -> str:
        """Return the counts, one a line."""
        return "\n".join(f"{number:8,}  {what}" for what, number in sorted(self.counts.items()))
