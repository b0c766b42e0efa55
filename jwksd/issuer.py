"""Issuer: mints tokens, publishes the keys that verify them, and forgets both on time.

The per-token policy: a new key for every token, its private half dropped after that one signature.
The token's ``exp`` and the key's expiry are the same second.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jwksd import tokens
from jwksd.defects import Defect, Draft
from jwksd.documents import Document
from jwksd.errors import TooManyKeys, UnknownKey
from jwksd.interfaces import IKeySource
from jwksd.keys import Key, KeyPair
from jwksd.keystore import KeyStore
from jwksd.mintrequest import MintRequest
from jwksd.tokens import Members, Token

Seal = Callable[[KeyPair, Members, Members], str]

EXPIRED_SINCE = 3600
"""How long ago a token asked for with ``expired`` has expired, in seconds."""


class Issuer:
    """Signs tokens as ``name`` (the ``iss`` claim) and publishes the keys that verify them.

    Args:
        clock: the wall clock, and the timer that frees expired keys.
        source: where fresh keys come from.
        name: the issuer URL.
        algorithms: the names of those that it signs with; the first is the default.
        lifetime: of tokens and their keys, in seconds, where a request asks for none.
        max_lifetime: the longest that a request may ask for, in seconds.
        max_keys: how many keys may be live at once.
        new_id: a fresh ``jti`` at each call.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        source: IKeySource,
        name: str,
        algorithms: Sequence[str],
        lifetime: int,
        max_lifetime: int,
        max_keys: int,
        new_id: Callable[[], str],
    ) -> None:
        self.name = name
        self.algorithms = tuple(algorithms)
        self._clock = clock
        self._source = source
        self._lifetime = lifetime
        self._max_lifetime = max_lifetime
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
            InvalidParameter: the request asks for what it may not.
            TooManyKeys: so many keys are live, or promised to requests that wait, as are allowed.
            TooManyWaiting: the queue for a fresh key is full.
            Stopping: the server is shutting down.
        """
        request.check(self.algorithms, self._max_lifetime, self._now())
        if not request.will_live(self._now()):
            return await self._take_and_sign(request)
        with self._promise():
            return await self._take_and_sign(request)

    def introspect(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that this server signed and that is valid now, or None.

        A token whose key was revoked or reset is not valid any more.
        """
        key = self._live().get(tokens.key_id(token) or "")
        if key is None:
            return None
        claims = tokens.verified_claims(token, key.public, self._now())
        return claims if claims is not None and claims.get("iss") == self.name else None

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

    async def rotate(self) -> str:
        """Publish a fresh key that signs nothing, so that verifiers see the set change; its kid."""
        with self._promise():
            pair = await self._source.take(self.algorithms[0])
        pair.destroy()
        now = int(self._now())
        self._publish(pair, now, now + self._lifetime)
        return pair.kid

    def revoke(self, kid: str) -> None:
        """Withdraw a key at once.

        Raises:
            UnknownKey: no live key has this kid.
        """
        if not self._live().remove(kid):
            raise UnknownKey(
                f"no live key has the kid {kid!r:.100}; jwks.json lists those there are"
            )

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

    @contextmanager
    def _promise(self) -> Iterator[None]:
        """Keep room for one key while it is waited for.

        Raises:
            TooManyKeys: there is none.
        """
        self._refuse_when_full()
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1

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

    async def _take_and_sign(self, request: MintRequest) -> Token:
        alg = request.alg or self.algorithms[0]
        pair = await self._source.take(alg)
        try:
            if request.defect is None:
                return self._sign(request, pair, tokens.sign)
            foreign = await self._source.take(alg)
            try:
                return self._sign(request, pair, self._forge(request.defect, foreign))
            finally:
                foreign.destroy()
        finally:
            pair.destroy()

    def _forge(self, defect: Defect, foreign: KeyPair) -> Seal:
        def forge(pair: KeyPair, header: Members, claims: Members) -> str:
            now = int(self._now())
            return defect.forge(Draft(dict(header), dict(claims), pair, foreign, now))

        return forge

    def _sign(self, request: MintRequest, pair: KeyPair, seal: Seal) -> Token:
        now = int(self._now())
        lifetime = request.lifetime or self._lifetime
        exp = now - EXPIRED_SINCE if request.expired else now + lifetime
        claims = {"iss": self.name, "iat": exp - lifetime, "exp": exp, "jti": self._new_id()}
        claims |= request.claims
        text = seal(pair, {**tokens.default_header(pair), **request.header}, claims)
        token = Token(text, pair.kid, pair.alg, cast(int, claims["iat"]), cast(int, claims["exp"]))
        if request.will_live(now):
            self._publish(pair, now, token.exp)
        return token

    def _publish(self, pair: KeyPair, created: int, expires: int) -> None:
        self._store.add(Key(pair.public, pair.document, created, expires))
        self._set_timer()

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
