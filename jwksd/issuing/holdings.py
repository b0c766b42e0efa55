"""Holdings: what a process has of a rotation: public halves, private halves, and what was signed.

The ring says which keys there are; the holdings follow it. A private half is here while its key is
pending or active, and destroyed with the ring that retires or drops it.
"""

from collections.abc import Awaitable, Callable, Mapping

from jwksd.errors import StoreAway
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import Ring, State


class Tally:
    """What a key has signed here since the last report to the store."""

    __slots__ = ("last_exp", "signed")

    def __init__(self) -> None:
        self.signed = 0
        self.last_exp = 0

    def add(self, exp: int) -> None:
        """Count one more token, with this ``exp``."""
        self.signed += 1
        if exp > self.last_exp:
            self.last_exp = exp

    def usage(self) -> Usage:
        """Return the usage since the last report."""
        return Usage(self.signed, self.last_exp)

    def take(self) -> Usage:
        """Return the usage since the last report and reset the count.

        The last ``exp`` is kept: to report it twice does no harm.
        """
        usage, self.signed = self.usage(), 0
        return usage


class Holdings:
    """The keys of a rotation in this process.

    ``keys`` are published. ``pairs`` are key pairs by kid, ``signers`` the pairs of active keys by
    algorithm. ``tallies`` count by kid what was signed here, ``counted`` what all nodes reported.
    """

    def __init__(self) -> None:
        self.keys = PublishedKeys()
        self.pairs: dict[str, KeyPair] = {}
        self.signers: dict[str, KeyPair] = {}
        self.tallies: dict[str, Tally] = {}
        self.counted: Mapping[str, Usage] = {}

    def usage(self, kid: str) -> Usage:
        """Return what a key of the ring has signed here, and elsewhere as far as it is known."""
        return self.counted.get(kid, Usage()) + self.tallies[kid].usage()

    def last_exps(self) -> dict[str, int]:
        """Return, by kid, the last ``exp`` among the tokens that a key has signed."""
        return {kid: self.usage(kid).last_exp for kid in self.tallies}

    async def report(
        self, count: Callable[[Mapping[str, Usage]], Awaitable[Mapping[str, Usage]]]
    ) -> None:
        """Report what was signed since the last report, and learn what other nodes have signed.

        Args:
            count: adds to the count of the store, and returns the sums.

        Raises:
            StoreAway: it is reported next time.
        """
        taken = {kid: tally.take() for kid, tally in self.tallies.items() if tally.signed}
        try:
            self.counted = await count(taken)
        except StoreAway:
            for kid, more in taken.items():
                if kid in self.tallies:
                    self.tallies[kid].signed += more.signed
            raise

    @property
    def is_counted(self) -> bool:
        """Whether everything was reported to the store."""
        return not any(tally.signed for tally in self.tallies.values())

    def singles(self, ring: Ring) -> list[str]:
        """Return the kids of keys that signed one token each, under another policy."""
        return [key.kid for key in self.keys if ring.get(key.kid) is None]

    def add(self, key: PublishedKey, pair: KeyPair | None = None) -> None:
        """Add a key of the ring, with its private half where there is one."""
        if self.keys.get(key.kid) is None:
            self.keys.add(key)
        self.tallies.setdefault(key.kid, Tally())
        if pair is not None:
            self.pairs[key.kid] = pair

    def take_in(self, contents: Contents, before: Ring) -> None:
        """Take in what another node has changed in the store; ``follow`` its ring next."""
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
            kept = {key.kid for key in contents.keys} | ours
            gone = [key.kid for key in self.keys if key.kid not in kept]
        for kid in gone:
            if before.get(kid) is None:  # those of the ring go with it
                self.keys.remove(kid)

    def follow(self, before: Ring, ring: Ring) -> None:
        """Make what is published, and what can sign, as the ring has it."""
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
        """Destroy every private half."""
        for kid in list(self.pairs):
            self._destroy(kid)
        self.signers.clear()

    def _destroy(self, kid: str) -> None:
        pair = self.pairs.pop(kid, None)
        if pair is not None:
            pair.destroy()
