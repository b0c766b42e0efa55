"""Private keys from elsewhere: PEM or JWK text in, a checked key pair out."""

import json

from jwcrypto.jwk import JWK

from jwksd.algorithms import ALGORITHMS, MAX_RSA_BITS, MIN_RSA_BITS, Algorithm
from jwksd.keys import KeyPair

_MESSAGE = b"a key that cannot sign and verify is refused"


def read_private_key(text: bytes, alg: str | None) -> KeyPair:
    """A key pair for an algorithm, from a PEM (PKCS #8, PKCS #1, SEC 1) or a JWK (RFC 7517).

    Args:
        alg: the algorithm that the key is for; None takes the JWK's own.

    Raises:
        ValueError: there is no private key, or none that is fit for the algorithm. The text of the
            error never quotes the key.
    """
    private = _from_jwk(text) if text.lstrip().startswith(b"{") else _from_pem(text)
    if not private.has_private:
        raise ValueError("it holds no private key: a public one cannot sign")
    algorithm = _algorithm(private.get("alg"), alg)
    _check_kind(private, algorithm)
    return _checked_pair(private, algorithm)


def _from_jwk(text: bytes) -> JWK:
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    try:
        private = JWK(**members)
        private.get_op_key("verify")
    except Exception:  # jwcrypto raises many things, and some quote what they could not read
        raise ValueError("it is no JWK of a key pair (RFC 7517)") from None
    return private


def _from_pem(text: bytes) -> JWK:
    try:
        return JWK.from_pem(text)
    except Exception:  # as above
        raise ValueError("it is neither a JWK nor an unencrypted PEM of a private key") from None


def _algorithm(own: str | None, wanted: str | None) -> Algorithm:
    name = wanted or own
    if name is None:
        raise ValueError("it does not say its algorithm: give --as, such as --as RS256")
    if name not in ALGORITHMS:
        raise ValueError(f"{name!r:.60} is not known; known are {', '.join(ALGORITHMS)}")
    if own is not None and own != name:
        raise ValueError(f"it is for {own!r:.60}, not for {name}")
    return ALGORITHMS[name]


def _check_kind(private: JWK, algorithm: Algorithm) -> None:
    kind = (private["kty"], private.get("crv"))
    if kind != (algorithm.kty, algorithm.crv):
        wanted = " ".join(filter(None, (algorithm.kty, algorithm.crv)))
        found = " ".join(filter(None, kind))
        raise ValueError(f"{algorithm.name} takes {wanted} keys; this is a key of {found}")
    if algorithm.kty == "RSA":
        bits = private.get_op_key("verify").key_size
        if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
            raise ValueError(
                f"it has {bits} bits; RSA keys must have {MIN_RSA_BITS} to {MAX_RSA_BITS}"
                " (RFC 7518 §3.3)"
            )


def _checked_pair(private: JWK, algorithm: Algorithm) -> KeyPair:
    """The pair, if its halves belong together."""
    bare = JWK(**{k: v for k, v in private.items() if k not in ("use", "key_ops", "alg", "kid")})
    if algorithm.kty == "AKP":
        bare["alg"] = algorithm.name
    try:
        pair = KeyPair.of_jwk(bare, algorithm)
        signature = pair.sign(_MESSAGE)
        # With the public members that were given: those of the pair fit by their making.
        algorithm.verifier().verify(bare, _MESSAGE, signature)
    except Exception:  # as above
        raise ValueError("its private half does not belong to its public half") from None
    return pair
