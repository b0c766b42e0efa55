"""The life of a key under the rotating policy, decided from keys and time alone.

The laws of this module:
1. A key goes from pending to active to retired to gone, and never back.
2. Per algorithm at most one key is active. One step activates a key and retires the one before it.
3. A pending key takes over only when it has been published for the propagation time, save where no
   other key could sign at all: at the very start, and when the active key was revoked.
4. A retired key is published until the last token that it can have signed is past its ``exp`` plus
   the clock skew.

All times are NumericDates, and durations whole seconds; ``now`` comes from the caller.
``docs/rotation.md`` proves that the inequality of ``Schedule.check`` keeps verifiers safe.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

ALERT_MAX_AGE = 60
"""Seconds that a document may be cached while a revocation is fresh."""

_LONGEST_STALE = 86_400
"""Seconds of stale-if-error at the most, where the options do not say: a day's outage."""


JUMP = 1.0
"""Seconds that the wall clock may drift from the time that passes before that is called a jump."""


class State(StrEnum):
    """Where a key is in its life (NIST SP 800-57 §7: pre-activation, active, deactivated)."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The numbers of a rotation, in seconds.

    ``clock_skew`` bounds what a verifier's clock is off and the leeway that it grants, together.
    ``outage`` is for how long a node may sign on, and publish what it knows, without hearing of a
    store that others change: by so much its documents may lack a key, and its tokens come late.
    """

    rotation_interval: int
    propagation: int
    max_age: int
    stale_while_revalidate: int
    stale_if_error: int
    clock_skew: int
    max_lifetime: int
    retention: int
    outage: int = 0

    @property
    def cache_lifetime(self) -> int:
        """How long a cache that keeps to RFC 9111 and RFC 5861 may answer with one document."""
        return self.max_age + self.stale_while_revalidate + self.stale_if_error

    def check(self) -> None:
        """The inequality that keeps verifiers safe.

        Raises:
            ValueError: it does not hold, with the numbers.
        """
        skew = self.clock_skew
        outage = f" + --outage ({self.outage} s)" if self.outage else ""
        needed = self.cache_lifetime + skew + self.outage
        if self.propagation < needed:
            raise ValueError(
                f"--propagation ({self.propagation} s) must be at least {needed} s:"
                f" --max-age ({self.max_age} s) + --stale-while-revalidate"
                f" ({self.stale_while_revalidate} s) + --stale-if-error ({self.stale_if_error} s)"
                f" + --clock-skew ({skew} s){outage};"
                " else a key would sign before caches can know it"
            )
        needed = self.max_lifetime + skew + self.outage
        if self.retention < needed:
            raise ValueError(
                f"--retention ({self.retention} s) must be at least {needed} s:"
                f" --max-lifetime ({self.max_lifetime} s) + --clock-skew ({skew} s){outage};"
                " else a token would outlive its key"
            )
        if self.rotation_interval < self.propagation:
            raise ValueError(
                f"--rotation-interval ({self.rotation_interval} s) must be at least --propagation"
                f" ({self.propagation} s); else the next key would never be known in time"
            )

    def cache_control(self, *, alert: bool) -> bytes:
        """The Cache-Control of the documents (RFC 9111 §5.2.2, RFC 5861 §3, §4)."""
        if alert:
            return b"public, max-age=%d" % min(ALERT_MAX_AGE, self.max_age)
        stale = (self.stale_while_revalidate, self.stale_if_error)
        return b"public, max-age=%d, stale-while-revalidate=%d, stale-if-error=%d" % (
            self.max_age,
            *stale,
        )


