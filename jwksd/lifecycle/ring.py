"""Ring: every key of a rotation with its state, and the changes that are made to it.

The laws of this module:
1. A ring never changes; each function that changes something returns another ring.
2. These functions make any change that the caller asks for. ``plan`` decides which is due.
3. A time is a NumericDate. What waits for passing time is rounded up, never down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from jwksd.lifecycle.schedule import Schedule

JUMP = 1.0
"""Seconds that the wall clock may drift from the time that passes before that is called a jump."""


class State(StrEnum):
    """Where a key is in its life (NIST SP 800-57 §7: pre-activation, active, deactivated)."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring.

    ``created`` gives its place in the documents and never changes. ``published`` is when its
    propagation began, ``since`` when its state did; a jump of the clock moves both. ``until`` is
    when a retired key is gone, and None for the others.
    """

    kid: str
    alg: str
    state: State
    created: int
    published: int
    since: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Ring:
    """Every key that is published under the rotating policy, in the order of publication.

    ``hurried`` are the algorithms whose key is to be replaced as soon as that is safe. Until
    ``alert_until`` documents must not be cached for long, because a key was revoked. ``boot`` names
    the start of the machine from which the steady clock counts, and ``ahead`` is how many seconds
    the wall clock was ahead of it when last compared; where machines share the ring, neither is
    known.
    """

    keys: tuple[RingKey, ...] = ()
    hurried: frozenset[str] = frozenset()
    alert_until: int = 0
    boot: str | None = None
    ahead: float = 0.0

    def __getitem__(self, kid: str) -> RingKey:
        """Return the key with this kid.

        Raises:
            KeyError: the ring has none.
        """
        key = self.get(kid)
        if key is None:
            raise KeyError(kid)
        return key

    def get(self, kid: str) -> RingKey | None:
        """Return the key with this kid, or None."""
        return next((key for key in self.keys if key.kid == kid), None)

    def created(self, kid: str) -> int:
        """Return when a key of the ring was made: its place in the documents."""
        return self[kid].created

    def active(self, alg: str) -> RingKey | None:
        """Return the key that signs, or None."""
        return self._first(alg, State.ACTIVE)

    def pending(self, alg: str) -> RingKey | None:
        """Return the key that signs next, or None."""
        return self._first(alg, State.PENDING)

    def _first(self, alg: str, state: State) -> RingKey | None:
        return next((key for key in self.keys if (key.alg, key.state) == (alg, state)), None)


def publish(ring: Ring, kid: str, alg: str, now: float) -> Ring:
    """Add a new pending key.

    Its first second is the first whole one in which it is published from beginning to end.
    """
    return replace(ring, keys=(*ring.keys, pending_key(kid, alg, now)))


def pending_key(kid: str, alg: str, now: float) -> RingKey:
    """Return the entry of a key that is published from ``now`` on."""
    second = ceil(now)
    return RingKey(kid, alg, State.PENDING, second, second, second)


def hurry(ring: Ring, alg: str) -> Ring:
    """Ask for the key of this algorithm to be replaced as soon as that is safe."""
    return replace(ring, hurried=ring.hurried | {alg})


def revoke(ring: Ring, kid: str, now: float, schedule: Schedule) -> Ring:
    """Take a key out, and shorten caching until every cache can know of that."""
    ring = without(ring, kid)
    return replace(ring, alert_until=ceil(now) + schedule.propagation)


def follow_clock(ring: Ring, boot: str | None, ahead: float) -> Ring:
    """Compare the clocks; where the wall clock was set, move along what counts passing time.

    Args:
        boot: which start of the machine the steady clock counts from; None for no steady clock.
        ahead: how far the wall clock is ahead of the steady one, in seconds.
    """
    if boot is None:
        return ring
    if ring.boot != boot:
        return replace(ring, boot=boot, ahead=ahead)
    drift = ahead - ring.ahead
    if -JUMP < drift < JUMP:
        return ring
    # Rounded up each time: too long a wait is safe, too short a one is not.
    return replace(after_jump(ring, ceil(drift)), ahead=ahead)


def after_jump(ring: Ring, seconds: int) -> Ring:
    """Follow a clock that was set forward (below zero: back) by so much while no time passed.

    What counts passing time moves along: propagation, the age of the active key, and how long a
    retired key stays. The last is never shortened: the tokens of that key have their ``exp`` by the
    clock as it was.
    """
    return replace(
        ring,
        keys=tuple(
            replace(
                key,
                published=key.published + seconds,
                since=key.since + seconds,
                until=None if key.until is None else key.until + max(0, seconds),
            )
            for key in ring.keys
        ),
        alert_until=ring.alert_until + seconds if ring.alert_until else 0,
    )


def without(ring: Ring, kid: str) -> Ring:
    """Take a key out of the ring."""
    return replace(ring, keys=tuple(key for key in ring.keys if key.kid != kid))


def changed(ring: Ring, changes: Mapping[str, RingKey]) -> Ring:
    """Put other entries in the place of those with the same kid."""
    return replace(ring, keys=tuple(changes.get(key.kid, key) for key in ring.keys))
