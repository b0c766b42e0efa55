"""Rotating: the policy of one active key per algorithm, whose successor is published long before.

The ``Rotator`` keeps the keys; this signs with them and describes them. The laws:
1. The plan is looked at before every signature and every answer, so that a late timer signs
   nothing that it must not, and a process that slept catches up before it signs.
2. A node that is out of touch with the store signs no token that another node's rotation, of which
   it has not heard, could let outlive its key.
3. A token whose key was withdrawn while a thread signed it is not answered.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from math import ceil

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from jwksd.errors import JwksdError, PrivateHalfDestroyed, StoreAway, TooManyWaiting, UnknownKey
from jwksd.interfaces import IKeyPolicy, Seal
from jwksd.issuing.rotator import Rotator
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.lifecycle import ring as rings
from jwksd.lifecycle.plan import next_change, next_signer
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import Ring
from jwksd.lifecycle.status import KeyStatus

_UNFINISHED = b"no-store"
"""For a set that lacks a key which is about to sign: no cache may keep it."""

RunSigning = Callable[[Callable[[], Token]], Deferred[Token]]
"""Calls what signs a token on a thread."""


@implementer(IKeyPolicy)
class Rotating:
    """The policy of keys that are replaced on schedule.

    Args:
        rotator: keeps the ring of keys.
        max_waiting: how many requests may wait for a signature on a thread.
        run_signing: calls a slow signature on a thread; None signs on the reactor's.
    """

    name = "rotating"
    reads_through = False

    _log = Logger()

    def __init__(
        self, rotator: Rotator, *, max_waiting: int, run_signing: RunSigning | None = None
    ) -> None:
        self._rotator = rotator
        self._holdings = rotator.holdings
        self.readers = rotator.readers
        self._clock = rotator.clock
        self._schedule = rotator.schedule
        self._max_waiting = max_waiting
        self._run_signing = run_signing
        self._signing = 0
        self._calm = self._schedule.cache_control(alert=False)
        self._alert = self._schedule.cache_control(alert=True)

    @property
    def ring(self) -> Ring:
        """Every key with its state, as it is to be now."""
        self._rotator.look()
        return self._rotator.ring

    @property
    def keys(self) -> PublishedKeys:
        """The keys that are published now, whatever their state."""
        self._rotator.look()
        self._holdings.keys.expire(self._clock.seconds())
        return self._holdings.keys

    @property
    def cache_control(self) -> bytes:
        """That of the schedule; shorter after a revocation; no-store while a key is missing."""
        if len(self._holdings.signers) < len(self._rotator.algorithms):
            return _UNFINISHED
        alert_until = self._rotator.ring.alert_until
        return self._alert if alert_until and self._clock.seconds() < alert_until else self._calm

    @property
    def not_ready(self) -> str | None:
        """Why no token could be signed now, or should not be; or None."""
        missing = [alg for alg in self._rotator.algorithms if alg not in self._holdings.signers]
        if missing:
            return f"there is no {', '.join(missing)} key yet"
        return self._rotator.follower.away

    def open(self) -> None:
        self._rotator.open()

    def start(self) -> None:
        self._rotator.start()

    def stop(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._rotator.stop())

    async def refresh(self) -> None:
        await self._rotator.follower.refresh()

    def sign_now(self, alg: str, seal: Seal, key_lifetime: int | None = None) -> Token | None:
        self._rotator.look()
        pair = self._holdings.signers.get(alg)
        if pair is None or self._belongs_on_thread(pair):
            return None
        return self._counted(pair, seal(pair))

    async def sign(
        self, alg: str, seal: Seal, key_lifetime: int | None = None, *, sound: bool = True
    ) -> Token:
        self._rotator.look()
        while True:
            pair = self._holdings.signers.get(alg)
            if pair is None:
                await self._rotator.first_key(alg)
            elif not self._belongs_on_thread(pair):
                return self._counted(pair, seal(pair))
            else:
                # Replaced while it waited for its turn, or withdrawn while it signed: try again.
                with suppress(PrivateHalfDestroyed):
                    return self._counted(pair, await self._seal_on_thread(pair, seal))

    async def rotate(self, alg: str) -> Mapping[str, object]:
        await self._rotator.change(partial(rings.hurry, alg=alg))
        now = int(self._clock.seconds())
        kid, at = next_signer(self._rotator.ring, alg, now, self._schedule)
        self._rotator.catch_up()
        return {"kid": kid, "at": at}

    async def revoke(self, kid: str) -> None:
        if self._rotator.ring.get(kid) is None:
            await self.refresh()
        if self._rotator.ring.get(kid) is not None:
            self._log.warn("key {kid} is revoked", kid=kid)
            now = self._clock.seconds()
            await self._rotator.change(
                partial(rings.revoke, kid=kid, now=now, schedule=self._schedule)
            )
            self._rotator.catch_up()
        elif self._holdings.keys.get(kid) is not None:
            await self._withdraw([kid])
        else:
            raise UnknownKey(kid)

    async def reset(self) -> int:
        await self.refresh()
        count = len(self._holdings.keys)
        await self._withdraw(self._holdings.singles(self._rotator.ring))
        await self._rotator.change(lambda ring: Ring())
        self._rotator.catch_up()
        return count

    async def describe(self) -> Mapping[str, object]:
        self._rotator.look()
        with suppress(StoreAway):  # then this node's own count is what there is
            await self._rotator.count()
        ring, usage = self._rotator.ring, self._holdings.usage
        statuses = [
            KeyStatus.scheduled(key, usage(key.kid), ring, self._schedule) for key in ring.keys
        ]
        return {
            "policy": self.name,
            "next_change": next_change(ring, self._schedule),
            "keys": [status.members() for status in statuses],
        }

    def _belongs_on_thread(self, pair: KeyPair) -> bool:
        """Return whether a thread signs: RSA takes ten times as long as to hand it to a thread."""
        return self._run_signing is not None and pair.is_slow

    async def _seal_on_thread(self, pair: KeyPair, seal: Seal) -> Token:
        assert self._run_signing is not None  # noqa: S101  # see _belongs_on_thread
        if self._signing >= self._max_waiting:
            raise TooManyWaiting(self._max_waiting, "a signature")
        self._signing += 1
        try:
            return await self._run_signing(partial(seal, pair))
        finally:
            self._signing -= 1

    def _counted(self, pair: KeyPair, token: Token) -> Token:
        """Count a token, which keeps its key published as long as it is valid."""
        self._refuse_to_outlive(pair, token)
        tally = self._holdings.tallies.get(pair.kid)
        if tally is None:
            raise PrivateHalfDestroyed(f"key {pair.kid} was withdrawn while it signed")
        tally.add(token.exp)
        return token

    def _refuse_to_outlive(self, pair: KeyPair, token: Token) -> None:
        """Check that a token ends before its key is gone, though its request was checked too."""
        latest = self._clock.seconds() + self._schedule.retention - self._schedule.clock_skew
        if token.exp > latest:
            raise JwksdError(f"a token that outlives its key {pair.kid} is not signed")
        unheard = self._rotator.follower.out_of_touch
        if token.exp > latest - unheard:
            raise StoreAway(
                "out of touch for too long",
                f"the store has been away for {ceil(unheard)} s, in which another server may have"
                f" replaced key {pair.kid}; tokens of at most"
                f" {max(0, int(latest - unheard - self._clock.seconds()))} s can be signed",
            )

    async def _withdraw(self, kids: Collection[str]) -> None:
        """Withdraw keys that signed one token each, while the server had another policy."""
        if kids:
            await self._rotator.follower.kept(self._rotator.store.withdraw(kids))
        for kid in kids:
            self._holdings.keys.remove(kid)
