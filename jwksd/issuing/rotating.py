"""Rotation: one active key per algorithm signs, the next is published long before it does.

``lifecycle`` decides, the store keeps, this carries it out. The laws:
1. The plan is looked at before every signature and at a timer, so that a late timer signs nothing
   that it must not, and a process that slept catches up before it signs.
2. The ring changes in the store first, by compare-and-swap: of many nodes one makes a change, and
   the others see it. Slow work, such as making a key, is done before, and planned again inside.
3. Propagation counts time that really passed. When the wall clock is set, what counts on passing
   time is moved along, and the log says so.
4. A private half is destroyed in the step that retires its key.
5. A node that is out of touch with the store signs no token that another node's rotation, of which
   it has not heard, could let outlive its key.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jwksd.errors import (
    JwksdError,
    PrivateHalfDestroyed,
    Stopping,
    StoreAway,
    TooManyWaiting,
)
from jwksd.interfaces import IKeyPolicy, IKeySource, IStore, Seal
from jwksd.issuing.follower import Follower
from jwksd.issuing.holdings import Holdings
from jwksd.issuing.pertoken import no_such_key
from jwksd.issuing.selfcheck import Check, no_check, probe
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.lifecycle import plan as plans
from jwksd.lifecycle import ring as rings
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.plan import Publish
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import Ring, State
from jwksd.lifecycle.schedule import Schedule
from jwksd.lifecycle.status import KeyStatus

HEARTBEAT = 60
"""Seconds after which the plan is looked at though nothing is due: the clock may have been set."""

RETRY = 10
"""Seconds until another try when no key could be made."""

_UNFINISHED = b"no-store"
"""A set without a key that signs is nothing to keep: the key is there in a moment."""

Change = Callable[[Ring], Ring]


@implementer(IKeyPolicy)
class Rotation:
    """The policy of keys that are replaced on schedule.

    Args:
        clock: the wall clock, and the timer of the plan.
        reactor: real time, for following a store that others change.
        steady: seconds that have really passed since ``boot``; nobody sets it.
        boot: which start of the machine ``steady`` counts from.
        source: where fresh keys come from.
        store: where keys are kept.
        algorithms: the names of those that there is to be a key for.
        schedule: when keys are replaced.
        max_waiting: requests that may wait for the first key of an algorithm, or on a thread.
        run_signing: calls a slow signature on a thread; None signs where it is.
        check: told of every change.
    """

    name = "rotating"
    reads_through = False

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        reactor: IReactorTime,
        steady: Callable[[], float],
        boot: str,
        source: IKeySource,
        store: IStore,
        algorithms: Sequence[str],
        schedule: Schedule,
        max_waiting: int,
        run_signing: Callable[[Callable[[], Token]], Deferred[Token]] | None = None,
        check: Check = no_check,
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._boot = boot if store.one_machine else None
        self._source = source
        self._store = store
        self._follower = Follower(
            store, reactor, self._heard, known=lambda: frozenset(self._holdings.pairs)
        )
        self._algorithms = tuple(algorithms)
        self._schedule = schedule
        self._max_waiting = max_waiting
        self._run_signing = run_signing
        self._signing = 0
        self._check = check
        self._ring = Ring()
        self._holdings = Holdings()
        self._making: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._waiting: dict[str, dict[Deferred[None], None]] = {alg: {} for alg in algorithms}
        self._lock = DeferredLock()
        self._looking = False
        self._look_again = False
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
    def keys(self) -> PublishedKeys:
        """The keys that are published now, whatever their state."""
        self._look()
        self._holdings.keys.expire(self._clock.seconds())
        return self._holdings.keys

    @property
    def cache_control(self) -> bytes:
        """That of the schedule; shorter while a revocation is fresh; none before the first key."""
        if len(self._holdings.signers) < len(self._algorithms):
            return _UNFINISHED
        alert_until = self._ring.alert_until
        return self._alert if alert_until and self._clock.seconds() < alert_until else self._calm

    @property
    def not_ready(self) -> str | None:
        """Why no token could be signed now, or should not be; or None."""
        missing = [alg for alg in self._algorithms if alg not in self._holdings.signers]
        if missing:
            return f"there is no {', '.join(missing)} key yet"
        return self._follower.away

    def open(self) -> None:
        self._apply(self._follower.open())

    def start(self) -> None:
        self._follower.start()
        self._catch_up()

    def stop(self) -> "Deferred[None]":
        self._stopped = True
        self._cancel_timer()
        self._follower.stop()
        self._refuse_waiting(self._algorithms, self._stopping())
        return Deferred.fromCoroutine(self._let_go())

    async def refresh(self) -> None:
        await self._follower.refresh()

    def sign_now(self, alg: str, seal: Seal) -> Token | None:
        self._look()
        pair = self._holdings.signers.get(alg)
        if pair is None or self._belongs_on_thread(alg):
            return None
        return self._counted_token(pair, seal(pair))

    async def sign(self, alg: str, seal: Seal, *, sound: bool = True) -> Token:
        self._look()
        while True:
            pair = self._holdings.signers.get(alg)
            if pair is None:
                await self._first_key(alg)
            elif not self._belongs_on_thread(alg):
                return self._counted_token(pair, seal(pair))
            else:
                with suppress(PrivateHalfDestroyed):  # replaced while it waited for its turn
                    return self._counted_token(pair, await self._seal_on_thread(pair, seal))

    def _belongs_on_thread(self, alg: str) -> bool:
        """An RSA signature takes ten times what it costs to hand it over; others do not."""
        return self._run_signing is not None and not ALGORITHMS[alg].is_quick

    async def _seal_on_thread(self, pair: KeyPair, seal: Seal) -> Token:
        assert self._run_signing is not None  # noqa: S101  # see _belongs_on_thread
        if self._signing >= self._max_waiting:
            raise TooManyWaiting(
                f"{self._max_waiting} requests wait for a signature, which is all that"
                " --max-waiting allows; try again in 1 s",
                retry_after=1,
            )
        self._signing += 1
        try:
            return await self._run_signing(partial(seal, pair))
        finally:
            self._signing -= 1

    async def rotate(self, alg: str) -> Mapping[str, object]:
        await self._change(partial(rings.hurry, alg=alg))
        pending = self._ring.pending(alg)
        now = int(self._clock.seconds())
        if alg in self._ring.hurried and pending is not None:
            at = int(plans.takeover(self._ring, pending, self._schedule))
            answer = {"kid": pending.kid, "at": at}
        elif alg in self._ring.hurried:  # the next one is being made
            answer = {"kid": None, "at": now + 1 + self._schedule.propagation}
        else:
            active = self._ring.active(alg)
            answer = {"kid": active and active.kid, "at": now}
        self._catch_up()
        return answer

    async def revoke(self, kid: str) -> None:
        if self._ring.get(kid) is None:
            await self.refresh()
        if self._ring.get(kid) is None:
            await self._revoke_single(kid)
            return
        self._log.warn("key {kid} is revoked", kid=kid)
        now = self._clock.seconds()
        await self._change(partial(rings.revoke, kid=kid, now=now, schedule=self._schedule))
        self._catch_up()

    async def reset(self) -> int:
        await self.refresh()
        count = len(self._holdings.keys)
        singles = self._holdings.singles(self._ring)
        if singles:
            await self._follower.kept(self._store.withdraw(singles))
            for kid in singles:
                self._holdings.keys.remove(kid)
        await self._change(lambda ring: Ring())
        self._catch_up()
        return count

    async def describe(self) -> Mapping[str, object]:
        self._look()
        with suppress(StoreAway):  # then this node's own count is what there is
            await self._count()
        return {
            "policy": self.name,
            "next_change": plans.next_change(self._ring, self._schedule),
            "keys": [
                KeyStatus.scheduled(
                    key, self._holdings.usage(key.kid), self._ring, self._schedule
                ).members()
                for key in self._ring.keys
            ],
        }

    async def _count(self) -> None:
        """Tell the store what was signed since last time, and learn what other nodes have."""
        taken = self._holdings.take_uncounted()
        try:
            self._holdings.counted = await self._follower.kept(self._store.count(taken))
        except StoreAway:
            self._holdings.give_back(taken)
            raise

    def _counted_token(self, pair: KeyPair, token: Token) -> Token:
        self._refuse_to_outlive(pair, token)
        tally = self._holdings.tallies.get(pair.kid)
        if tally is None:
            raise PrivateHalfDestroyed(f"key {pair.kid} was withdrawn while it signed")
        tally.add(token.exp)
        return token

    def _refuse_to_outlive(self, pair: KeyPair, token: Token) -> None:
        """The last line of defence: requests that ask for too long a life are refused before."""
        latest = self._clock.seconds() + self._schedule.retention - self._schedule.clock_skew
        if token.exp > latest:
            raise JwksdError(f"a token that outlives its key {pair.kid} is not signed")
        unheard = self._follower.out_of_touch
        if token.exp > latest - unheard:
            raise StoreAway(
                "out of touch for too long",
                f"the store has been away for {ceil(unheard)} s, in which another node may have"
                f" replaced key {pair.kid}; tokens of at most"
                f" {max(0, int(latest - unheard - self._clock.seconds()))} s can be signed",
            )

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
        drift = now - self._steady() - self._ring.ahead
        if now >= self._due or (self._boot is not None and abs(drift) >= rings.JUMP):
            self._catch_up()

    def _catch_up(self) -> None:
        """Begin to do what is due. With a store in memory it is done when this returns."""
        if self._looking:
            self._look_again = True
        elif not self._stopped:
            self._looking = True
            Deferred.fromCoroutine(self._carry_out()).addErrback(self._failed)

    async def _carry_out(self) -> None:
        try:
            self._look_again = True
            while self._look_again and not self._stopped:
                self._look_again = False
                await self._change(lambda ring: ring)
                while missing := self._missing():
                    self._make(missing[0])
        finally:
            self._looking = False
            self._set_timer()

    def _failed(self, failure: Failure) -> None:
        """Whatever happens, another tick follows: a rotation never stops silently."""
        if not isinstance(failure.value, StoreAway):
            self._log.failure("the rotation failed, and goes on in {retry} s", failure, retry=RETRY)
            self._set_timer(RETRY)

    async def _change(self, change: Change, added: KeyPair | None = None) -> None:
        """Change the ring, here and in the store, to what ``change`` and the plan make of it.

        Where another node was faster, both are asked again about what it has made.

        Raises:
            StoreAway: nothing was changed, or nothing is known of it.
        """
        await self._lock.acquire()
        try:
            while not await self._try(change, added):
                await self._follower.refresh()
                if self._follower.away is not None:
                    raise self._follower.error()
        finally:
            self._lock.release()

    async def _try(self, change: Change, added: KeyPair | None) -> bool:
        """Whether this node was the one that made the change, or there was none to make."""
        before, version = self._ring, self._follower.version
        after = self._settled(change(self._followed(before)))
        if after == before or self._stopped:
            return True
        pair = added if added is not None and after.get(added.kid) is not None else None
        made = await self._follower.kept(self._store.swap(version, before, after, pair))
        if made is None:
            return False
        if made > self._follower.version:
            self._follower.version = made
            if pair is not None:
                self._holdings.add(pair.published(after.created(pair.kid)), pair)
            self._install(after)
        return True

    def _followed(self, ring: Ring) -> Ring:
        """Where the wall clock was set, with what counts on passing time moved along."""
        ahead = self._clock.seconds() - self._steady()
        after = rings.follow_clock(ring, self._boot, ahead)
        jump = round(after.ahead - ring.ahead)
        if ring.boot == after.boot and jump:
            tell = self._log.info if abs(jump) <= self._schedule.clock_skew else self._log.warn
            tell(
                "the clock was set by {jump:+} s; propagation counts on as if it was not", jump=jump
            )
        return after

    def _settled(self, ring: Ring) -> Ring:
        now = self._clock.seconds()
        last_exps = self._holdings.last_exps()
        return plans.settle(ring, self._algorithms, now, self._schedule, last_exps)

    def _missing(self) -> list[str]:
        """Algorithms that a key is to be made for, and is not being made."""
        now = self._clock.seconds()
        steps = plans.plan(self._ring, self._algorithms, now, self._schedule)
        wanted = [step.alg for step in steps if isinstance(step, Publish)]
        return [
            alg
            for alg in wanted
            if not self._stopped and alg not in self._making and self._retry_at.get(alg, now) <= now
        ]

    def _make(self, alg: str) -> None:
        self._making.add(alg)
        made = self._source.take(alg).addCallback(self._made)
        made.addErrback(self._not_made, alg).addBoth(self._no_longer_making, alg)

    def _made(self, pair: KeyPair) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._add(pair))

    async def _add(self, pair: KeyPair) -> None:
        """Publish a new key, unless another node has published one meanwhile."""

        def add(ring: Ring) -> Ring:
            if ring.pending(pair.alg) is not None:
                return ring
            return rings.publish(ring, pair.kid, pair.alg, self._clock.seconds())

        try:
            await self._change(add, pair)
        finally:
            if pair.kid not in self._holdings.pairs:
                pair.destroy()

    def _not_made(self, failure: Failure, alg: str) -> None:
        if self._stopped:
            return
        self._retry_at[alg] = self._clock.seconds() + RETRY
        error = failure.value
        if not isinstance(error, StoreAway):
            self._log.failure(
                "no {alg} key could be had; another try in {retry} s", failure, alg=alg, retry=RETRY
            )
        if not isinstance(error, JwksdError):
            error = JwksdError(f"no {alg} key could be made; the log says why")
        self._refuse_waiting([alg], error)

    def _no_longer_making(self, _: None, alg: str) -> None:
        self._making.discard(alg)
        self._catch_up()

    def _heard(self, contents: Contents) -> None:
        """Another node has changed something, and may not be there to do what is due next."""
        self._apply(contents)
        self._catch_up()

    def _apply(self, contents: Contents) -> None:
        """What the store holds, and another may have changed."""
        self._holdings.take_in(contents, self._ring)
        self._install(contents.ring)

    def _install(self, ring: Ring) -> None:
        """Make what is published, and what can sign, as the ring has it."""
        before, self._ring = self._ring, ring
        self._holdings.follow(before, ring)
        self._tell(before)
        signers = self._holdings.signers
        if ring.keys != before.keys:
            self._check(partial(probe, list(signers.values())), lambda: self.keys.key_set())
        for alg in signers.keys() & self._waiting.keys():
            waiting, self._waiting[alg] = self._waiting[alg], {}
            for waiter in waiting:
                waiter.callback(None)

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
            told = {"kid": key.kid, "alg": key.alg, "state": key.state.value}
            self._log.info("key {kid} ({alg}) is {state}", **told)
            known = key.published + self._schedule.propagation
            if key.state is State.ACTIVE and now < min(known, self._ring.alert_until):
                early = ceil(known - now)
                self._log.warn(
                    "key {kid} ({alg}) signs {early} s before every cache can know it",
                    **told,
                    early=early,
                )

    async def _revoke_single(self, kid: str) -> None:
        """One that signed a single token, before the server was started with this policy."""
        if self._holdings.keys.get(kid) is None:
            raise no_such_key(kid)
        await self._follower.kept(self._store.withdraw([kid]))
        self._holdings.keys.remove(kid)

    def _refuse_waiting(self, algorithms: Sequence[str], error: JwksdError) -> None:
        for alg in algorithms:
            waiting, self._waiting[alg] = self._waiting[alg], {}
            for waiter in waiting:
                waiter.errback(error)

    def _set_timer(self, most: float = HEARTBEAT) -> None:
        self._cancel_timer()
        if self._stopped:
            return
        now = self._clock.seconds()
        change: float | None = plans.next_change(self._ring, self._schedule)
        retries = [at for at in self._retry_at.values() if at > now]
        if change is not None and change <= now:
            change = now + 1  # it could not be done, for the store is away: try again soon
        self._due = min([now + most, *retries, *([] if change is None else [change])])
        self._timer = self._clock.callLater(max(0.0, self._due - now), self._tick)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        self._catch_up()
        Deferred.fromCoroutine(self._keep_house()).addErrback(self._failed)

    async def _keep_house(self) -> None:
        if not self._holdings.is_counted:
            await self._count()
        if len(self._holdings.keys) > len(self._ring.keys):
            await self._store.expire(self._clock.seconds())

    async def _let_go(self) -> None:
        try:
            await self._count()
        except StoreAway:
            self._log.warn("the store is away: how much was signed last is not counted")
        self._holdings.destroy()
        await maybeDeferred(self._store.close)

    @staticmethod
    def _stopping() -> Stopping:
        return Stopping("the server is shutting down; try again when it is back", retry_after=1)
