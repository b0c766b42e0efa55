"""Holdings: what a process has of a rotation: public halves, private halves, and what was signed.

The ring says which keys there are; the holdings follow it. A private half is here while its key is
pending or active, and destroyed with the ring that retires or drops it.
"""

from collections.abc import Mapping

from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import Ring, State


class Tally:
    """What a key has signed here since the store was last told."""

    __slots__ = ("last_exp", "signed")

    def __init__(self) -> None:
        self.signed = 0
        self.last_exp = 0

    def add(self, exp: int) -> None:
        """One more token, with this ``exp``."""
        self.signed += 1
        if exp > self.last_exp:
            self.last_exp = exp

    def usage(self) -> Usage:
        """As much as it is."""
        return Usage(self.signed, self.last_exp)

    def take(self) -> Usage:
        """What is to be told; the last exp is kept, for it can be told twice."""
        usage, self.signed = self.usage(), 0
        return usage


class Holdings:
    """``keys`` are published; ``pairs`` by kid, and those that sign, ``signers``, by algorithm."""

    def __init__(self) -> None:
        self.keys = PublishedKeys()
        self.pairs: dict[str, KeyPair] = {}
        self.signers: dict[str, KeyPair] = {}
        self.tallies: dict[str, Tally] = {}
        self.counted: Mapping[str, Usage] = {}

    def usage(self, kid: str) -> Usage:
        """What a key of the ring has signed, here and as far as the store has told elsewhere."""
        return self.counted.get(kid, Usage()) + self.tallies[kid].usage()

    def last_exps(self) -> dict[str, int]:
        """By kid, the last ``exp`` among the tokens that a key has signed."""
        return {kid: self.usage(kid).last_exp for kid in self.tallies}

    def take_uncounted(self) -> dict[str, Usage]:
        """What the store is to be told."""
        return {kid: tally.take() for kid, tally in self.tallies.items() if tally.signed}

    def give_back(self, usage: Mapping[str, Usage]) -> None:
        """The store could not be told."""
        for kid, more in usage.items():
            if kid in self.tallies:
                self.tallies[kid].signed += more.signed

    @property
    def is_counted(self) -> bool:
        """Whether the store knows of everything."""
        return not any(tally.signed for tally in self.tallies.values())

    def singles(self, ring: Ring) -> list[str]:
        """The kids of keys that signed one token each, under another policy."""
        return [key.kid for key in self.keys if ring.get(key.kid) is None]

    def add(self, key: PublishedKey, pair: KeyPair | None = None) -> None:
        """A key of the ring."""
        if self.keys.get(key.kid) is None:
            self.keys.add(key)
        self.tallies.setdefault(key.kid, Tally())
        if pair is not None:
            self.pairs[key.kid] = pair

    def take_in(self, contents: Contents, before: Ring) -> None:
        """What another has changed in the store; ``follow`` its ring next."""
        ours = {key.kid for key in contents.ring.keys}
        for key in contents.keys:
            if key.kid in ours:
                self.add(key.ending(None))
            elif self.keys.get(key.kid) is None:
                self.keys.add(key)
        for pair in contents.pairs:
            self.pairs[pair.kid] = pair
        gone = contents.gone
        if gone is None:
            told = {key.kid for key in contents.keys} | ours
            gone = [key.kid for key in self.keys if key.kid not in told]
        for kid in gone:
            if before.get(kid) is None:  # those of the ring go with it
                self.keys.remove(kid)

    def follow(self, before: Ring, ring: Ring) -> None:
        """Have what is published, and what can sign, be as the ring has it."""
        for key in before.keys:
            if ring.get(key.kid) is None:
                self.keys.remove(key.kid)
                self.tallies.pop(key.kid, None)
                self._destroy(key.kid)
        for key in ring.keys:
            if key.state is State.RETIRED:
                self._destroy(key.kid)
        active = [key for key in ring.keys if key.state is State.ACTIVE and key.kid in self.pairs]
        self.signers = {key.alg: self.pairs[key.kid] for key in active}

    def destroy(self) -> None:
        """Let go of every private half."""
        for kid in list(self.pairs):
            self._destroy(kid)
        self.signers.clear()

    def _destroy(self, kid: str) -> None:
        pair = self.pairs.pop(kid, None)
        if pair is not None:
            pair.destroy()
