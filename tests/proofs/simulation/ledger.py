"""Ledger: what a run has counted, what went wrong in it, and a digest of all that happened."""

from collections import Counter
from hashlib import sha256

_KEPT = 20
"""Violations that are kept with their words; the others are counted only."""


class Ledger:
    """One for each run. Nothing is raised in the middle of it: violations are collected."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._trace = sha256()

    def trace(self, *facts: object) -> None:
        """Times, states and counts; never a kid, which no seed gives."""
        self._trace.update(repr(facts).encode())

    def violation(self, now: float, who: str, why: str) -> None:
        self.counts["violations"] += 1
        self.trace(now, who)
        if len(self.violations) < _KEPT:
            self.violations.append(f"seed {self.seed}, {now:.3f}, {who}: {why}")

    def digest(self) -> str:
        """Equal for two runs in which the same happened at the same times."""
        whole = self._trace.copy()
        whole.update(repr(sorted(self.counts.items())).encode())
        return whole.hexdigest()
