"""Issuer: mints tokens, publishes the keys that verify them, and forgets both on time.

The per-token policy: a new key for every token, its private half dropped after that one signature.
The token's ``exp`` and the key's expiry are the same second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jwksd import tokens
from jwksd.documents import Document
from jwksd.errors import TooManyKeys, UnknownKey
from jwksd.interfaces import IKeySource
from jwksd.keys import Key, KeyPair
from jwksd.keystore import KeyStore
from jwksd.tokens import Token

EXPIRED_SINCE = 3600
"""How long ago a token asked for with ``expired`` has expired, in seconds."""


@dataclass(frozen=True, slots=True)
class MintRequest:
    """What a client may ask of a token."""

    expired: bool = False


class Issuer:
    """Signs tokens as ``name`` (the ``iss`` claim) and publishes the keys that verify them.

    Args:
        clock: the wall clock, and the timer that frees expired keys.
        source: where fresh keys come from.
        name: the issuer URL.
        alg: the algorithm it signs with.
        lifetime: of tokens and their keys, in seconds.
        max_keys: how many keys may be live at once.
        new_id: a fresh ``jti`` at each call.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        source: IKeySource,
        name: str,
        alg: str,
        lifetime: int,
        max_keys: int,
        new_id: Callable[[], str],
    ) -> None:
        self.name = name
        self._clock = clock
        self._source = source
        self._alg = alg
        self._lifetime = lifetime
        self._max_keys = max_keys
        self._new_id = new_id
        self._store = KeyStore()
        self._promised = 0
        self._timer: IDelayedCall | None = None

    @property
    def live_keys(self) -> int:
        """How many keys are live now."""
        return len(self._live())

    async def mint(self, request: MintRequest) -> Token:
        """Sign one token with a key of its own; the key is published before the token is answered.

        Raises:
            TooManyKeys: so many keys are live, or promised to requests that wait, as are allowed.
            TooManyWaiting: the queue for a fresh key is full.
            Stopping: the server is shutting down.
        """
        if request.expired:
            return self._sign_expired(await self._source.take(self._alg))
        self._refuse_when_full()
        self._promised += 1
        try:
            return self._sign_and_publish(await self._source.take(self._alg))
        finally:
            self._promised -= 1

    def key_set(self) -> Document:
        """The document with every live key."""
        return self._live().key_set()

    def single_key(self, kid: str) -> Document:
        """The document with one live key.

        Raises:
            UnknownKey: no live key has this kid.
        """
        key = self._live().get(kid)
        if key is None:
            raise UnknownKey(f"no live key has the kid {kid}: it is unknown here, or has expired")
        return key.document

    def reset_keys(self) -> int:
        """Forget every key at once, and answer how many there were."""
        count = self._store.clear()
        self.stop()
        return count

    def stop(self) -> None:
        """Stop the timer, so that nothing of the issuer is left in the reactor."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now(self) -> float:
        return self._clock.seconds()

    def _live(self) -> KeyStore:
        """The store without expired keys: an answer is right even when no timer has run."""
        self._store.expire(self._now())
        return self._store

    def _refuse_when_full(self) -> None:
        store = self._live()
        if len(store) + self._promised < self._max_keys:
            return
        next_expiry = store.next_expiry
        wait = 1 if next_expiry is None else max(1, ceil(next_expiry - self._now()))
        raise TooManyKeys(
            f"{self._max_keys} keys are live, which is all that --max-keys allows;"
            f" the next one expires in {wait} s",
            retry_after=wait,
        )

    def _sign_expired(self, pair: KeyPair) -> Token:
        exp = int(self._now()) - EXPIRED_SINCE
        return self._sign_once(pair, exp - self._lifetime, exp)

    def _sign_and_publish(self, pair: KeyPair) -> Token:
        iat = int(self._now())
        token = self._sign_once(pair, iat, iat + self._lifetime)
        self._store.add(Key(pair.public, pair.document, iat, token.exp))
        self._set_timer()
        return token

    def _sign_once(self, pair: KeyPair, iat: int, exp: int) -> Token:
        try:
            return tokens.sign(pair, iss=self.name, iat=iat, exp=exp, jti=self._new_id())
        finally:
            pair.destroy()

    def _set_timer(self) -> None:
        """Wake at the next expiry. A key that lives shorter than the others moves it forward."""
        next_expiry = self._store.next_expiry
        if next_expiry is None:
            return
        if self._timer is not None:
            if self._timer.getTime() <= next_expiry:
                return
            self._timer.cancel()
        delay = max(0.0, next_expiry - self._now())
        self._timer = self._clock.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._live()
        self._set_timer()
