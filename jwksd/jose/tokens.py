"""Claims in, compact JWS out (RFC 7515 §7.1, RFC 7519), and the way back.

What a caller adds is checked against the RFCs here. A token that breaks them on purpose is made in
``defects``, never by loosening a check.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from jwksd.errors import InvalidParameter
from jwksd.jose.encoding import base64url, compact_json, json_string
from jwksd.jose.keys import KeyPair

Members = Mapping[str, object]

OWN_HEADER = frozenset({"alg", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c"})
"""Header parameters that only the server sets: they decide how a verifier finds key and meaning."""

_TEXTS = ("iss", "sub", "jti")
_DATES = ("exp", "iat", "nbf")
_MAX_DATE = 253_402_300_799
"""The last second of the year 9999: what RFC 3339 can still write."""


@dataclass(frozen=True, slots=True)
class Token:
    """A signed JWT in compact serialization, and what a client may want to know of it.

    ``iat`` and ``exp`` are NumericDates in whole seconds.
    """

    token: bytes
    kid: str
    alg: str
    iat: int
    exp: int


def encode_segment(members: Members) -> bytes:
    """A JOSE header or a claims set as a segment of a compact JWS."""
    return base64url(compact_json(members))


def default_header(pair: KeyPair, typ: str = "JWT") -> dict[str, object]:
    """The header of a token signed with this key."""
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
        # Of a kid and the name of an algorithm, nothing has to be escaped.
        header = f'{{"alg":"{pair.alg}","typ":"JWT","kid":"{pair.kid}"}}'
        pair.head = base64url(header.encode("ascii"))
    claims = f'{{"iss":{json_string(iss)},"iat":{iat},"exp":{exp},"jti":{json_string(jti)}}}'
    signing_input = b"%b.%b" % (pair.head, base64url(claims.encode("ascii")))
    return b"%b.%b" % (signing_input, base64url(pair.sign(signing_input)))


def check_header(header: Members) -> None:
    """Refuse header parameters that are not the caller's to set, or of a wrong type.

    Raises:
        InvalidParameter: with the parameter and what is allowed.
    """
    own = sorted(OWN_HEADER & set(header))
    if own:
        raise InvalidParameter(f"header.{own[0]} is set by the server; leave it out")
    for name in ("typ", "cty"):
        if name in header and not isinstance(header[name], str):
            raise InvalidParameter(f"header.{name} must be a string (RFC 7515 §4.1)")


def check_claims(claims: Members) -> None:
    """Refuse registered claims whose type is not that of RFC 7519 §4.1.

    NumericDates must be whole seconds, which is stricter than the RFC.

    Raises:
        InvalidParameter: with the claim and what is allowed.
    """
    for name in _TEXTS:
        if name in claims and not isinstance(claims[name], str):
            raise InvalidParameter(f"claims.{name} must be a string (RFC 7519 §4.1)")
    for name in _DATES:
        if name in claims and not _is_date(claims[name]):
            raise InvalidParameter(
                f"claims.{name} must be a NumericDate in whole seconds, 0 to {_MAX_DATE}"
                " (RFC 7519 §2)"
            )
    if "aud" in claims and not _is_audience(claims["aud"]):
        raise InvalidParameter("claims.aud must be a string or a list of strings (RFC 7519 §4.1.3)")


def _is_date(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_DATE


def _is_audience(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(member, str) for member in value)
    return isinstance(value, str)


def key_id(token: str) -> str | None:
    """The kid in a token's header, unverified, or None when there is none to be read."""
    try:
        kid = _decode_segment(token.split(".")[0]).get("kid")
    except ValueError:
        return None
    return kid if isinstance(kid, str) else None


def verified_claims(token: str, public: JWK, now: float) -> dict[str, Any] | None:
    """The claims of a token, or None unless a strict verifier accepts it.

    Strict: three segments, the algorithm of the key, no ``crit``, a valid signature, and
    ``nbf <= now < exp`` (RFC 8725 §3.1, §3.11).
    """
    if not has_valid_signature(token, public):
        return None
    try:
        claims = _decode_segment(token.split(".")[1])
    except ValueError:
        return None
    return claims if _is_timely(claims, now) else None


def has_valid_signature(token: str, public: JWK) -> bool:
    """Whether the token has three segments, the algorithm of the key, no ``crit``, and a signature
    that verifies with the key."""
    try:
        head, payload, signature = token.split(".")
        header = _decode_segment(head)
        if header.get("alg") != public.get("alg") or "crit" in header:
            return False
        signer = JWA.signing_alg(header["alg"])
        signer.verify(public, f"{head}.{payload}".encode("ascii"), _decode(signature))
    except Exception:  # jwcrypto and cryptography raise many things, all of which mean no
        return False
    return True


def _is_timely(claims: Members, now: float) -> bool:
    exp, nbf = claims.get("exp"), claims.get("nbf", 0)
    dates = [date for date in (exp, nbf) if isinstance(date, int | float) and isfinite(date)]
    return len(dates) == 2 and dates[1] <= now < dates[0]


def _decode(segment: str) -> bytes:
    if base64url(octets := urlsafe_b64decode(segment + "=" * (-len(segment) % 4))) == (
        segment.encode("ascii")
    ):
        return octets
    raise ValueError("not the one base64url text of these octets")


def _decode_segment(segment: str) -> dict[str, Any]:
    value = json.loads(_decode(segment))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
