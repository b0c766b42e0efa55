"""Names of claims and header parameters that differ from registered ones in case alone.

Names have case (RFC 7515 §5.3, RFC 7519 §7.3), but some verifiers do not see the difference, Go's
encoding/json among them: they take the claim ``EXP`` for ``exp``. No such name is signed.
"""

from collections.abc import Iterable, Mapping

from jwksd.errors import InvalidParameter

_DOTLESS = {0x130: "i", 0x131: "i"}
"""I with a dot and i without: ``casefold`` keeps them apart from i, other languages do not."""


def _folded(name: str) -> str:
    """Return a name without case; U+017F becomes an s, U+212A a k."""
    return name.lower() if name.isascii() else name.translate(_DOTLESS).casefold()


def _by_folded_name(names: Iterable[str]) -> Mapping[str, str]:
    return {_folded(name): name for name in names}


_CLAIMS = _by_folded_name(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} | {"client_id", "scope", "azp", "act", "cnf"}
)
"""The claims of RFC 7519, and those beside them that decide over access. Others may be spelt in any
way: ``Name`` and ``Roles`` are claims of their own."""

_CONFIRMATIONS = _by_folded_name(["jwk", "jwe", "kid", "jku", "jkt", "x5t#S256", "osc"])
"""The members of ``cnf`` (RFC 7800 §3, RFC 8705 §3.1, RFC 9449 §6.1)."""

_HEADER = _by_folded_name(
    {"alg", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "crit", "b64"}
    | {"enc", "zip", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c"}
    | {"iss", "sub", "aud", "url", "nonce", "ppt", "svt", "trust_chain"}
)
"""The header parameters that are registered with IANA."""


def check_header_names(header: Iterable[str]) -> None:
    """Refuse a header parameter that is a registered one but for its case.

    Raises:
        InvalidParameter: with both names.
    """
    _check(header, "header", _HEADER)


def check_claim_names(claims: Mapping[str, object], place: str = "claims") -> None:
    """Refuse a claim that is one of the closed set but for its case.

    So are those of actors, who are named by claims too (RFC 8693 §4.1), and the members of ``cnf``.

    Raises:
        InvalidParameter: with both names.
    """
    _check(claims, place, _CLAIMS)
    actor, confirmation = claims.get("act"), claims.get("cnf")
    if isinstance(actor, dict):
        check_claim_names(actor, f"{place}.act")
    if isinstance(confirmation, dict):
        _check(confirmation, f"{place}.cnf", _CONFIRMATIONS)


def _check(names: Iterable[str], place: str, right: Mapping[str, str]) -> None:
    for name in names:
        meant = right.get(_folded(name), name)
        if meant != name:
            raise InvalidParameter(
                f"{place}.{name:.60}: did you mean {meant}? Names have case (RFC 7519 §7.3), but"
                f" some verifiers take this one for {meant}"
            )
