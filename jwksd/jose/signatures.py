"""Signatures and public members of cryptography's own private keys, without jwcrypto.

jwcrypto makes both from a private JWK. For an EC or OKP key that costs several times what OpenSSL
takes, and it keeps the private half in two places.

1. Each signature has the raw form of its RFC, and jwcrypto's ``JWA`` verifies it.
2. Each public member is written exactly as jwcrypto writes it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256K1,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jwksd.jose.algorithms import ALGORITHMS, Algorithm
from jwksd.jose.encoding import base64url

Native = Any
"""A private key of cryptography: ``RSAPrivateKey``, ``Ed25519PrivateKey`` and so on."""

Sign = Callable[[Native, bytes], bytes]
"""Makes the raw signature of a key over a JWS signing input (RFC 7515 §5.1)."""

CURVES: Mapping[str, EllipticCurve] = MappingProxyType(
    {
        "P-256": SECP256R1(),
        "P-384": SECP384R1(),
        "P-521": SECP521R1(),
        "secp256k1": SECP256K1(),
    }
)
"""The curves of EC keys, by their JWK names (RFC 7518 §6.2.1.1, RFC 8812 §3.1)."""

_HASHES = {"256": SHA256(), "384": SHA384(), "512": SHA512(), "56K": SHA256()}


def public_members(key: Native, algorithm: Algorithm) -> dict[str, str]:
    """What a JWK says of the public half, beside its key type (RFC 7518 §6, RFC 8037, RFC 9964)."""
    return _MEMBERS[algorithm.kty](key, algorithm)


def _rsa_members(key: RSAPrivateKey, algorithm: Algorithm) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"n": _unsigned(numbers.n), "e": _unsigned(numbers.e)}


def _ec_members(key: EllipticCurvePrivateKey, algorithm: Algorithm) -> dict[str, str]:
    """Split the uncompressed point: one octet, then x and y, each as long as the curve's field."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    middle = len(point) // 2 + 1
    return {
        "crv": str(algorithm.crv),
        "x": _text(point[1:middle]),
        "y": _text(point[middle:]),
    }


def _okp_members(key: Native, algorithm: Algorithm) -> dict[str, str]:
    return {"crv": str(algorithm.crv), "x": _text(key.public_key().public_bytes_raw())}


def _akp_members(key: Native, algorithm: Algorithm) -> dict[str, str]:
    return {"pub": _text(key.public_key().public_bytes_raw())}


def _unsigned(number: int) -> str:
    """Write a number as Base64urlUInt: in as few octets as it needs (RFC 7518 §2)."""
    return _text(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _text(octets: bytes) -> str:
    return base64url(octets).decode("ascii")


_MEMBERS: Mapping[str, Callable[[Native, Algorithm], dict[str, str]]] = {
    "RSA": _rsa_members,
    "EC": _ec_members,
    "OKP": _okp_members,
    "AKP": _akp_members,
}


def _rsa(padding: AsymmetricPadding, digest: HashAlgorithm) -> Sign:
    def sign(key: RSAPrivateKey, signing_input: bytes) -> bytes:
        return key.sign(signing_input, padding, digest)

    return sign


def _ec(digest: HashAlgorithm, curve: EllipticCurve) -> Sign:
    """Sign with r and s side by side, each as long as the curve's order (RFC 7518 §3.4)."""
    scheme, size = ECDSA(digest), (curve.key_size + 7) // 8

    def sign(key: EllipticCurvePrivateKey, signing_input: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(signing_input, scheme))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def _plain(key: Native, signing_input: bytes) -> bytes:
    """Sign with EdDSA or ML-DSA, whose hash is built in (RFC 8037 §3.1, RFC 9964 §4)."""
    signature: bytes = key.sign(signing_input)
    return signature


def _signer(algorithm: Algorithm) -> Sign:
    if algorithm.kty not in ("RSA", "EC"):
        return _plain
    digest = _HASHES[algorithm.name[-3:]]
    if algorithm.kty == "EC":
        return _ec(digest, CURVES[str(algorithm.crv)])
    # RFC 7518 §3.5: the salt is as long as the hash.
    salted = PSS(MGF1(digest), digest.digest_size)
    return _rsa(salted if algorithm.name.startswith("PS") else PKCS1v15(), digest)


SIGNERS: Mapping[str, Sign] = MappingProxyType(
    {name: _signer(algorithm) for name, algorithm in ALGORITHMS.items()}
)
"""How a key of each algorithm signs. Paddings and hashes are made once, here."""
