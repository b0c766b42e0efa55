"""Issuer: mints tokens, and judges those that come back.

Which key signs, how long it is published, and how it is withdrawn, is the key policy's: ``policy``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jwksd.errors import InvalidParameter
from jwksd.interfaces import IKeyPolicy, IKeySource
from jwksd.issuing.mintrequest import MintRequest, SealWith
from jwksd.issuing.selfcheck import SelfCheck
from jwksd.jose import tokens, verifying
from jwksd.jose.jsontext import shown
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Members, Token

Sign = Callable[[KeyPair, Members, Members], bytes]
"""Makes a compact token of header and claims with a key."""

MAX_TOKEN = 98_304
"""Octets of a token. A request body makes hardly more, and ``/introspect`` reads as many."""

MAX_WRONG_TOKEN = 245_760
"""Octets of a token that is sealed wrong, which may make it longer than was asked for."""

ACCESS_TYPE = "at+jwt"
"""The type of an access token (RFC 9068 §2.1)."""

_TYPES = ("jwt", ACCESS_TYPE)
"""The types of tokens that are good for access here."""

EXPIRED_SINCE = 3600
"""How long ago a token asked for with ``expired`` has expired, in seconds."""


class Issuer:
    """Signs tokens as ``name`` (the ``iss`` claim) with the keys of its ``policy``.

    Args:
        clock: the wall clock.
        source: where those keys come from that are never published.
        policy: which key signs any other token, and what is published.
        name: the issuer URL.
        algorithms: the names of those that it signs with; the first is the default.
        lifetime: of tokens, in seconds, where a request asks for none.
        max_lifetime: the longest that a request may ask for, in seconds.
        new_id: a fresh ``jti`` at each call.
        self_check: whether tokens verify with what is published; the policy calls it.
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
        self.name: Final = name
        self.policy: Final = policy
        self.algorithms: Final = tuple(algorithms)
        self._clock = clock
        self._source = source
        self._lifetime = lifetime
        self._max_lifetime = max_lifetime
        self._new_id = new_id
        self._self_check = self_check

    @property
    def not_ready(self) -> str | None:
        """Why no token could be signed now, or why none should be; None when all is well."""
        reason = self.policy.not_ready
        return self._self_check.failure if reason is None else reason

    def stop(self) -> "Deferred[None]":
        """Leave nothing in the reactor, destroy every private half, and close the store."""
        self._self_check.stop()
        return self.policy.stop()

    async def mint(self, request: MintRequest) -> Token:
        """Sign one token, at once or when that can be done: ``mint_now``, then ``mint_later``.

        Raises:
            InvalidParameter, TooManyKeys: as ``mint_now`` does.
            TooManyWaiting, StoreAway, Stopping: as ``mint_later`` does.
        """
        token = self.mint_now(request)
        return await self.mint_later(request) if token is None else token

    def mint_now(self, request: MintRequest) -> Token | None:
        """Check the request and sign one token, whose key is published before it is answered.

        Return None where ``mint_later`` is needed: the key or the store has to be waited for; or
        the token takes a second key; or its key is never published.

        Raises:
            InvalidParameter: the request asks for what it may not.
            TooManyKeys: so many keys are live, or promised to requests that wait, as are allowed.
        """
        now = self._clock.seconds()
        request.check(self.algorithms, self._max_lifetime, now)
        if request.seal_with is not None or not request.will_live(now):
            return None
        seal = partial(self._sign, request, tokens.sign)
        alg = request.alg or self.algorithms[0]
        return self.policy.sign_now(alg, seal, self._key_lifetime(request))

    async def mint_later(self, request: MintRequest) -> Token:
        """Sign one token for a request that ``mint_now`` has checked, but returned None for.

        A token that has expired when it is made, or whose request says so, is signed with a key of
        its own that no document ever shows.

        Raises:
            TooManyKeys: so many keys are live, or promised to requests that wait, as are allowed.
            TooManyWaiting: the queue for a key is full.
            StoreAway: the key could not be kept.
            Stopping: the server is shutting down.
        """
        alg = request.alg or self.algorithms[0]
        if request.seal_with is None:
            return await self._mint_when_ready(request, alg, tokens.sign)
        with await self._source.take(alg) as foreign:
            sign = partial(self._seal_with, request.seal_with, foreign)
            return await self._mint_when_ready(request, alg, sign)

    def seconds_left(self, token: Token) -> int:
        """Return for how many seconds from now a token will be valid, 0 where it is not."""
        return max(0, token.exp - int(self._clock.seconds()))

    def introspect(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that this server signed and that is valid now, or None.

        A token whose key was revoked or reset is not valid any more. One whose ``typ`` is neither
        JWT nor at+jwt is of another kind, such as a logout token, and never valid here.
        """
        if verifying.media_type(token) not in _TYPES:
            return None
        key = self.policy.keys.get(verifying.key_id(token) or "")
        if key is None:
            return None
        claims = verifying.verified_claims(token, key.public, self._clock.seconds())
        return claims if claims is not None and claims.get("iss") == self.name else None

    async def rotate(self, alg: str | None = None) -> Mapping[str, object]:
        """Have the policy replace the key of an algorithm, the default one where none is named.

        Raises:
            InvalidParameter: there is no such algorithm here.
            StoreAway: nothing was changed, or it is not known whether it was.
        """
        if alg is not None and alg not in self.algorithms:
            raise InvalidParameter(
                f"alg must be one of {', '.join(self.algorithms)}, not {shown(alg)}"
            )
        return await self.policy.rotate(alg or self.algorithms[0])

    async def reset_keys(self) -> int:
        """Forget every key, and what the self-check found of them; return how many there were.

        Raises:
            StoreAway: nothing was changed, or it is not known whether it was.
        """
        count = await self.policy.reset()
        self._self_check.forget()
        return count

    async def _mint_when_ready(self, request: MintRequest, alg: str, sign: Sign) -> Token:
        seal = partial(self._sign, request, sign)
        if request.will_live(self._clock.seconds()):
            sound, key_lifetime = request.seal_with is None, self._key_lifetime(request)
            return await self.policy.sign(alg, seal, key_lifetime, sound=sound)
        with await self._source.take(alg) as pair:
            return seal(pair)

    def _key_lifetime(self, request: MintRequest) -> int | None:
        """Return the seconds that the key of a token lives; None where it ends with the token."""
        return (request.lifetime or self._lifetime) if request.expired else None

    def _seal_with(
        self, seal_with: SealWith, foreign: KeyPair, pair: KeyPair, header: Members, claims: Members
    ) -> bytes:
        return seal_with(header, claims, pair, foreign, int(self._clock.seconds()))

    def _sign(self, request: MintRequest, sign: Sign, pair: KeyPair) -> Token:
        now = int(self._clock.seconds())
        lifetime = request.lifetime or self._lifetime
        exp = now - EXPIRED_SINCE if request.expired else now + lifetime
        iat, jti = exp - lifetime, self._new_id()
        if request.is_plain:
            token = tokens.sign_plain(pair, self.name, iat, exp, jti)
            return Token(token, pair.kid, pair.alg, iat, exp)
        claims = {"iss": self.name, "iat": iat, "exp": exp, "jti": jti, **request.claims}
        token = sign(pair, {**tokens.default_header(pair), **request.header}, claims)
        most = MAX_TOKEN if request.seal_with is None else MAX_WRONG_TOKEN
        if len(token) > most:
            raise InvalidParameter(
                f"claims and header make a token of {len(token)} octets; it may have {most}"
            )
        return Token(token, pair.kid, pair.alg, cast(int, claims["iat"]), cast(int, claims["exp"]))
