"""MintRequest: what a client asks of a token, and what it may not ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from jwksd.errors import InvalidParameter
from jwksd.jose import tokens
from jwksd.jose.jsontext import shown
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Members

SealWith = Callable[[Members, Members, KeyPair, KeyPair, int], bytes]
"""Makes the compact token of a header, claims, the key pair that signs, a foreign key pair of the
same algorithm, and the time as a NumericDate in whole seconds."""

Expired = bool | Literal["token"]
"""Whether a token has expired when it is made, and its key with it; ``token``: the token alone."""


@dataclass(frozen=True, slots=True)
class MintRequest:
    """What a client asks of a token; what is left out has the server's default.

    ``lifetime`` is in seconds; where only the token has ``expired``, its key lives as long from now
    on. ``claims`` and ``header`` are merged over the default ones.
    ``seal_with`` makes the token in its own way instead of signing it, for developers' wrong
    tokens. The key of a token that is not ``published`` is on no document.
    """

    expired: Expired = False
    alg: str | None = None
    lifetime: int | None = None
    claims: Members = field(default_factory=dict)
    header: Members = field(default_factory=dict)
    seal_with: SealWith | None = None
    published: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether header and claims are the default ones, and nothing is sealed wrong."""
        return not (self.claims or self.header or self.seal_with)

    def will_live(self, now: float) -> bool:
        """Return whether the key of a token signed now is to be published."""
        if self.expired:
            return self.published and self.expired == "token"
        exp = self.claims.get("exp")
        return self.published and not (isinstance(exp, int) and exp <= now)

    def check(self, algorithms: Sequence[str], max_lifetime: int, now: float) -> None:
        """Refuse what a server with these algorithms and this bound does not sign now.

        Raises:
            InvalidParameter: with the member, and what is allowed.
        """
        if self.alg is not None and self.alg not in algorithms:
            raise InvalidParameter(
                f"alg must be one of {', '.join(algorithms)}, not {shown(self.alg)};"
                " --alg adds others"
            )
        if self.lifetime is not None and not 1 <= self.lifetime <= max_lifetime:
            raise InvalidParameter(f"lifetime must be 1 to {max_lifetime} seconds")
        if self.is_plain:
            return
        tokens.check_header(self.header)
        tokens.check_claims(self.claims)
        self._check_expiry(int(now) + max_lifetime)

    def _check_expiry(self, latest: int) -> None:
        """Refuse an ``exp`` that is given beside a lifetime, or that is later than ``latest``."""
        if "exp" not in self.claims:
            return
        if self.expired or self.lifetime is not None:
            raise InvalidParameter("claims.exp stands instead of expired and lifetime: give one")
        if cast(int, self.claims["exp"]) > latest:
            raise InvalidParameter(
                f"claims.exp must be at most {latest}, which is --max-lifetime from now"
            )
