"""A second reading of the RFCs: signatures verified with cryptography's primitives alone."""

from base64 import urlsafe_b64decode
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
    "secp256k1": (ec.SECP256K1(), 32, "ES256K"),
}
MLDSA = {
    "ML-DSA-44": (mldsa.MLDSA44PublicKey, 1312, 2420),
    "ML-DSA-65": (mldsa.MLDSA65PublicKey, 1952, 3309),
    "ML-DSA-87": (mldsa.MLDSA87PublicKey, 2592, 4627),
}


def octets(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def integer(text: str) -> int:
    return int.from_bytes(octets(text), "big")


def verify(jwk: dict[str, Any], signing_input: bytes, signature: bytes) -> None:
    """RFC 7518, 8037, 8812 and 9864, on the primitives alone. Raises InvalidSignature."""
    alg = jwk["alg"]
    if jwk["kty"] == "RSA":
        digest = HASHES[alg[2:]]
        scheme = (
            padding.PKCS1v15()
            if alg.startswith("RS")
            else padding.PSS(padding.MGF1(digest), digest.digest_size)
        )
        key = rsa.RSAPublicNumbers(integer(jwk["e"]), integer(jwk["n"])).public_key()
        key.verify(signature, signing_input, scheme, digest)
    elif jwk["kty"] == "EC":
        curve, size, _ = CURVES[jwk["crv"]]
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        digest = HASHES["256" if alg == "ES256K" else alg[2:]]
        point = ec.EllipticCurvePublicNumbers(integer(jwk["x"]), integer(jwk["y"]), curve)
        point.public_key().verify(encode_dss_signature(r, s), signing_input, ec.ECDSA(digest))
    elif jwk["kty"] == "OKP":
        kind = {"Ed25519": ed25519.Ed25519PublicKey, "Ed448": ed448.Ed448PublicKey}[jwk["crv"]]
        kind.from_public_bytes(octets(jwk["x"])).verify(signature, signing_input)
    else:
        MLDSA[alg][0].from_public_bytes(octets(jwk["pub"])).verify(signature, signing_input)
