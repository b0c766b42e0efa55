"""Server: one issuer of the run, through restarts, sleeps and steps of its clock."""

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from jwksd.issuing.issuer import Issuer
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.rotating import Rotating
from jwksd.issuing.rotator import Rotator
from jwksd.issuing.selfcheck import SelfCheck
from jwksd.lifecycle.plan import next_change
from jwksd.lifecycle.ring import RingKey, State
from jwksd.lifecycle.schedule import Schedule
from jwksd.stores.memory import MemoryStore
from tests.proofs.simulation.clocks import Wall
from tests.proofs.simulation.documents import Answer, Keys, Sample, parse_freshness, parse_keys
from tests.proofs.simulation.ledger import Ledger
from tests.proofs.simulation.source import ALG, NoKey, SlowKeys

Rotation = tuple[type[Rotator], type[Rotating]]
"""What rotates the keys, and the policy that signs with them."""

WHOLE: Rotation = (Rotator, Rotating)

_LIFE = (State.PENDING, State.ACTIVE, State.RETIRED)


class Server:
    """An issuer with the rotating policy, watched.

    Args:
        longest: seconds that a slow key takes; None has a source without trouble.
        offset: what its clock is ahead of true time at first, in seconds.
        rotation: the classes of rotator and policy.
        before_delivery: called when a key is about to be published.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        ledger: Ledger,
        schedule: Schedule,
        *,
        name: str,
        longest: int | None,
        offset: float = 0.0,
        rotation: Rotation = WHOLE,
        before_delivery: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.down = False
        self.revoked: set[str] = set()
        self.changed: Callable[[], None] = lambda: None
        self._clock = clock
        self._rng = rng
        self._ledger = ledger
        self._longest = longest
        self._classes = rotation
        self._before_delivery = before_delivery
        self._numbers: dict[str, int] = {}
        self._states: dict[str, State] = {}
        self._listed: set[str] = set()
        self._known_everywhere: dict[str, float] = {}
        self._latest = -1
        self._document: Any = None
        self._keys: Keys = {}
        self._store = MemoryStore()
        self._boot(offset)

    # What the world asks for.

    def fetch(self) -> Answer | None:
        """The document with its headers, unless the server is down."""
        if self.down:
            return None
        document = self._issuer.policy.keys.key_set()
        if document is not self._document:
            self._document, self._keys = document, self._parsed(document.body)
        return Answer(self._keys, parse_freshness(self._issuer.policy.cache_control))

    def mint(self, lifetime: int) -> Sample | None:
        """A token, or None while there is no key."""
        now = self._clock.seconds()
        minted: list[Any] = []
        request = MintRequest(lifetime=lifetime)
        minting = Deferred.fromCoroutine(self._issuer.mint(request)).addBoth(minted.append)
        if not minted:
            minting.cancel()
            return None
        self.observe()
        token = minted[0]
        if isinstance(token, Failure):
            self._violation(f"signs no token of {lifetime} s: {token.getErrorMessage()}")
            return None
        self._check_signer(token.kid)
        self._ledger.counts["minted"] += 1
        number = self._numbers[token.kid]
        self._ledger.trace(now, self.name, "minted", number, token.exp)
        skew = self.schedule.clock_skew
        deadline = min(now + lifetime, token.exp) + skew
        excused = self._known_everywhere[token.kid] if self.revoked else 0.0
        return Sample(token.token.decode(), token.kid, number, token.exp, deadline, excused)

    def observe(self) -> None:
        """Note what became of each key; no key goes back, or comes back."""
        now = self._clock.seconds()
        ring = self._rotator.ring
        changes = [key for key in ring.keys if self._states.get(key.kid) is not key.state]
        gone = self._listed - {key.kid for key in ring.keys}
        self._listed = {key.kid for key in ring.keys}
        for key in changes:
            self._note(key, now)
        for number in sorted(self._numbers[kid] for kid in gone):
            self._ledger.trace(now, self.name, number, "gone")
        if changes or gone:
            self.changed()

    def next_change(self) -> float | None:
        """When the ring is to change next, in true time."""
        change = next_change(self._rotator.ring, self.schedule)
        return None if change is None else change - self._wall.offset

    # Trouble.

    def sleep(self, seconds: float) -> None:
        """No timer runs for a while; who asks is answered."""
        self._wall.asleep = True
        self._clock.callLater(seconds, self._wall.wake)
        self._ledger.counts["sleeps"] += 1

    def set_clock(self, offset: float) -> None:
        """Somebody sets the clock."""
        self._wall.offset = offset
        self._ledger.counts["clock steps"] += 1

    def restart(self, seconds: float, offset: float | None) -> None:
        """The process ends, and another goes on with its state after so long, with its clock where
        it was or at another offset."""
        states = {key.kid: key.state for key in self._rotator.ring.keys}
        if any(states.get(kid) in (None, State.RETIRED) for kid in self._rotator.holdings.pairs):
            self._violation("has kept the private half of a retired key")
        self._wall.dead = True
        self.down = True
        offset = self._wall.offset if offset is None else offset
        self._clock.callLater(seconds, self._boot, offset)
        self._ledger.counts["restarts"] += 1

    def rotate(self) -> None:
        """Somebody wants the key replaced as soon as that is safe."""
        rotating = Deferred.fromCoroutine(self._issuer.rotate())
        rotating.addErrback(lambda failure: self._violation(f"rotates not: {failure.value}"))
        self._ledger.counts["rotated early"] += 1
        self.observe()

    def revoke(self) -> str | None:
        """Some key is revoked, if there is one; its kid."""
        keys = self._rotation.ring.keys
        if not keys:
            return None
        key = self._rng.choice(keys)
        self.revoked.add(key.kid)
        revoking = Deferred.fromCoroutine(self._issuer.policy.revoke(key.kid))
        revoking.addErrback(lambda failure: self._violation(f"revokes not: {failure.value}"))
        self._ledger.counts["revoked"] += 1
        self.observe()
        return key.kid

    # Inside.

    def _boot(self, offset: float) -> None:
        self._wall = Wall(self._clock, offset)
        source = SlowKeys(
            self._wall, self._rng, self._ledger, self._longest, self._before_delivery, self.observe
        )
        rotator, policy = self._classes
        self._rotator = rotator(
            clock=self._wall,
            reactor=Clock(),
            steady=self._clock.seconds,
            boot="the machine runs on",
            source=source,
            store=self._store,
            algorithms=[ALG],
            schedule=self.schedule,
            max_waiting=8,
        )
        self._rotator._log = Logger(namespace=self.name, observer=self._logged)
        self._rotation = policy(self._rotator, max_waiting=8)
        self._issuer = Issuer(
            clock=self._wall,
            source=source,
            policy=self._rotation,
            name=f"https://{self.name}.example",
            algorithms=[ALG],
            lifetime=self.schedule.max_lifetime,
            max_lifetime=self.schedule.max_lifetime,
            new_id=self._new_id,
            self_check=SelfCheck(Clock(), maybeDeferred),
        )
        self._issuer.policy.open()
        self.down = False
        self._issuer.policy.start()
        self.observe()

    def _new_id(self) -> str:
        return str(self._ledger.counts["minted"])

    def _parsed(self, body: bytes) -> Keys:
        try:
            return parse_keys(body)
        except ValueError as error:
            self._violation(str(error))
            return {}

    def _check_signer(self, kid: str) -> None:
        """The key that has just signed is active, and no older one than has signed before."""
        if self._states.get(kid) is not State.ACTIVE:
            self._violation(f"has signed with a key that is {self._states.get(kid)}")
        if kid in self.revoked:
            self._violation("has signed with a revoked key")
        if self._numbers[kid] < self._latest:
            self._violation("has signed with a key older than the last")
        self._latest = self._numbers[kid]

    def _note(self, key: RingKey, now: float) -> None:
        number = self._numbers.setdefault(key.kid, len(self._numbers))
        before = self._states.get(key.kid, State.PENDING)
        self._states[key.kid] = key.state
        may_be_held = self.schedule.cache_lifetime + self.schedule.clock_skew
        self._known_everywhere.setdefault(key.kid, now + may_be_held)
        if _LIFE.index(key.state) < _LIFE.index(before):
            self._violation(f"has key {number} go from {before} to {key.state}")
        if before is State.PENDING and key.state is not State.PENDING:
            self._ledger.counts["activations"] += 1
            self._ledger.counts["rotations"] += self._latest >= 0
        self._ledger.trace(now, self.name, number, key.state.value)

    def _violation(self, why: str) -> None:
        self._ledger.violation(self._clock.seconds(), self.name, why)

    def _logged(self, event: dict[str, Any]) -> None:
        """Only a key that could not be had is an expected error."""
        failure = event.get("log_failure")
        if event["log_level"] >= LogLevel.error and not (failure and failure.check(NoKey)):
            why = failure.getErrorMessage() if failure else event["log_format"]
            self._violation(f"logs an error: {why}")
