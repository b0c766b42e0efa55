"""Ledger: what was counted, what took longest, and everything that went wrong."""

import threading
import time
from collections import Counter

MOST_FAILURES = 20
"""After so many nothing new is learned: the run is broken off."""


class Ledger:
    """Written by many threads."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.longest: dict[str, float] = {}
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._began = time.monotonic()

    @property
    def hopeless(self) -> bool:
        """Whether to break off."""
        return len(self.failures) >= MOST_FAILURES

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def took(self, what: str, seconds: float) -> None:
        """Keep the longest."""
        with self._lock:
            self.longest[what] = max(seconds, self.longest.get(what, 0.0))

    def fail(self, what: str) -> None:
        """Report at once that something is not as it must be."""
        self.note(f"FAILED: {what}")
        with self._lock:
            self.failures.append(what)

    def check(self, holds: bool, what: str) -> None:
        """Fail unless it holds."""
        if not holds:
            self.fail(what)

    def note(self, what: str) -> None:
        """Tell what happens, with the seconds since the start."""
        print(f"{time.monotonic() - self._began:7.1f}  {what}", flush=True)

    def report(self) -> str:
        """Every figure on a line of its own."""
        lines = [f"{number:>10,}  {what}" for what, number in sorted(self.counts.items())]
        lines += [f"{seconds:>10.3f}  s, {what}" for what, seconds in sorted(self.longest.items())]
        return "\n".join(lines)
