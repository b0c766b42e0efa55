"""What a verifier sees: answers with keys and their freshness, and the tokens it is to judge."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.proofs.simulation.source import ALG


def _decoded(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


class PublishedKey:
    """A public key as it was read from a document. It is what it is: compared by identity."""

    __slots__ = ("_key",)

    def __init__(self, x: str) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(_decoded(x))

    def verifies(self, text: str) -> bool:
        """Whether the signature of a compact JWS is by this key."""
        signed, _, signature = text.rpartition(".")
        try:
            self._key.verify(_decoded(signature), signed.encode())
        except InvalidSignature:
            return False
        return True


published_key = cache(PublishedKey)
"""One object for equal keys, so that verdicts can be remembered."""

Keys = Mapping[str, PublishedKey]


def parse_keys(body: bytes) -> Keys:
    """The keys that a strict verifier can use, by kid.

    Raises:
        ValueError: two have the same kid.
    """
    members = json.loads(body)["keys"]
    keys = {
        member["kid"]: published_key(member["x"])
        for member in members
        if (member["kty"], member["use"], member["alg"]) == ("OKP", "sig", ALG)
    }
    if len(keys) != len(members):
        raise ValueError(f"{len(members)} keys, of which a verifier can tell {len(keys)} apart")
    return keys


@dataclass(frozen=True)
class Freshness:
    """What a Cache-Control allows, in seconds (RFC 9111 §5.2.2.1, RFC 5861)."""

    max_age: int
    stale_while_revalidate: int
    stale_if_error: int

    @property
    def longest(self) -> int:
        return self.max_age + self.stale_while_revalidate + self.stale_if_error


@cache
def parse_freshness(cache_control: bytes) -> Freshness:
    """The directives of a Cache-Control field; what it does not name is 0."""
    directives = dict(
        part.strip().partition("=")[::2] for part in cache_control.decode().split(",")
    )
    names = ("max-age", "stale-while-revalidate", "stale-if-error")
    return Freshness(*(int(directives.get(name, 0)) for name in names))


@dataclass(frozen=True, slots=True)
class Answer:
    """A document as it comes over the wire; ``age`` is the Age field (RFC 9111 §5.1)."""

    keys: Keys
    freshness: Freshness
    age: int = 0


class Origin(Protocol):
    """Where verifiers fetch from: an issuer, or a cache before it."""

    def fetch(self) -> Answer | None:
        """The document now, or None when there is no answer."""


@dataclass(slots=True, eq=False)
class Sample:
    """A token of the run. Times but ``exp`` are true times.

    From ``deadline`` on nobody may accept it. Until ``excused_until`` a refusal is no fault: a
    revocation had its key sign before every cache could know it.
    """

    text: str
    kid: str
    key_number: int
    exp: int
    deadline: float
    excused_until: float = 0.0
    _verdicts: dict[PublishedKey, bool] = field(default_factory=dict)

    def verified_by(self, key: PublishedKey) -> bool:
        """Checked for real once for each key."""
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = key.verifies(self.text)
        return verdict
