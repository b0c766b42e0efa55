"""New private keys, made by OpenSSL in this process. Every call blocks until it is done."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA65PrivateKey,
    MLDSA87PrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key

from jwksd.jose.algorithms import Algorithm
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.jose.signatures import CURVES, Native

_KINDS: dict[str, Any] = {
    "Ed25519": Ed25519PrivateKey,
    "Ed448": Ed448PrivateKey,
    "ML-DSA-44": MLDSA44PrivateKey,
    "ML-DSA-65": MLDSA65PrivateKey,
    "ML-DSA-87": MLDSA87PrivateKey,
}
"""The classes of OKP and AKP keys, by curve or by algorithm."""


def generate(algorithm: Algorithm, rsa_bits: int) -> LocalKeyPair:
    """Make a new key, and sign with it once where the first signature takes long.

    Call it on a worker thread. ``rsa_bits`` is the size of RSA keys; other kinds have one size.
    """
    pair = LocalKeyPair(new_private_key(algorithm, rsa_bits), algorithm)
    if pair.is_slow:
        pair.sign(b"the first signature prepares the key, and is thrown away")
    return pair


def new_private_key(algorithm: Algorithm, rsa_bits: int) -> Native:
    """Make a private key of cryptography for an algorithm."""
    if algorithm.kty == "RSA":
        return generate_rsa_key(public_exponent=65537, key_size=rsa_bits)
    if algorithm.kty == "EC":
        return generate_ec_key(CURVES[str(algorithm.crv)])
    return _KINDS[algorithm.crv or algorithm.name].generate()
