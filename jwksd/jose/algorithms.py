"""The table of signature algorithms: the members of a key for each, and which are published.

Names are those of the IANA registry "JSON Web Signature and Encryption Algorithms": RFC 7518 §3.1,
RFC 8812 (ES256K), RFC 8037 (EdDSA), RFC 9864 (Ed25519, Ed448) and ML-DSA for JOSE (AKP keys).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jwcrypto.jwa import JWA

MIN_RSA_BITS = 2048
"""RFC 7518 §3.3: a key of size 2048 bits or larger MUST be used."""

MAX_RSA_BITS = 8192
"""A key with more bits takes minutes to make, and many verifiers refuse it."""

_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "AKP": ("pub",)}


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One signature algorithm. ``crv`` is the only curve of its EC or OKP keys."""

    name: str
    kty: str
    crv: str | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The public members of its keys, in the order of publication (RFC 7518 §6)."""
        return _MEMBERS[self.kty]

    @property
    def required(self) -> tuple[str, ...]:
        """The members in the thumbprint of its keys, sorted (RFC 7638 §3.2, RFC 9964 §6)."""
        always = ("alg", "kty") if self.kty == "AKP" else ("kty",)
        return tuple(sorted((*always, *self.members)))

    @property
    def is_quick(self) -> bool:
        """Whether a key is made in microseconds. An RSA key takes a tenth of a second."""
        return self.kty != "RSA"

    def verifier(self) -> Any:
        """Return jwcrypto's object whose ``verify`` checks a raw signature (RFC 7515 §5.2)."""
        return JWA.signing_alg(self.name)


_TABLE = (
    *(Algorithm(f"{family}{bits}", "RSA") for family in ("RS", "PS") for bits in (256, 384, 512)),
    Algorithm("ES256", "EC", "P-256"),
    Algorithm("ES384", "EC", "P-384"),
    Algorithm("ES512", "EC", "P-521"),
    Algorithm("ES256K", "EC", "secp256k1"),
    Algorithm("EdDSA", "OKP", "Ed25519"),
    Algorithm("Ed25519", "OKP", "Ed25519"),
    Algorithm("Ed448", "OKP", "Ed448"),
    *(Algorithm(f"ML-DSA-{level}", "AKP") for level in (44, 65, 87)),
)

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({row.name: row for row in _TABLE})
"""Every algorithm that jwksd can sign with, by its name."""