def make_schedule(
    *,
    rotation_interval: int,
    propagation: int,
    max_age: int,
    clock_skew: int,
    max_lifetime: int,
    stale_while_revalidate: int | None = None,
    stale_if_error: int | None = None,
    retention: int | None = None,
    outage: int = 0,
) -> Schedule:
    """The schedule of these numbers; what is None follows from the others.

    Raises:
        ValueError: the inequality does not hold, with the numbers.
    """
    spare = max(0, propagation - max_age - clock_skew - outage - (stale_if_error or 0))
    if stale_while_revalidate is None:
        stale_while_revalidate = min(max_age, spare)
    if stale_if_error is None:
        stale_if_error = min(_LONGEST_STALE, max(0, spare - stale_while_revalidate))
    schedule = Schedule(
        rotation_interval=rotation_interval,
        propagation=propagation,
        max_age=max_age,
        stale_while_revalidate=stale_while_revalidate,
        stale_if_error=stale_if_error,
        clock_skew=clock_skew,
        max_lifetime=max_lifetime,
        retention=max_lifetime + clock_skew + outage if retention is None else retention,
        outage=outage,
    )
    schedule.check()
    return schedule


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring.

    ``created`` gives its place in the documents and never changes. ``published`` is from when on
    its propagation counts, ``since`` when its state began; a jump of the clock moves both.
    ``until`` is, of a retired key, when it is gone.
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
    ``alert_until`` documents are not to be cached for long, because a key was revoked. The wall
    clock, by which all times are, was last seen ``ahead`` seconds before the time that has passed
    since the start ``boot`` of the machine; where machines share the ring, neither is known.
    """

    keys: tuple[RingKey, ...] = ()
    hurried: frozenset[str] = frozenset()
    alert_until: int = 0
    boot: str | None = None
    ahead: float = 0.0

    def get(self, kid: str) -> RingKey | None:
        """The key with this kid, or None."""
        return next((key for key in self.keys if key.kid == kid), None)

    def created(self, kid: str) -> int:
        """When a key of the ring was made: its place in the documents."""
        return next(key.created for key in self.keys if key.kid == kid)

    def active(self, alg: str) -> RingKey | None:
        """The key that signs, or None."""
        return self._first(alg, State.ACTIVE)

    def pending(self, alg: str) -> RingKey | None:
        """The key that signs next, or None."""
        return self._first(alg, State.PENDING)

    def _first(self, alg: str, state: State) -> RingKey | None:
        return next((key for key in self.keys if (key.alg, key.state) == (alg, state)), None)


@dataclass(frozen=True, slots=True)
class Publish:
    """A new key of this algorithm is to be made and published."""

    alg: str


@dataclass(frozen=True, slots=True)
class Activate:
    """This key is to sign from now on, and the one that did is to be retired."""

    kid: str


@dataclass(frozen=True, slots=True)
class Retire:
    """This key is to sign no more, and has no successor: its algorithm is not wanted any more."""

    kid: str


@dataclass(frozen=True, slots=True)
class Drop:
    """This key is to be gone."""

    kid: str


Step = Publish | Activate | Retire | Drop


def plan(ring: Ring, algorithms: Iterable[str], now: float, schedule: Schedule) -> tuple[Step, ...]:
    """What is to be done now, in this order; nothing when all is as it should be."""
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
    """When this pending key begins to sign: at once where nothing else can, else when safe."""
    active = ring.active(pending.alg)
    if active is None:
        return 0
    safe = pending.published + schedule.propagation
    if pending.alg in ring.hurried:
        return safe
    return max(safe, active.since + schedule.rotation_interval)


def next_change(ring: Ring, schedule: Schedule) -> int | None:
    """When the ring changes next of itself, or None when only a new key can change it."""
    times = [key.until for key in ring.keys if key.until is not None]
    for key in ring.keys:
        if key.state is State.PENDING and ring.pending(key.alg) is key:
            times.append(int(takeover(ring, key, schedule)))
    return min(times, default=None)


def publish(ring: Ring, kid: str, alg: str, now: float) -> Ring:
    """With a new pending key. Its first second is one in which it was there from the beginning."""
    return replace(ring, keys=(*ring.keys, pending_key(kid, alg, now)))


def pending_key(kid: str, alg: str, now: float) -> RingKey:
    """A key that is published from now on."""
    second = ceil(now)
    return RingKey(kid, alg, State.PENDING, second, second, second)


def apply(
    ring: Ring, step: Step, now: float, schedule: Schedule, last_exp: Mapping[str, int]
) -> Ring:
    """The ring after a step that ``plan`` gave for it; ``Publish`` leaves it as it is.

    Args:
        last_exp: by kid, the last ``exp`` among the tokens that a key has signed.
    """
    match step:
        case Activate(kid):
            return _activate(ring, kid, now, schedule, last_exp)
        case Retire(kid):
            return _changed(
                ring, {key.kid: _retired(key, now, schedule, last_exp) for key in _of(ring, kid)}
            )
        case Drop(kid):
            return _without(ring, kid)
        case Publish():
            return ring


def settle(
    ring: Ring,
    algorithms: Iterable[str],
    now: float,
    schedule: Schedule,
    last_exp: Mapping[str, int],
) -> Ring:
    """The ring after every step that is due and needs no new key, in order."""
    wanted = tuple(algorithms)
    while steps := [s for s in plan(ring, wanted, now, schedule) if not isinstance(s, Publish)]:
        for step in steps:
            ring = apply(ring, step, now, schedule, last_exp)
    return ring


def hurry(ring: Ring, alg: str) -> Ring:
    """The key of this algorithm is to be replaced as soon as that is safe."""
    return replace(ring, hurried=ring.hurried | {alg})


def revoke(ring: Ring, kid: str, now: float, schedule: Schedule) -> Ring:
    """Without this key, and on alert: until its news can have reached every cache."""
    ring = _without(ring, kid)
    return replace(ring, alert_until=ceil(now) + schedule.propagation)


def follow_clock(ring: Ring, boot: str | None, ahead: float) -> Ring:
    """After a look at the clocks: where the wall clock was set, with what counts on passing time
    moved along.

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
    # Rounded up, each time: what waits rather waits too long.
    return replace(after_jump(ring, ceil(drift)), ahead=ahead)


def after_jump(ring: Ring, seconds: int) -> Ring:
    """After the clock was set forward (or, below zero, back) by so much while no time passed.

    What counts on time that really passes moves along: propagation, the age of the active key, and
    how long a retired key stays; the last never towards its end, for its tokens have their ``exp``
    by the clock as it was.
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


def _activate(
    ring: Ring, kid: str, now: float, schedule: Schedule, last_exp: Mapping[str, int]
) -> Ring:
    (key,) = _of(ring, kid)
    changes = {kid: replace(key, state=State.ACTIVE, since=int(now))}
    before = ring.active(key.alg)
    if before is not None:
        changes[before.kid] = _retired(before, now, schedule, last_exp)
    return replace(_changed(ring, changes), hurried=ring.hurried - {key.alg})


def _retired(key: RingKey, now: float, schedule: Schedule, last_exp: Mapping[str, int]) -> RingKey:
    # Both: what was counted may be less than what was signed, and the clock may have been set back.
    until = max(ceil(now) + schedule.retention, last_exp.get(key.kid, 0) + schedule.clock_skew)
    return replace(key, state=State.RETIRED, since=int(now), until=until)


def _of(ring: Ring, kid: str) -> list[RingKey]:
    return [key for key in ring.keys if key.kid == kid]


def _without(ring: Ring, kid: str) -> Ring:
    return replace(ring, keys=tuple(key for key in ring.keys if key.kid != kid))


def _changed(ring: Ring, changes: Mapping[str, RingKey]) -> Ring:
    return replace(ring, keys=tuple(changes.get(key.kid, key) for key in ring.keys))
