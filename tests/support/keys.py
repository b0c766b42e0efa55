"""Keys that cost nothing, in the order asked for, and a search for private members."""

import re
from functools import cache
from itertools import count
from math import isqrt

from cryptography.hazmat.primitives.asymmetric import rsa
from jwcrypto.jwk import JWK
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from jwksd.errors import TooManyWaiting
from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair

NOW = 1_800_000_000
"""Where the fake clock starts, a NumericDate."""


PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


_PRIVATE = re.compile(
    rb'\\*["\'](' + "|".join(sorted(PRIVATE_MEMBERS)).encode() + rb""")\\*["']\s*:|PRIVATE KEY"""
)


def assert_public(octets: bytes, where: str) -> None:
    """No member of a private JWK, however quoted, and no PEM of one."""
    found = _PRIVATE.search(octets)
    assert found is None, f"{where} holds {found[0] if found else b''!r}"


@cache
def _primes(number: int) -> tuple[int, int]:
    """Those of an RSA key of 2048 bits."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048).private_numbers()
    return key.p, key.q


def _prime(number: int) -> int:
    return _primes(number // 2)[number % 2]


@cache
def rsa_private(number: int) -> rsa.RSAPrivateKey:
    """An RSA key; the same one in all of a test run for the same number.

    Each is made of two of a few primes: hundreds of keys in the time that a few take.
    """
    larger = 1 + (isqrt(8 * number + 1) - 1) // 2
    p, q = _prime(number - larger * (larger - 1) // 2), _prime(larger)
    e, phi = 65_537, (p - 1) * (q - 1)
    d = pow(e, -1, phi)
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    private = rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, p * q))
    return private.private_key(unsafe_skip_rsa_key_validation=True)


@cache
def private_jwk(number: int) -> JWK:
    """``rsa_private`` as a JWK."""
    private: JWK = JWK.from_pyca(rsa_private(number))
    private.unsafe_skip_rsa_key_validation = True
    return private


def key_pair(number: int = 0) -> LocalKeyPair:
    """A fresh pair around ``private_jwk``."""
    return LocalKeyPair.of_jwk(private_jwk(number), ALGORITHMS["RS256"])


@implementer(IKeySource)
class KeysInOrder:
    """A source that answers at once, with ``key_pair(0)``, ``key_pair(1)`` and so on."""

    def __init__(self) -> None:
        self._numbers = count()

    def take_now(self, alg: str) -> KeyPair | None:
        return key_pair(next(self._numbers))

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return succeed(self.take_now(alg))


class NothingReady:
    """The half of a source in which every key has to be waited for."""

    def take_now(self, alg: str) -> KeyPair | None:
        """None, always."""
        return None


class FullSource(NothingReady):
    """A source with a full queue."""

    def take(self, alg: str) -> "Deferred[KeyPair]":
        raise TooManyWaiting(1, "a key", 7)


class BrokenSource(NothingReady):
    """A source with a bug."""

    def take(self, alg: str) -> "Deferred[KeyPair]":
        raise RuntimeError("secret")
