"""Signing: claims in, compact JWS out (RFC 7515 §7.1, RFC 7519). ``verifying`` reads them back.

Header parameters and claims that a caller adds are checked against the RFCs here. A token that
breaks them on purpose is made by ``dev.defects``, never by loosening a check.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jwksd.errors import InvalidParameter
from jwksd.jose.encoding import base64url, compact_json, json_string
from jwksd.jose.keys import KeyPair
from jwksd.jose.spelling import check_claim_names, check_header_names

Members = Mapping[str, object]

OWN_HEADER = frozenset(
    {"alg", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"}
    | {"enc", "zip", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c"}
)
"""Header parameters that only the server sets: a verifier finds the key and the meaning by them, or
takes the token for an encrypted one."""

_TEXTS = ("iss", "sub", "jti")
_DATES = ("exp", "iat", "nbf")
MAX_DATE = 253_402_300_799
"""The last second of the year 9999, after which RFC 3339 has no form for a time."""


@dataclass(frozen=True, slots=True)
class Token:
    """A signed JWT in compact serialization, and its most important members.

    ``iat`` and ``exp`` are NumericDates in whole seconds.
    """

    token: bytes
    kid: str
    alg: str
    iat: int
    exp: int


def encode_segment(members: Members) -> bytes:
    """Encode a JOSE header or a claims set as a segment of a compact JWS."""
    return base64url(compact_json(members))


def default_header(pair: KeyPair, typ: str = "JWT") -> dict[str, object]:
    """Return the header of a token signed with this key: ``alg``, ``typ`` and ``kid``."""
    return {"alg": pair.alg, "typ": typ, "kid": pair.kid}


def sign(pair: KeyPair, header: Members, claims: Members) -> bytes:
    """Sign a JWT in compact serialization.

    Raises:
        PrivateHalfDestroyed: the key has no private half any more.
    """
    signing_input = b"%b.%b" % (encode_segment(header), encode_segment(claims))
    return b"%b.%b" % (signing_input, base64url(pair.sign(signing_input)))


def sign_plain(pair: KeyPair, iss: str, iat: int, exp: int, jti: str) -> bytes:
    """Sign a JWT with the default header, and with these claims only.

    Raises:
        PrivateHalfDestroyed: the key has no private half any more.
    """
    if pair.head is None:
        # In a kid and the name of an algorithm nothing has to be escaped.
        header = f'{{"alg":"{pair.alg}","typ":"JWT","kid":"{pair.kid}"}}'
        pair.head = base64url(header.encode("ascii"))
    claims = f'{{"iss":{json_string(iss)},"iat":{iat},"exp":{exp},"jti":{json_string(jti)}}}'
    signing_input = b"%b.%b" % (pair.head, base64url(claims.encode("utf-8")))
    return b"%b.%b" % (signing_input, base64url(pair.sign(signing_input)))


def check_header(header: Members) -> None:
    """Refuse header parameters that only the server may set, or that have a wrong type.

    Raises:
        InvalidParameter: with the parameter and what is allowed.
    """
    check_header_names(header)
    own = sorted(OWN_HEADER & set(header))
    if own:
        raise InvalidParameter(f"header.{own[0]} is set by the server; leave it out")
    for name in ("typ", "cty"):
        if name in header and not isinstance(header[name], str):
            raise InvalidParameter(f"header.{name} must be a string (RFC 7515 §4.1)")


def check_claims(claims: Members) -> None:
    """Refuse registered claims whose type is not that of RFC 7519 §4.1, and misspelt ones.

    NumericDates must be whole seconds, which is stricter than the RFC.

    Raises:
        InvalidParameter: with the claim and what is allowed.
    """
    check_claim_names(claims)
    for name in _TEXTS:
        if name in claims and not isinstance(claims[name], str):
            raise InvalidParameter(f"claims.{name} must be a string (RFC 7519 §4.1)")
    for name in _DATES:
        if name in claims and not _is_date(claims[name]):
            raise InvalidParameter(
                f"claims.{name} must be a NumericDate in whole seconds, 0 to {MAX_DATE}"
                " (RFC 7519 §2)"
            )
    if "aud" in claims and not _is_audience(claims["aud"]):
        raise InvalidParameter("claims.aud must be a string or a list of strings (RFC 7519 §4.1.3)")


def _is_date(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_DATE


def _is_audience(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(member, str) for member in value)
    return isinstance(value, str)
