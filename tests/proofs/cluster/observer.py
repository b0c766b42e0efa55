"""Observer: reads the keys in the database itself, as often as it can, and judges what it sees."""

import time

import psycopg

from tests.proofs.cluster.ledger import Ledger

PAUSE = 0.01
"""Seconds between two looks."""

_ORDER = {"pending": 0, "active": 1, "retired": 2}
_KEYS = "SELECT kid, alg, state FROM jwksd_keys"
"""One statement, so one snapshot."""


class Observer:
    """Asserts that each algorithm has exactly one active key from its first on, and that no key
    goes back.

    ``appeared`` and ``vanished`` tell when a kid was first seen, and first missed.
    """

    def __init__(self, ledger: Ledger, url: str) -> None:
        self.appeared: dict[str, float] = {}
        self.vanished: dict[str, float] = {}
        self.rotations: dict[str, int] = {}
        self._ledger = ledger
        self._url = url
        self._connection: psycopg.Connection | None = None
        self._states: dict[str, str] = {}
        self._active: dict[str, str] = {}
        self._since: dict[str, float] = {}

    @property
    def total(self) -> int:
        """Rotations of all algorithms."""
        return sum(self.rotations.values())

    def look(self) -> float:
        """One snapshot, or a try to connect."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
            rows = self._connection.execute(_KEYS).fetchall()
        except psycopg.Error:
            self._connection = None
            self._ledger.count("database looked for in vain, observer")
            return 0.05
        self._judge(rows, time.time())
        self._ledger.count("database snapshots judged")
        return PAUSE

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _judge(self, rows: list[tuple[str, str, str]], now: float) -> None:
        active: dict[str, str] = {}
        for kid, alg, state in rows:
            self._judge_state(kid, state, now)
            if state == "active":
                self._ledger.check(alg not in active, f"two active {alg} keys at {now}")
                active[alg] = kid
        for alg in self._active.keys() - active.keys():
            self._ledger.fail(f"no active {alg} key at {now}")
        for kid in self._states.keys() - {kid for kid, _, _ in rows}:
            self._gone(kid, now)
        self._count(active, now)

    def _judge_state(self, kid: str, state: str, now: float) -> None:
        before = self._states.get(kid)
        if before is None:
            self.appeared.setdefault(kid, now)
            self._ledger.check(kid not in self.vanished, f"key {kid} came back")
        elif _ORDER[state] < _ORDER[before]:
            self._ledger.fail(f"key {kid} went from {before} to {state}")
        self._states[kid] = state

    def _gone(self, kid: str, now: float) -> None:
        state = self._states.pop(kid)
        self._ledger.check(state == "retired", f"key {kid} is gone, and was {state}")
        self.vanished[kid] = now

    def _count(self, active: dict[str, str], now: float) -> None:
        for alg, kid in active.items():
            if self._active.get(alg) == kid:
                continue
            if alg in self._active:
                self.rotations[alg] = self.rotations.get(alg, 0) + 1
                self._ledger.count(f"rotations of {alg}")
                self._ledger.took("from one rotation to the next", now - self._since[alg])
            self._since[alg] = now
        self._active = active
