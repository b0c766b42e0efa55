"""The plan of a rotation: what is due, decided from the ring, the time and the schedule alone.

The laws of this module:
1. A key goes from pending to active to retired to gone, and never back.
2. Per algorithm at most one key is active. One step activates a key and retires the one before it.
3. A pending key takes over only when it has been published for the propagation time, save where no
   other key could sign at all: at the very start, and when the active key was revoked.
4. A retired key is published until the last token that it can have signed is past its ``exp`` plus
   the clock skew.

All times are NumericDates, and durations whole seconds; ``now`` comes from the caller.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from jwksd.lifecycle.ring import Ring, RingKey, State, changed, without
from jwksd.lifecycle.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Publish:
    """Make and publish a new key of this algorithm."""

    alg: str


@dataclass(frozen=True, slots=True)
class Activate:
    """Have this key sign from now on, and retire the one that did."""

    kid: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Have this key sign no more, without a successor: nobody wants its algorithm any more."""

    kid: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Take this key off the documents."""

    kid: str


Step = Publish | Activate | Retire | Drop


def plan(ring: Ring, algorithms: Iterable[str], now: float, schedule: Schedule) -> tuple[Step, ...]:
    """Return the steps that are due now, in order; none when all is as it should be."""
    wanted = tuple(algorithms)
    steps: list[Step] = []
    for alg in wanted:
        pending = ring.pending(alg)
        if pending is None:
            steps.append(Publish(alg))
        elif now >= takeover(ring, pending, schedule):
            steps.append(Activate(pending.kid))
    for key in ring.keys:
        if key.state is State.RETIRED and key.until is not None and now >= key.until:
            steps.append(Drop(key.kid))
        elif key.alg not in wanted and key.state is State.ACTIVE:
            steps.append(Retire(key.kid))
        elif key.alg not in wanted and key.state is State.PENDING:
            steps.append(Drop(key.kid))
    return tuple(steps)


def takeover(ring: Ring, pending: RingKey, schedule: Schedule) -> float:
    """Return when a pending key begins to sign: 0, at once, where no other key can sign."""
    active = ring.active(pending.alg)
    if active is None:
        return 0
    safe = pending.published + schedule.propagation
    if pending.alg in ring.hurried:
        return safe
    return max(safe, active.since + schedule.rotation_interval)


def next_signer(ring: Ring, alg: str, now: int, schedule: Schedule) -> tuple[str | None, int]:
    """Return the kid of the key that signs next, where a rotation was asked for, and from when on.

    Where the rotation has taken place already, that is the active key, from now on. The kid is None
    while the key is still being made.
    """
    pending, active = ring.pending(alg), ring.active(alg)
    if alg not in ring.hurried:
        return None if active is None else active.kid, now
    if pending is None:
        return None, now + 1 + schedule.propagation
    return pending.kid, int(takeover(ring, pending, schedule))


def next_change(ring: Ring, schedule: Schedule) -> int | None:
    """Return when time alone changes the ring next, or None when only a new key can."""
    times = [key.until for key in ring.keys if key.until is not None]
    for key in ring.keys:
        if key.state is State.PENDING and ring.pending(key.alg) is key:
            times.append(int(takeover(ring, key, schedule)))
    return min(times, default=None)


def apply(
    ring: Ring, step: Step, now: float, schedule: Schedule, last_exp: Mapping[str, int]
) -> Ring:
    """Take a step that ``plan`` gave for this ring; ``Publish`` leaves it as it is.

    Args:
        last_exp: by kid, the last ``exp`` among the tokens that a key has signed.
    """
    match step:
        case Activate(kid):
            return _activate(ring, kid, now, schedule, last_exp)
        case Retire(kid):
            return changed(ring, {kid: _retired(ring[kid], now, schedule, last_exp)})
        case Drop(kid):
            return without(ring, kid)
        case Publish():
            return ring


def settle(
    ring: Ring,
    algorithms: Iterable[str],
    now: float,
    schedule: Schedule,
    last_exp: Mapping[str, int],
) -> Ring:
    """Take every step that is due and needs no new key, in order."""
    wanted = tuple(algorithms)
    while steps := [s for s in plan(ring, wanted, now, schedule) if not isinstance(s, Publish)]:
        for step in steps:
            ring = apply(ring, step, now, schedule, last_exp)
    return ring


def _activate(
    ring: Ring, kid: str, now: float, schedule: Schedule, last_exp: Mapping[str, int]
) -> Ring:
    key = ring[kid]
    changes = {kid: replace(key, state=State.ACTIVE, since=int(now))}
    before = ring.active(key.alg)
    if before is not None:
        changes[before.kid] = _retired(before, now, schedule, last_exp)
    return replace(changed(ring, changes), hurried=ring.hurried - {key.alg})


def _retired(key: RingKey, now: float, schedule: Schedule, last_exp: Mapping[str, int]) -> RingKey:
    # The later of both: more may have been signed than was counted, or the clock set back since.
    until = max(ceil(now) + schedule.retention, last_exp.get(key.kid, 0) + schedule.clock_skew)
    return replace(key, state=State.RETIRED, since=int(now), until=until)
