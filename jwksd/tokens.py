"""Claims in, compact JWS out (RFC 7515 §7.1, RFC 7519)."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from jwksd.keys import KeyPair


@dataclass(frozen=True, slots=True)
class Token:
    """A signed JWT in compact serialization, and what a client may want to know of it.

    ``iat`` and ``exp`` are NumericDates in whole seconds.
    """

    token: str
    kid: str
    alg: str
    iat: int
    exp: int


def base64url(octets: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(octets).rstrip(b"=")


def encode_segment(members: Mapping[str, object]) -> bytes:
    """A JOSE header or a claims set as a segment of a compact JWS."""
    return base64url(json.dumps(members, separators=(",", ":")).encode("utf-8"))


def sign(pair: KeyPair, *, iss: str, iat: int, exp: int, jti: str) -> Token:
    """A JWT with the default header and claims, signed with this key.

    Raises:
        PrivateHalfDestroyed: when the key has no private half any more.
    """
    header = {"alg": pair.alg, "typ": "JWT", "kid": pair.kid}
    claims = {"iss": iss, "iat": iat, "exp": exp, "jti": jti}
    signing_input = encode_segment(header) + b"." + encode_segment(claims)
    compact = signing_input + b"." + base64url(pair.sign(signing_input))
    return Token(compact.decode("ascii"), pair.kid, pair.alg, iat, exp)
