"""The table of signature algorithms: what a key for each is made of, and what of it is published.

Names are those of the IANA registry "JSON Web Signature and Encryption Algorithms" (RFC 7518 §3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MIN_RSA_BITS = 2048
"""RFC 7518 §3.3: a key of size 2048 bits or larger MUST be used."""

MAX_RSA_BITS = 8192
"""Above this a single key takes minutes to make, and many verifiers refuse it."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One signature algorithm.

    ``members`` are the public JWK members of its key type, in the order in which they are
    published (RFC 7518 §6).
    """

    name: str
    kty: str
    members: tuple[str, ...]


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {row.name: row for row in (Algorithm("RS256", "RSA", ("n", "e")),)}
)
