"""Verifying: compact JWS in, claims out, judged as strictly as the RFCs allow (RFC 7515, RFC 8725).

1. A token is accepted only with a valid signature of the key's own algorithm; ``crit`` is refused.
2. A segment is read only if it is the one base64url text of its octets (RFC 4648 §3.5).
3. No text raises an error: where it cannot be read, it has no kid, no signature and no claims.
   ``jsontext`` reads header and claims, as a token's: no member is there twice.
"""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, TypeGuard

from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from jwksd.jose.encoding import base64url
from jwksd.jose.jsontext import parse_object


def key_id(token: str) -> str | None:
    """Return the kid of a token's header, unverified, or None where none can be read."""
    try:
        kid = _decode_segment(token.split(".")[0]).get("kid")
    except ValueError:
        return None
    return kid if isinstance(kid, str) else None


def media_type(token: str) -> str | None:
    """Return the type of a token, unverified, or None where none can be read (RFC 7515 §4.1.9).

    It is in lower case, and without the prefix ``application/``.
    """
    try:
        typ = _decode_segment(token.split(".")[0]).get("typ")
    except ValueError:
        return None
    return typ.lower().removeprefix("application/") if isinstance(typ, str) else None


def verified_claims(token: str, public: JWK, now: float) -> dict[str, Any] | None:
    """Return the claims of a token, or None unless a strict verifier accepts it.

    Strict means: three segments, the algorithm of the key, no ``crit``, a valid signature, and
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
    """Say whether a token has three segments, the key's algorithm, no ``crit``, and a signature
    that verifies with the key (RFC 7515 §5.2)."""
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


def _is_timely(claims: Mapping[str, object], now: float) -> bool:
    exp, nbf = claims.get("exp"), claims.get("nbf", 0)
    return _is_date(exp) and _is_date(nbf) and nbf <= now < exp


def _is_date(value: object) -> TypeGuard[int | float]:
    """Return whether it is a NumericDate; true and false, which Python counts with, are none."""
    return type(value) in (int, float)


def _decode_segment(segment: str) -> dict[str, Any]:
    """Read a segment of a compact JWS as a JSON object, or raise ValueError."""
    return parse_object(_decode(segment), "the segment", token=True)


def _decode(segment: str) -> bytes:
    octets = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64url(octets) != segment.encode("ascii"):
        raise ValueError("not the one base64url text of these octets")
    return octets
