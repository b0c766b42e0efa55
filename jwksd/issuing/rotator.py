"""Rotator: keeps the ring of keys as the plan has it, in this process and in the store.

``lifecycle`` decides, the store keeps, this carries it out. The laws:
1. The ring changes in the store first, by compare-and-swap: of many nodes one makes a change, and
   the others follow it. Slow work, such as making a key, is done before, and planned again inside.
2. Propagation counts time that really passed. When the wall clock is set, what counts passing time
   is moved along, and the log says so.
3. A private half is destroyed in the step that retires its key.
4. Whatever fails, another look at the plan follows: a rotation never stops silently.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jwksd.errors import JwksdError, Stopping, StoreAway
from jwksd.interfaces import IKeySource, IStore
from jwksd.issuing.alarm import Alarm
from jwksd.issuing.firstkeys import FirstTokens, Readers
from jwksd.issuing.follower import Follower
from jwksd.issuing.holdings import Holdings
from jwksd.issuing.making import RETRY, Making
from jwksd.issuing.selfcheck import Check, no_check, sample_tokens
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.plan import next_change, plan, settle
from jwksd.lifecycle.ring import JUMP, Ring, State, follow_clock, publish
from jwksd.lifecycle.schedule import Schedule

HEARTBEAT = 60
"""Seconds after which the plan is looked at though nothing is due: the clock may have been set."""

Change = Callable[[Ring], Ring]


class Rotator:
    """The ring of one process, and everything that changes it.

    ``ring`` and ``holdings`` are as they were at the last ``look``.

    Args:
        clock: the wall clock, and the timer of the plan.
        reactor: real time, for following a store that others change.
        steady: seconds that have really passed since ``boot``; nobody sets it.
        boot: which start of the machine ``steady`` counts from.
        source: where fresh keys come from.
        store: where keys are kept.
        algorithms: the names of those that need a key.
        schedule: when keys are replaced.
        max_waiting: how many requests may wait for the first key of an algorithm.
        check: called after every change of the keys.
    """

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
        check: Check = no_check,
    ) -> None:
        self.clock = clock
        self.store = store
        self.algorithms = tuple(algorithms)
        self.schedule = schedule
        self.ring = Ring()
        self.holdings = Holdings()
        self.follower = Follower(
            store, reactor, self._follow, known=lambda: frozenset(self.holdings.pairs)
        )
        self._steady = steady
        self._boot = boot if store.one_machine else None
        self._check = check
        self.readers = Readers(reactor, algorithms)
        self._tokens = FirstTokens(algorithms, max_waiting)
        self._making = Making(
            clock, source, publish=self._publish, failed=self._not_made, ended=self.catch_up
        )
        self._lock = DeferredLock()
        self._alarm = Alarm(
            clock, lambda: Deferred.fromCoroutine(self._wake()).addErrback(self._failed)
        )
        self._due: float = 0
        self._looking = False
        self._look_again = False
        self._stopped = False

    def open(self) -> None:
        """Read the store, blocking.

        Raises:
            StartUpRefused: the store cannot be used.
        """
        self._take_in(self.follower.open())

    def start(self) -> None:
        """Follow the store and the plan from now on."""
        self.follower.start()
        self.catch_up()

    async def stop(self) -> None:
        """Leave nothing in the reactor; report what was signed, and close the store."""
        self._stopped = True
        self._alarm.cancel()
        self._making.stop()
        self.follower.stop()
        self.readers.dismiss()
        self._tokens.stop()
        try:
            await self.count()
        except StoreAway:
            self._log.warn("the store is away: how much was signed last is not counted")
        self.holdings.destroy()
        await maybeDeferred(self.store.close)

    def look(self) -> None:
        """Do what is due. Cheap when nothing is: this runs before every signature."""
        now = self.clock.seconds()
        drift = now - self._steady() - self.ring.ahead
        if now >= self._due or (self._boot is not None and abs(drift) >= JUMP):
            self.catch_up()

    def catch_up(self) -> None:
        """Begin to do what is due. With a store in memory it is done when this returns."""
        if self._looking:
            self._look_again = True
        elif not self._stopped:
            self._looking = True
            Deferred.fromCoroutine(self._carry_out()).addErrback(self._failed)

    async def change(self, change: Change, added: KeyPair | None = None) -> None:
        """Change the ring, here and in the store, to what ``change`` and the plan make of it.

        Where another node has changed the ring meanwhile, both are applied anew to its ring.

        Args:
            added: the key that ``change`` publishes, if it publishes one.

        Raises:
            StoreAway: nothing was changed, or it is not known whether it was.
        """
        await self._lock.acquire()
        try:
            while not await self._try(change, added):
                await self.follower.refresh()
                if self.follower.away is not None:
                    raise self.follower.error()
        finally:
            self._lock.release()

    async def first_key(self, alg: str) -> None:
        """Wait until there may be an active key of this algorithm.

        Raises:
            JwksdError: no key could be made, or it cannot be waited for.
        """
        if self._stopped:
            raise Stopping
        waiter = self._tokens.wait(alg)
        self._making.retry_now(alg)
        self.catch_up()
        await waiter

    async def count(self) -> None:
        """Report to the store what was signed since last time, and learn what other nodes signed.

        Raises:
            StoreAway: it is reported next time.
        """
        await self.holdings.report(lambda usage: self.follower.kept(self.store.count(usage)))

    async def _carry_out(self) -> None:
        try:
            self._look_again = True
            while self._look_again and not self._stopped:
                self._look_again = False
                await self.change(lambda ring: ring)
                self._making.begin_missing(
                    lambda: plan(self.ring, self.algorithms, self.clock.seconds(), self.schedule)
                )
        finally:
            self._looking = False
            self._set_alarm()

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, StoreAway):
            self._log.failure("the rotation failed, and goes on in {retry} s", failure, retry=RETRY)
            self._set_alarm(RETRY)

    async def _try(self, change: Change, added: KeyPair | None) -> bool:
        """Return whether this node made the change, or there was none to make."""
        before, version = self.ring, self.follower.version
        if (after := self._planned(change)) == before or self._stopped:
            return True
        pair = added if added and after.get(added.kid) else None
        swapped = self.store.swap(version, before, after, pair)
        if (made := await self.follower.kept(swapped)) is None:
            return False
        if made > self.follower.version:
            self.follower.version = made
            if pair is not None:
                self.holdings.add(pair.published(after.created(pair.kid)), pair)
            self._install(after)
        return True

    def _planned(self, change: Change) -> Ring:
        """Return what the clocks, then ``change``, then the plan make of the ring."""
        now = self.clock.seconds()
        ring = follow_clock(self.ring, self._boot, now - self._steady())
        log_jump(self._log, self.ring, ring, self.schedule)
        last_exps = self.holdings.last_exps()
        return settle(change(ring), self.algorithms, now, self.schedule, last_exps)

    async def _publish(self, pair: KeyPair) -> None:
        """Publish a new key, unless another node has published one meanwhile."""

        def add(ring: Ring) -> Ring:
            if ring.pending(pair.alg) is not None:
                return ring
            return publish(ring, pair.kid, pair.alg, self.clock.seconds())

        try:
            await self.change(add, pair)
        finally:
            if pair.kid not in self.holdings.pairs:
                pair.destroy()

    def _not_made(self, failure: Failure, alg: str) -> None:
        error = failure.value
        if not isinstance(error, StoreAway):
            self._log.failure(
                "no {alg} key could be had; another try in {retry} s", failure, alg=alg, retry=RETRY
            )
        if not isinstance(error, JwksdError):
            error = JwksdError(f"no {alg} key could be made; the log says why")
        self._tokens.refuse(alg, error)

    def _follow(self, contents: Contents) -> None:
        """Take in what another node has changed, and do what is due: that node may be gone."""
        self._take_in(contents)
        self.catch_up()

    def _take_in(self, contents: Contents) -> None:
        self.holdings.take_in(contents, self.ring)
        self._install(contents.ring)

    def _install(self, ring: Ring) -> None:
        """Make what is published, and what can sign, as the ring has it."""
        before, self.ring = self.ring, ring
        self.holdings.follow(before, ring)
        log_changes(self._log, before, ring, self.clock.seconds(), self.schedule)
        signers = self.holdings.signers
        if ring.keys != before.keys:
            self._check(partial(sample_tokens, list(signers.values())), self.holdings.keys.key_set)
        self._tokens.serve(signers)
        missing = [alg for alg in self.algorithms if ring.active(alg) is None]
        revoked = self.clock.seconds() < ring.alert_until
        self.readers.follow(missing, empty=not ring.keys, revoked=revoked)

    def _set_alarm(self, most: float = HEARTBEAT) -> None:
        if self._stopped:
            return
        now = self.clock.seconds()
        change = next_change(self.ring, self.schedule)
        # A change that is overdue was not made, because the store is away: try again soon.
        changes = [] if change is None else [change if change > now else now + 1]
        self._due = min([now + most, *self._making.retries(now), *changes])
        self._alarm.set(self._due)

    async def _wake(self) -> None:
        """Look at the plan, and report to the store what it does not know yet."""
        self.catch_up()
        if not self.holdings.is_counted:
            await self.count()
        if len(self.holdings.keys) > len(self.ring.keys):
            await self.store.expire(self.clock.seconds())


def log_changes(log: Logger, before: Ring, after: Ring, now: float, schedule: Schedule) -> None:
    """Log what changed in the ring, and a key that signs before every cache can know it."""
    states = {key.kid: key.state for key in before.keys}
    for kid in sorted(states.keys() - {key.kid for key in after.keys}):
        log.info("key {kid} is gone", kid=kid)
    for key in after.keys:
        if states.get(key.kid) is key.state:
            continue
        fields = {"kid": key.kid, "alg": key.alg, "state": key.state.value}
        log.info("key {kid} ({alg}) is {state}", **fields)
        known = key.published + schedule.propagation
        if key.state is State.ACTIVE and now < min(known, after.alert_until):
            log.warn(
                "key {kid} ({alg}) signs {early} s before every cache can know it",
                **fields,
                early=ceil(known - now),
            )


def log_jump(log: Logger, before: Ring, after: Ring, schedule: Schedule) -> None:
    """Log by how much the wall clock was set; what is beyond the clock skew is a warning."""
    jump = round(after.ahead - before.ahead)
    if before.boot == after.boot and jump:
        write = log.info if abs(jump) <= schedule.clock_skew else log.warn
        write("the clock was set by {jump:+} s; propagation counts on as if it was not", jump=jump)
