"""Leaks: a byte search for private keys in whatever was written to a disk.

Three kinds of traces are looked for:
1. what any private key in the clear has around it: members of a JWK, PEM and DER;
2. the private halves that the run knows, because it holds the key-encryption key, and that key;
3. any text that could be the private half of a P-256 key, and belongs to a published key. This
   finds those that nobody outside the server has ever known.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from jwcrypto.common import base64url_decode, base64url_encode

from tests.proofs.crash.violation import demand
from tests.support.keys import PRIVATE_MEMBERS

_MARKS = re.compile(
    rb"[\"'](?:" + "|".join(sorted(PRIVATE_MEMBERS)).encode() + rb")\\*[\"']\s*:"
    rb"|PRIVATE KEY"
    rb"|\x02\x01\x01\x04\x20"  # SEC 1: version 1, 32 octets
    rb"|\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"  # PKCS #8: RSA
    rb"|\x02\x01\x00\x02\x82\x01\x01\x00"  # PKCS #1: version 0, 2048 bits
)
_CANDIDATE = re.compile(rb"(?<![\w-])[\w-]{43,46}(?![\w-])")
_OCTETS = 43
"""The length of 32 octets in base64url. A database may put a length before, which looks alike."""


class Leaks:
    """What is known to be private, and the search for it."""

    def __init__(self) -> None:
        self.bytes_searched = 0
        self.secrets: dict[str, str] = {}
        self._needles: dict[bytes, str] = {}
        self._published: set[bytes] = set()
        self._tried: set[bytes] = set()

    def know(self, secret: str, name: str) -> None:
        """Look for this from now on: 32 octets in base64url, and what they are."""
        if secret not in self.secrets:
            self.secrets[secret] = name
            self._needles |= dict.fromkeys(forms(secret), name)

    def publish(self, coordinates: Iterable[str]) -> None:
        """The ``x`` of public keys whose private halves must be nowhere."""
        self._published |= {x.encode() for x in coordinates}

    def search(self, files: Iterable[Path]) -> None:
        """Look through whole files.

        Raises:
            Violation: there is something private in one of them.
        """
        for path in files:
            try:
                octets = path.read_bytes()
            except FileNotFoundError:  # PostgreSQL is at work meanwhile
                continue
            self.bytes_searched += len(octets)
            found = self.find(octets)
            demand(found is None, f"{path} holds {found}")

    def find(self, octets: bytes) -> str | None:
        """What is private in these octets, or None."""
        mark = _MARKS.search(octets)
        if mark is not None:
            return f"the mark of a private key, {mark[0]!r}"
        for needle, name in self._needles.items():
            if needle in octets:
                return f"{name}, in the form {needle!r}"
        return self._find_unknown(octets)

    def _find_unknown(self, octets: bytes) -> str | None:
        for text in set(_CANDIDATE.findall(octets)):
            for start in range(len(text) - _OCTETS + 1):
                candidate = text[start : start + _OCTETS]
                if candidate not in self._tried and _public(candidate) in self._published:
                    return "the private half of a published key"
                self._tried.add(candidate)
        return None


def forms(secret: str) -> Iterator[bytes]:
    """How 32 octets may have been written."""
    octets: bytes = base64url_decode(secret)
    yield octets
    yield octets[::-1]
    yield secret.encode()
    yield base64.b64encode(octets).rstrip(b"=")
    yield octets.hex().encode()
    yield octets.hex().upper().encode()


def _public(candidate: bytes) -> bytes | None:
    """The ``x`` of the public key, if this is the private half of one."""
    try:
        number = int.from_bytes(base64.urlsafe_b64decode(candidate + b"="))
        x = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers().x
    except ValueError:
        return None
    encoded: str = base64url_encode(x.to_bytes(32))
    return encoded.encode()
