"""Contents: what a store holds, and what its keys have signed; plain values, without behaviour."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.lifecycle.ring import Ring


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens a key has signed, and the last ``exp`` among them (0 where there is none)."""

    signed: int = 0
    last_exp: int = 0

    def __add__(self, more: "Usage") -> "Usage":
        return Usage(self.signed + more.signed, max(self.last_exp, more.last_exp))


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds: all of it, or what has changed since a version.

    ``ring`` is always whole. ``keys`` are published halves: of keys of the ring, which only the
    ring ends (their ``expires`` is None), and of keys that signed one token each. ``pairs`` are the
    private halves of pending and active keys; one that cannot be decrypted is missing. ``gone`` are
    the kids of keys that were withdrawn since that version. Where ``gone`` is None these are all
    contents: every key that they do not name is gone.
    """

    version: int
    ring: Ring
    keys: Sequence[PublishedKey]
    pairs: Sequence[KeyPair]
    gone: Collection[str] | None
