"""KeyStatus: one key as operators see it, in ``/dev/keys`` and ``jwksd keys list``."""

from dataclasses import dataclass, replace
from typing import Self

from jwksd.jose.keys import PublishedKey
from jwksd.lifecycle.contents import Usage
from jwksd.lifecycle.plan import takeover
from jwksd.lifecycle.ring import Ring, RingKey, State
from jwksd.lifecycle.schedule import Schedule


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Which state a key is in, since and until when, and what it has signed.

    ``until`` is when the next state begins. ``signed`` counts tokens, and ``last_exp`` is the last
    ``exp`` among them. A key that is ``safe_to_drop_at`` a time verifies no valid token from then
    on. Times are NumericDates, or None where there is none, or it is not known.
    """

    kid: str
    alg: str
    state: State
    since: int
    until: int | None
    signed: int
    last_exp: int | None
    safe_to_drop_at: int | None = None

    @classmethod
    def stored(cls, key: RingKey, usage: Usage) -> Self:
        """Describe a key of a ring whose schedule is not known."""
        last_exp = usage.last_exp or None
        return cls(key.kid, key.alg, key.state, key.since, key.until, usage.signed, last_exp)

    @classmethod
    def scheduled(cls, key: RingKey, usage: Usage, ring: Ring, schedule: Schedule) -> Self:
        """Describe a key of a ring with this schedule: what is to come is known."""
        status = cls.stored(key, usage)
        if key.state is State.RETIRED:
            drop = max(key.since, usage.last_exp + schedule.clock_skew)
            return replace(status, safe_to_drop_at=drop)
        successor = ring.pending(key.alg)
        if successor is None:
            return status
        return replace(status, until=int(takeover(ring, successor, schedule)))

    @classmethod
    def single(cls, key: PublishedKey) -> Self:
        """Describe a key that signed one token, and expires with it."""
        end = key.expires
        return cls(key.kid, key.alg, State.RETIRED, key.created, end, 1, end, end)

    def members(self) -> dict[str, object]:
        """Return the fields by name, in their order, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}
