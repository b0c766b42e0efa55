"""Keychain: private keys at rest, each in an envelope under a key-encryption key (KEK).

An envelope is a compact JWE (RFC 7516 §7.1) with ``A256GCMKW`` and ``A256GCM``. Its ``kid`` is the
RFC 7638 thumbprint of its KEK. The first KEK of a chain encrypts; all of them decrypt.

A KEK is written as ``jwksd-kek-`` and 32 octets in base64url, so that scanners for secrets find it.
"""

import re
from collections.abc import Sequence

from jwcrypto.common import base64url_decode, base64url_encode
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from jwksd.errors import EnvelopeUnreadable
from jwksd.jose.encoding import compact_json
from jwksd.jose.jsontext import parse_object

PREFIX = "jwksd-kek-"
_KEK = re.compile(PREFIX + "([A-Za-z0-9_-]{43})")
_ALG, _ENC = "A256GCMKW", "A256GCM"


def write_kek(kek: JWK) -> str:
    """Write a KEK as text. The text is a secret."""
    return f"{PREFIX}{kek['k']}"


def read_keks(text: str) -> list[JWK]:
    """Read the KEKs in a text, separated by white space; ``#`` begins a comment.

    Raises:
        ValueError: there is something else, or no KEK. The error names the line and never quotes.
    """
    keks = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.partition("#")[0].split():
            match = _KEK.fullmatch(word)
            if match is None:
                raise ValueError(f"line {number} is no key such as jwksd kek new makes")
            keks.append(JWK(kty="oct", k=match[1]))
    if not keks:
        raise ValueError("there is no key in it; jwksd kek new makes one")
    return keks


class Keychain:
    """A list of KEKs: the first encrypts, all decrypt. ``first`` is the kid of that one."""

    def __init__(self, keks: Sequence[JWK]) -> None:
        self._by_kid = {kek.thumbprint(): kek for kek in keks}
        self.first: str = keks[0].thumbprint()

    def __repr__(self) -> str:
        return f"<Keychain {', '.join(self._by_kid)}>"

    def seal(self, private: bytes) -> str:
        """Encrypt a text under the first KEK, and return the envelope."""
        header = {"alg": _ALG, "enc": _ENC, "kid": self.first}
        envelope = JWE(private, compact_json(header).decode("ascii"))
        envelope.add_recipient(self._by_kid[self.first])
        sealed: str = envelope.serialize(compact=True)
        return sealed

    def open(self, envelope: str) -> bytes:
        """Decrypt an envelope, and return its text.

        Raises:
            EnvelopeUnreadable: its KEK is not in the chain, or it is damaged.
        """
        kid = kek_of(envelope)
        kek = self._by_kid.get(kid or "")
        if kek is None:
            raise EnvelopeUnreadable(
                f"it is encrypted under key-encryption key {kid}, which was not given;"
                f" given are {', '.join(self._by_kid)}"
            )
        opened = JWE(algs=[_ALG, _ENC])
        try:
            # Two spellings of the same octets would be two envelopes (RFC 4648 §3.5).
            if any(base64url_encode(base64url_decode(x)) != x for x in envelope.split(".")):
                raise ValueError("not base64url as it should be")
            opened.deserialize(envelope, kek)
        except Exception:  # jwcrypto raises many things, and some quote what they could not read
            raise EnvelopeUnreadable(
                f"its envelope is damaged: key-encryption key {kid} does not open it"
            ) from None
        plaintext: bytes = opened.payload
        return plaintext


def kek_of(envelope: str) -> str | None:
    """Return the kid of the KEK that an envelope names, or None where none can be read."""
    try:
        octets = base64url_decode(envelope.partition(".")[0])
        kid = parse_object(octets, "the header", token=True).get("kid")
    except ValueError:
        return None
    return kid if isinstance(kid, str) else None
