"""Draft: a token before it is sealed, and the ways to seal it wrong.

A draft would be right as it stands. Each way to seal it is a function that returns a ``Forge``,
which breaks one thing of it. The rows of ``defects`` are made of them.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jwksd.jose.encoding import base64url, compact_json
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import sign


@dataclass(slots=True)
class Draft:
    """A token that would be right as it stands, before it is sealed.

    ``pair`` is the key that the verifier will find under the header's kid; ``foreign`` is one of
    the same algorithm that no document ever holds. ``now`` is a NumericDate in whole seconds.
    """

    header: dict[str, object]
    claims: dict[str, object]
    pair: KeyPair
    foreign: KeyPair
    now: int

    def seal(self, signer: KeyPair | None = None) -> str:
        """Return the compact token, signed by the published key or by another."""
        return sign(signer or self.pair, self.header, self.claims).decode("ascii")

    def seal_octets(self, header: bytes | None = None, payload: bytes | None = None) -> str:
        """Return the compact token of a header or a payload that may be no JSON at all."""
        first = base64url(compact_json(self.header) if header is None else header)
        second = base64url(compact_json(self.claims) if payload is None else payload)
        signature = self.pair.sign(first + b"." + second)
        return b".".join((first, second, base64url(signature))).decode("ascii")

    def segments(self) -> tuple[str, str, bytes]:
        """Return header and payload as segments, and the octets of the signature."""
        first, second = base64url(compact_json(self.header)), base64url(compact_json(self.claims))
        signature = self.pair.sign(first + b"." + second)
        return first.decode("ascii"), second.decode("ascii"), signature

    def seal_changed(self, change: Callable[[bytes], bytes]) -> str:
        """Return the compact token with a signature that ``change`` was applied to."""
        first, second, signature = self.segments()
        return f"{first}.{second}.{base64url(change(signature)).decode('ascii')}"


Forge = Callable[[Draft], str]
"""Makes a token of a draft, which it may change."""


def claims(change: Callable[[Draft], Mapping[str, object]]) -> Forge:
    """Have claims replaced or added before signing."""

    def forge(draft: Draft) -> str:
        draft.claims.update(change(draft))
        return draft.seal()

    return forge


def header(change: Callable[[Draft], Mapping[str, object]], *, foreign: bool = False) -> Forge:
    """Have header parameters replaced or added before signing, by the foreign key if so asked."""

    def forge(draft: Draft) -> str:
        draft.header.update(change(draft))
        return draft.seal(draft.foreign if foreign else draft.pair)

    return forge


def without(place: Literal["header", "claims"], name: str) -> Forge:
    """Have a member left out."""

    def forge(draft: Draft) -> str:
        getattr(draft, place).pop(name, None)
        return draft.seal()

    return forge


def signature(change: Callable[[bytes], bytes]) -> Forge:
    """Have the octets of the signature changed."""
    return lambda draft: draft.seal_changed(change)


def twice(place: Literal["header", "claims"], name: str, last: Callable[[Draft], object]) -> Forge:
    """Have a member twice, first right, then wrong: a parser must refuse, or take the last."""

    def forge(draft: Draft) -> str:
        members = compact_json(getattr(draft, place))
        octets = members[:-1] + b"," + compact_json({name: last(draft)})[1:]
        if place == "header":
            return draft.seal_octets(header=octets)
        return draft.seal_octets(payload=octets)

    return forge


def raw_claim(name: str, text: bytes) -> Forge:
    """Have a claim whose value is written as this text, which need not be JSON."""

    def forge(draft: Draft) -> str:
        draft.claims.pop(name, None)
        payload = compact_json(draft.claims)[:-1] + b',"' + name.encode() + b'":' + text + b"}"
        return draft.seal_octets(payload=payload)

    return forge


def unsigned(alg: str) -> Forge:
    """Have this ``alg`` in the header and an empty signature."""

    def forge(draft: Draft) -> str:
        draft.header["alg"] = alg
        first, second, _ = draft.segments()
        return f"{first}.{second}."

    return forge


def hmac_keyed_with(key: Callable[[KeyPair], bytes]) -> Forge:
    """Have HS256 whose secret is something public: the well-known confusion of algorithms."""

    def forge(draft: Draft) -> str:
        draft.header["alg"] = "HS256"
        first, second, _ = draft.segments()
        tag = hmac.new(key(draft.pair), f"{first}.{second}".encode("ascii"), sha256).digest()
        return f"{first}.{second}.{base64url(tag).decode('ascii')}"

    return forge


def encoded(encoding: Encoding) -> Callable[[KeyPair], bytes]:
    """Return a function that writes a public key in this encoding."""

    def encode(pair: KeyPair) -> bytes:
        key = pair.public.get_op_key("verify")
        octets: bytes = key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        return octets

    return encode
