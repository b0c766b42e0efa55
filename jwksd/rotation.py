"""Rotation: one active key per algorithm signs, the next is published long before it does.

``lifecycle`` decides; this carries it out. The laws:
1. The plan is looked at before every signature and at a timer, so that a late timer signs nothing
   that it must not, and a process that slept catches up before it signs.
2. Propagation counts time that really passed. When the wall clock is set, what counts on passing
   time is moved along, and the log says so.
3. A private half is destroyed in the step that retires its key.
4. Keys are made by the source, off the reactor thread; until one is there, all else goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jwksd import lifecycle
from jwksd.errors import JwksdError, Stopping, TooManyWaiting
from jwksd.interfaces import IKeyPolicy, IKeySource, Seal
from jwksd.keys import Key, KeyPair
from jwksd.keystore import KeyStore
from jwksd.lifecycle import ManagedKey, Publish, Ring, Schedule, State
from jwksd.pertoken import no_such_key
from jwksd.selfcheck import Check, no_check, probe
from jwksd.tokens import Token

HEARTBEAT = 60
"""Seconds after which the plan is looked at though nothing is due: the clock may have been set."""

RETRY = 10
"""Seconds until another try when no key could be made."""

_JUMP = 1.0
"""Seconds that the wall clock may drift from the time that passes before that is called a jump."""


class _Usage:
    """What a key has signed: how many tokens, and the last ``exp`` among them (0: none)."""

    __slots__ = ("last_exp", "signed")

    def __init__(self) -> None:
        self.signed = 0
        self.last_exp = 0


@dataclass(frozen=True, slots=True)
class Saved:
    """A rotation as it was: what another process needs to go on with it.

    ``pairs`` are of the keys that have a private half; ``last_exp`` is by kid.
    """

    ring: Ring
    keys: tuple[Key, ...]
    pairs: tuple[KeyPair, ...]
    last_exp: Mapping[str, int]


@implementer(IKeyPolicy)
class Rotation:
    """The policy of keys that are replaced on schedule.

    Args:
        clock: the wall clock, and the timer of the plan.
        steady: seconds that have really passed, from any origin; nobody sets it.
        source: where fresh keys come from.
        algorithms: the names of those that there is to be a key for.
        schedule: when keys are replaced.
        max_waiting: requests that may wait for the first key of an algorithm.
        check: told of every change.
    """

    name = "rotating"

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        steady: Callable[[], float],
        source: IKeySource,
        algorithms: Sequence[str],
        schedule: Schedule,
        max_waiting: int,
        check: Check = no_check,
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._source = source
        self._algorithms = tuple(algorithms)
        self._schedule = schedule
        self._max_waiting = max_waiting
        self._check = check
        self._ring = Ring()
        self._store = KeyStore()
        self._pairs: dict[str, KeyPair] = {}
        self._signers: dict[str, KeyPair] = {}
        self._usage: dict[str, _Usage] = {}
        self._making: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._waiting: dict[str, dict[Deferred[None], None]] = {alg: {} for alg in algorithms}
        self._offset = clock.seconds() - steady()
        self._due: float = 0
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self._calm = schedule.cache_control(alert=False)
        self._alert = schedule.cache_control(alert=True)

    @property
    def ring(self) -> Ring:
        """Every key with its state, as it is to be now."""
        self._look()
        return self._ring

    @property
    def keys(self) -> KeyStore:
        """The keys that are published now, whatever their state."""
        self._look()
        return self._store

    @property
    def cache_control(self) -> bytes:
        """That of the schedule; shorter while a revocation is fresh."""
        alert_until = self._ring.alert_until
        return self._alert if alert_until and self._clock.seconds() < alert_until else self._calm

    @property
    def not_ready(self) -> str | None:
        """Why no token could be signed now, or None."""
        missing = [alg for alg in self._algorithms if alg not in self._signers]
        return f"there is no {', '.join(missing)} key yet" if missing else None

    def save(self) -> Saved:
        """All that ``resume`` needs. It holds private halves: never log it, never serve it."""
        last_exp = {kid: usage.last_exp for kid, usage in self._usage.items()}
        return Saved(self._ring, tuple(self._store), tuple(self._pairs.values()), last_exp)

    def resume(self, saved: Saved) -> None:
        """Go on where another rotation was, before this one has started."""
        for key in saved.keys:
            usage = _Usage()
            usage.last_exp = saved.last_exp.get(key.kid, 0)
            self._add(key, usage)
        self._pairs |= {pair.kid: pair for pair in saved.pairs}
        self._install(saved.ring)

    def start(self) -> None:
        """Make what is missing, and look at the plan from now on."""
        self._stopped = False
        self._catch_up()

    def stop(self) -> None:
        """Leave nothing in the reactor; destroy every private half, and refuse whoever waits."""
        self._stopped = True
        self._cancel_timer()
        for pair in self._pairs.values():
            pair.destroy()
        self._pairs.clear()
        self._signers.clear()
        self._refuse_waiting(self._algorithms, self._stopping())

    async def sign(self, alg: str, seal: Seal) -> Token:
        self._look()
        while (pair := self._signers.get(alg)) is None:
            await self._first_key(alg)
        token = seal(pair)
        self._refuse_to_outlive(pair, token)
        usage = self._usage[pair.kid]
        usage.signed += 1
        usage.last_exp = max(usage.last_exp, token.exp)
        return token

    async def rotate(self, alg: str) -> Mapping[str, object]:
        self._look()
        self._ring = lifecycle.hurry(self._ring, alg)
        pending = self._ring.pending(alg)
        if pending is None:  # it is being made
            at = ceil(self._clock.seconds()) + self._schedule.propagation
            kid = None
        else:
            at = int(lifecycle.takeover(self._ring, pending, self._schedule))
            kid = pending.kid
        self._catch_up()
        return {"kid": kid, "at": max(at, int(self._clock.seconds()))}

    def revoke(self, kid: str) -> None:
        self._look()
        if self._ring.get(kid) is None:
            raise no_such_key(kid)
        self._log.warn("key {kid} is revoked", kid=kid)
        now = self._clock.seconds()
        self._install(self._settled(lifecycle.revoke(self._ring, kid, now, self._schedule)))
        self._catch_up()

    def reset(self) -> int:
        count = len(self._store)
        self._install(Ring())
        self._catch_up()
        return count

    def describe(self) -> Mapping[str, object]:
        self._look()
        return {
            "policy": self.name,
            "next_change": lifecycle.next_change(self._ring, self._schedule),
            "keys": [self._status(key) for key in self._ring.keys],
        }

    def _status(self, key: ManagedKey) -> dict[str, object]:
        usage, until, drop = self._usage[key.kid], key.until, None
        successor = self._ring.pending(key.alg)
        if key.state is not State.RETIRED and successor is not None:
            until = int(lifecycle.takeover(self._ring, successor, self._schedule))
        if key.state is State.RETIRED:
            drop = max(key.since, usage.last_exp + self._schedule.clock_skew)
        return {
            "kid": key.kid,
            "alg": key.alg,
            "state": key.state.value,
            "since": key.since,
            "until": until,
            "signed": usage.signed,
            "last_exp": usage.last_exp or None,
            "safe_to_drop_at": drop,
        }

    def _refuse_to_outlive(self, pair: KeyPair, token: Token) -> None:
        """The last line of defence: requests that ask for too long a life are refused before."""
        latest = self._clock.seconds() + self._schedule.retention - self._schedule.clock_skew
        if token.exp > latest:
            raise JwksdError(f"a token that outlives its key {pair.kid} is not signed")

    async def _first_key(self, alg: str) -> None:
        """Wait until there may be an active key of this algorithm."""
        waiting = self._waiting[alg]
        if self._stopped:
            raise self._stopping()
        if len(waiting) >= self._max_waiting:
            raise TooManyWaiting(
                f"{self._max_waiting} requests wait for the first {alg} key, which is all that"
                " --max-waiting allows; try again in 1 s",
                retry_after=1,
            )
        waiter: Deferred[None] = Deferred(lambda waiter: waiting.pop(waiter, None))
        waiting[waiter] = None
        self._retry_at.pop(alg, None)  # somebody waits: try now
        self._catch_up()
        await waiter

    def _look(self) -> None:
        """Do what is due. Cheap when nothing is: this runs before every signature."""
        now = self._clock.seconds()
        drift = now - self._steady() - self._offset
        if now >= self._due or drift >= _JUMP or drift <= -_JUMP:
            self._catch_up()

    def _catch_up(self) -> None:
        if self._stopped:
            return
        self._follow_clock()
        self._install(self._settled(self._ring))
        while missing := self._missing():
            self._make(missing[0])
        self._set_timer()

    def _settled(self, ring: Ring) -> Ring:
        now = self._clock.seconds()
        last_exp = {kid: usage.last_exp for kid, usage in self._usage.items()}
        return lifecycle.settle(ring, self._algorithms, now, self._schedule, last_exp)

    def _follow_clock(self) -> None:
        """Where the wall clock was set, move along what counts on time that really passes."""
        drift = self._clock.seconds() - self._steady() - self._offset
        if -_JUMP < drift < _JUMP:
            return
        jump = ceil(drift)
        self._offset += jump
        self._ring = lifecycle.after_jump(self._ring, jump)
        tell = self._log.info if abs(jump) <= self._schedule.clock_skew else self._log.warn
        tell("the clock was set by {jump:+} s; propagation counts on as if it was not", jump=jump)

    def _missing(self) -> list[str]:
        """Algorithms that a key is to be made for, and is not being made."""
        now = self._clock.seconds()
        steps = lifecycle.plan(self._ring, self._algorithms, now, self._schedule)
        wanted = [step.alg for step in steps if isinstance(step, Publish)]
        return [
            alg for alg in wanted if alg not in self._making and self._retry_at.get(alg, now) <= now
        ]

    def _make(self, alg: str) -> None:
        self._making.add(alg)
        self._source.take(alg).addCallback(self._made).addErrback(self._not_made, alg)

    def _made(self, pair: KeyPair) -> None:
        self._making.discard(pair.alg)
        if self._stopped or self._ring.pending(pair.alg) is not None:
            pair.destroy()
            return
        ring = lifecycle.publish(self._ring, pair.kid, pair.alg, self._clock.seconds())
        self._add(Key(pair.public, pair.document, ring.keys[-1].created, None), _Usage())
        self._pairs[pair.kid] = pair
        self._install(ring)
        self._catch_up()

    def _add(self, key: Key, usage: _Usage) -> None:
        self._store.add(key)
        self._usage[key.kid] = usage

    def _not_made(self, failure: Failure, alg: str) -> None:
        self._making.discard(alg)
        if self._stopped:
            return
        self._retry_at[alg] = self._clock.seconds() + RETRY
        self._log.failure(
            "no {alg} key could be had; another try in {retry} s", failure, alg=alg, retry=RETRY
        )
        error = failure.value
        self._refuse_waiting(
            [alg],
            error
            if isinstance(error, JwksdError)
            else JwksdError(f"no {alg} key could be made; the log says why"),
        )
        self._set_timer()

    def _install(self, ring: Ring) -> None:
        """Make what is published, and what can sign, as the ring has it."""
        before, self._ring = self._ring, ring
        if ring == before:
            return
        for key in before.keys:
            if ring.get(key.kid) is None:
                self._store.remove(key.kid)
                self._destroy(key.kid)
                del self._usage[key.kid]
        for key in ring.keys:
            if key.state is State.RETIRED:
                self._destroy(key.kid)
        self._tell(before)
        self._signers = {
            key.alg: self._pairs[key.kid] for key in ring.keys if key.state is State.ACTIVE
        }
        self._check(partial(probe, list(self._signers.values())), lambda: self.keys.key_set())
        for alg in self._signers:
            waiting, self._waiting[alg] = self._waiting[alg], {}
            for waiter in waiting:
                waiter.callback(None)

    def _destroy(self, kid: str) -> None:
        pair = self._pairs.pop(kid, None)
        if pair is not None:
            pair.destroy()

    def _tell(self, before: Ring) -> None:
        """Log what changed, and what verifiers may stumble over."""
        now = self._clock.seconds()
        states = {key.kid: key.state for key in before.keys}
        gone = states.keys() - {key.kid for key in self._ring.keys}
        for kid in sorted(gone):
            self._log.info("key {kid} is gone", kid=kid)
        for key in self._ring.keys:
            if states.get(key.kid) is key.state:
                continue
            self._log.info("key {kid} ({alg}) is {state}", **_told(key))
            known = key.published + self._schedule.propagation
            if key.state is State.ACTIVE and now < min(known, self._ring.alert_until):
                self._log.warn(
                    "key {kid} ({alg}) signs {early} s before every cache can know it",
                    **_told(key),
                    early=ceil(known - now),
                )

    def _refuse_waiting(self, algorithms: Sequence[str], error: JwksdError) -> None:
        for alg in algorithms:
            waiting, self._waiting[alg] = self._waiting[alg], {}
            for waiter in waiting:
                waiter.errback(error)

    def _set_timer(self) -> None:
        now = self._clock.seconds()
        change = lifecycle.next_change(self._ring, self._schedule)
        retries = [at for at in self._retry_at.values() if at > now]
        self._due = min([now + HEARTBEAT, *retries, *([] if change is None else [change])])
        self._cancel_timer()
        self._timer = self._clock.callLater(max(0.0, self._due - now), self._tick)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        """Whatever happens, another tick follows: a rotation never stops silently."""
        try:
            self._catch_up()
        except Exception:
            self._log.failure("the rotation failed, and goes on in {retry} s", retry=RETRY)
            self._cancel_timer()
            self._timer = self._clock.callLater(RETRY, self._tick)

    @staticmethod
    def _stopping() -> Stopping:
        return Stopping("the server is shutting down; try again when it is back", retry_after=1)


def _told(key: ManagedKey) -> dict[str, object]:
    return {"kid": key.kid, "alg": key.alg, "state": key.state.value}
