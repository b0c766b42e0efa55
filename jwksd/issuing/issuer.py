"""Issuer: mints tokens, publishes the keys that verify them, and withdraws them.

Which key signs, and how long it is published, is the key policy's to say.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jwksd.dev.defects import Defect, Draft
from jwksd.errors import InvalidParameter, UnknownKey
from jwksd.interfaces import IKeyPolicy, IKeySource
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.selfcheck import SelfCheck
from jwksd.jose import tokens, verifying
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.keysets import Document
from jwksd.jose.tokens import Members, Token
from jwksd.lifecycle.published import PublishedKeys

Forge = Callable[[KeyPair, Members, Members], str]

EXPIRED_SINCE = 3600
"""How long ago a token asked for with ``expired`` has expired, in seconds."""


def no_such_key(kid: str) -> UnknownKey:
    """The error of a kid that no document shows."""
    return UnknownKey(f"no live key has the kid {kid:.60}: it is unknown here, or has expired")


class Issuer:
    """Signs tokens as ``name`` (the ``iss`` claim) and publishes the keys that verify them.

    Args:
        clock: the wall clock.
        source: where the keys of tokens come from that no document ever verifies.
        policy: which key signs every other token.
        name: the issuer URL.
        algorithms: the names of those that it signs with; the first is the default.
        lifetime: of tokens, in seconds, where a request asks for none.
        max_lifetime: the longest that a request may ask for, in seconds.
        new_id: a fresh ``jti`` at each call.
        self_check: whether tokens verify with what is published; the policy tells it of changes.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        source: IKeySource,
        policy: IKeyPolicy,
        name: str,
        algorithms: Sequence[str],
        lifetime: int,
        max_lifetime: int,
        new_id: Callable[[], str],
        self_check: SelfCheck,
    ) -> None:
        self.name = name
        self.algorithms = tuple(algorithms)
        self._clock = clock
        self._source = source
        self._policy = policy
        self._lifetime = lifetime
        self._max_lifetime = max_lifetime
        self._new_id = new_id
        self._self_check = self_check

    @property
    def live_keys(self) -> int:
        """How many keys are live now."""
        return len(self._keys())

    @property
    def cache_control(self) -> bytes:
        """The Cache-Control of the documents with keys, as it is now."""
        value: bytes = self._policy.cache_control
        return value

    @property
    def not_ready(self) -> str | None:
        """Why no token could be signed now, or why none should be; None when all is well."""
        reason: str | None = self._policy.not_ready
        return self._self_check.failure if reason is None else reason

    @property
    def reads_through(self) -> bool:
        """Whether another node may have published a key that is not known here yet."""
        shared: bool = self._policy.reads_through
        return shared

    def open(self) -> None:
        """Read the store, blocking; before anything is served, not before a daemon has forked.

        Raises:
            StartUpRefused: the store cannot be used, with what to do about it.
        """
        self._policy.open()

    def start(self) -> None:
        """Begin to work; timers may be set from now on."""
        self._policy.start()

    def stop(self) -> "Deferred[None]":
        """Leave nothing in the reactor, and let go of every private half and of the store."""
        self._self_check.stop()
        stopped: Deferred[None] = self._policy.stop()
        return stopped

    async def refresh(self) -> None:
        """Know every key that was published anywhere before this call, if the store is there."""
        await self._policy.refresh()

    async def mint(self, request: MintRequest) -> Token:
        """Sign one token; its key is published before the token is answered.

        A token that has expired when it is made, or whose defect says so, is signed with a key of
        its own that no document ever shows.

        Raises:
            InvalidParameter: the request asks for what it may not.
            TooManyKeys: so many keys are live, or promised to requests that wait, as are allowed.
            TooManyWaiting: the queue for a key is full.
            StoreAway: the key could not be kept.
            Stopping: the server is shutting down.
        """
        token = self.mint_now(request)
        if token is not None:
            return token
        alg = request.alg or self.algorithms[0]
        if request.defect is not None:
            return await self._mint_defective(request, request.defect, alg)
        return await self._mint_when_ready(request, alg, tokens.sign)

    def mint_now(self, request: MintRequest) -> Token | None:
        """What ``mint`` answers, or None where that has to wait: for a key, or for the store.

        A token with a defect, which takes two keys, and one whose key is not published, which
        tests ask for, are always waited for.

        Raises:
            InvalidParameter, TooManyKeys: as ``mint`` does.
        """
        now = self._now()
        request.check(self.algorithms, self._max_lifetime, now)
        if request.defect is not None or not request.will_live(now):
            return None
        seal = partial(self._sign, request, tokens.sign)
        token: Token | None = self._policy.sign_now(request.alg or self.algorithms[0], seal)
        return token

    def introspect(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that this server signed and that is valid now, or None.

        A token whose key was revoked or reset is not valid any more.
        """
        key = self._keys().get(verifying.key_id(token) or "")
        if key is None:
            return None
        claims = verifying.verified_claims(token, key.public, self._now())
        return claims if claims is not None and claims.get("iss") == self.name else None

    def key_set(self) -> Document:
        """The document with every live key."""
        return self._keys().key_set()

    def single_key(self, kid: str) -> Document:
        """The document with one live key.

        Raises:
            UnknownKey: no live key has this kid.
        """
        key = self.find_key(kid)
        if key is None:
            raise no_such_key(kid)
        return key.document

    def find_key(self, kid: str) -> PublishedKey | None:
        """A live key, or None."""
        return self._keys().get(kid)

    async def rotate(self, alg: str | None = None) -> Mapping[str, object]:
        """Replace a key as soon as that is safe; ``kid`` is that of the next key, ``at`` when.

        With ``per-token`` a fresh key is published that signs nothing.

        Raises:
            InvalidParameter: there is no such algorithm here.
        """
        if alg is not None and alg not in self.algorithms:
            raise InvalidParameter(
                f"alg must be one of {', '.join(self.algorithms)}, not {alg!r:.60}"
            )
        answer: Mapping[str, object] = await self._policy.rotate(alg or self.algorithms[0])
        return answer

    async def revoke(self, kid: str) -> None:
        """Withdraw a key at once.

        Raises:
            UnknownKey: no live key has this kid.
            StoreAway: nothing was changed, or nothing is known of it.
        """
        await self._policy.revoke(kid)

    async def reset_keys(self) -> int:
        """Forget every key and what the self-check found of them, and answer how many there were.

        Raises:
            StoreAway: nothing was changed, or nothing is known of it.
        """
        count: int = await self._policy.reset()
        self._self_check.forget()
        return count

    async def describe_keys(self) -> Mapping[str, object]:
        """Which keys there are, in which state, since and until when, and who still needs them.

        Times are NumericDates, or None where there is none. Of each key: ``kid``, ``alg``,
        ``state``, ``since`` its state began, ``until`` the next one does, how many tokens it has
        ``signed``, the ``last_exp`` among them, and from when on it is ``safe_to_drop_at``.
        """
        described: Mapping[str, object] = await self._policy.describe()
        return described

    def _keys(self) -> PublishedKeys:
        keys: PublishedKeys = self._policy.keys
        return keys

    def _now(self) -> float:
        return self._clock.seconds()

    async def _mint_defective(self, request: MintRequest, defect: Defect, alg: str) -> Token:
        foreign = await self._source.take(alg)
        try:
            return await self._mint_when_ready(request, alg, self._forge(defect, foreign))
        finally:
            foreign.destroy()

    def _forge(self, defect: Defect, foreign: KeyPair) -> Forge:
        def forge(pair: KeyPair, header: Members, claims: Members) -> str:
            now = int(self._now())
            return defect.forge(Draft(dict(header), dict(claims), pair, foreign, now))

        return forge

    async def _mint_when_ready(self, request: MintRequest, alg: str, forge: Forge) -> Token:
        seal = partial(self._sign, request, forge)
        if request.will_live(self._now()):
            sound = request.defect is None
            token: Token = await self._policy.sign(alg, seal, sound=sound)
            return token
        pair = await self._source.take(alg)
        try:
            return seal(pair)
        finally:
            pair.destroy()

    def _sign(self, request: MintRequest, forge: Forge, pair: KeyPair) -> Token:
        now = int(self._now())
        lifetime = request.lifetime or self._lifetime
        exp = now - EXPIRED_SINCE if request.expired else now + lifetime
        iat, jti = exp - lifetime, self._new_id()
        if request.is_plain:
            text = tokens.sign_plain(pair, self.name, iat, exp, jti)
            return Token(text, pair.kid, pair.alg, iat, exp)
        claims = {"iss": self.name, "iat": iat, "exp": exp, "jti": jti, **request.claims}
        text = forge(pair, {**tokens.default_header(pair), **request.header}, claims)
        return Token(text, pair.kid, pair.alg, cast(int, claims["iat"]), cast(int, claims["exp"]))
