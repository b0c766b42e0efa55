"""Succession: the active key of a rotation only ever gives way to a younger one."""

from collections.abc import Iterable

from jwksd.lifecycle.ring import Ring, State
from tests.proofs.crash.ledger import key_id
from tests.proofs.crash.load import Haul
from tests.proofs.crash.violation import demand


class Succession:
    """Who has signed, from the first kill to the last, in the store's words and the tokens'."""

    def __init__(self) -> None:
        self.states: dict[State, set[str]] = {state: set() for state in State}
        self.gone: set[str] = set()
        self._born: dict[str, int] = {}
        self._youngest = 0

    def observe(self, ring: Ring, hauls: Iterable[Haul]) -> None:
        """What the store holds after a restart, and what was signed before the kill.

        Raises:
            Violation: an older key signed, or is to sign, after a younger one; or one is back.
        """
        kids = {key.kid for key in ring.keys}
        demand(kids.isdisjoint(self.gone), f"a key is back: {sorted(kids & self.gone)}")
        self._born |= {key.kid: key.created for key in ring.keys}
        self.gone |= self._born.keys() - kids
        self._follow(hauls)
        for key in ring.keys:
            self.states[key.state].add(key.kid)
            if key.state is State.ACTIVE:
                self._youngest = self._signs(key.kid, self._youngest)

    def _follow(self, hauls: Iterable[Haul]) -> None:
        """In the order of each connection: between two of them there is none."""
        begun = youngest = self._youngest
        for haul in hauls:
            last = begun
            for token in haul.tokens:
                last = self._signs(key_id(token), last)
            youngest = max(youngest, last)
        self._youngest = youngest

    def _signs(self, kid: str, youngest: int) -> int:
        demand(kid in self._born, f"key {kid} signed, and the store does not know it")
        demand(self._born[kid] >= youngest, f"key {kid} signs again after a younger one")
        return self._born[kid]
