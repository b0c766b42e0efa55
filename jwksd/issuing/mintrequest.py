"""MintRequest: what a client asks of a token, and what it may not ask."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from jwksd.dev.defects import Defect
from jwksd.errors import InvalidParameter
from jwksd.jose import tokens
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.tokens import Members


@dataclass(frozen=True, slots=True)
class MintRequest:
    """What it leaves out has the server's default.

    ``lifetime`` is in seconds. ``claims`` and ``header`` are merged over the default ones.
    """

    expired: bool = False
    alg: str | None = None
    lifetime: int | None = None
    claims: Members = field(default_factory=dict)
    header: Members = field(default_factory=dict)
    defect: Defect | None = None

    @property
    def is_plain(self) -> bool:
        """Whether header and claims are the default ones, and nothing is wrong with them."""
        return not (self.claims or self.header or self.defect)

    def will_live(self, now: float) -> bool:
        """Whether the key of a token signed now is to be published."""
        exp = self.claims.get("exp")
        past = isinstance(exp, int) and exp <= now
        unpublished = self.defect is not None and not self.defect.published
        return not (self.expired or past or unpublished)

    def check(self, algorithms: Sequence[str], max_lifetime: int, now: float) -> None:
        """Refuse what a server with these algorithms and this bound does not sign now.

        Raises:
            InvalidParameter: with the member, and what is allowed.
        """
        if self.alg is not None and self.alg not in algorithms:
            raise InvalidParameter(
                f"alg must be one of {', '.join(algorithms)}, not {self.alg!r:.60};"
                " --alg adds others"
            )
        if self.lifetime is not None and not 1 <= self.lifetime <= max_lifetime:
            raise InvalidParameter(f"lifetime must be 1 to {max_lifetime} seconds")
        if self.is_plain:
            return
        tokens.check_header(self.header)
        tokens.check_claims(self.claims)
        self._check_expiry(int(now) + max_lifetime)
        self._check_defect(self.alg or algorithms[0])

    def _check_expiry(self, latest: int) -> None:
        """A token's exp is its key's expiry, so it is said once, and bounded as a lifetime is."""
        if "exp" not in self.claims:
            return
        if self.expired or self.lifetime is not None:
            raise InvalidParameter("claims.exp stands instead of expired and lifetime: give one")
        if cast(int, self.claims["exp"]) > latest:
            raise InvalidParameter(
                f"claims.exp must be at most {latest}, which is --max-lifetime from now"
            )

    def _check_defect(self, alg: str) -> None:
        if self.defect is not None and ALGORITHMS[alg].kty not in self.defect.kinds:
            raise InvalidParameter(
                f"defect {self.defect.name} exists for {', '.join(sorted(self.defect.kinds))} keys"
                f" only; ask for another alg than {alg}"
            )
