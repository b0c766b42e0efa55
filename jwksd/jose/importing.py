"""Private keys from elsewhere: PEM or JWK text in, a checked key pair out."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any

from jwcrypto.jwk import JWK

from jwksd.jose.algorithms import ALGORITHMS, MAX_RSA_BITS, MIN_RSA_BITS, Algorithm
from jwksd.jose.jsontext import BadJson, parse_object
from jwksd.jose.localkeys import LocalKeyPair

_RSA_PRIVATE = {"p", "q", "dp", "dq", "qi"}
_KEY = {"kty", "crv", "n", "e", "d", "x", "y", "pub", "priv", "k", "oth"} | _RSA_PRIVATE
"""The members that hold key material (RFC 7518 §6, RFC 8037 §2, RFC 9964)."""

_MESSAGE = b"a key that cannot sign and verify is refused"


def read_private_key(text: bytes, alg: str | None) -> LocalKeyPair:
    """Read a key pair from a PEM (PKCS #8, PKCS #1, SEC 1) or a JWK (RFC 7517).

    Args:
        alg: the algorithm that the key is for; None takes the one that the JWK names.

    Raises:
        ValueError: there is no private key, or it does not fit the algorithm. The text of the error
            never quotes the key.
    """
    text = text.removeprefix(BOM_UTF8)
    if text.lstrip().startswith(b"{"):
        members = _members(text)
        _check_purpose(members)
        private, own = _from_jwk(members), members.get("alg")
    else:
        private = _from_pem(text)
        own = private.get("alg")
    if not private.has_private and not private.is_symmetric:
        raise ValueError("it holds no private key: a public one cannot sign")
    algorithm = _algorithm(own, alg)
    _check_kind(private, algorithm)
    return _checked_pair(private, algorithm)


def _members(text: bytes) -> dict[str, Any]:
    try:
        return parse_object(text, "the key")
    except BadJson:  # which quotes what it could not read
        raise ValueError("it is no JWK of a key pair (RFC 7517)") from None


def _check_purpose(members: Mapping[str, Any]) -> None:
    """Refuse a key that says that it is not for signing (RFC 7517 §4.2, §4.3)."""
    if members.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures: its use is not sig")
    operations = members.get("key_ops", ["sign"])
    if not isinstance(operations, list) or "sign" not in operations:
        raise ValueError("it is not for signing: its key_ops have no sign")


def _from_jwk(members: Mapping[str, Any]) -> JWK:
    """Make a JWK of the key material alone; ``kid``, ``x5c`` and others are left out."""
    if members.get("kty") == "RSA" and "d" in members and not members.keys() >= _RSA_PRIVATE:
        raise ValueError("it lacks p, q, dp, dq or qi (RFC 7518 §6.3.2): all of them are needed")
    names = _KEY | ({"alg"} if members.get("kty") == "AKP" else set())
    try:
        private = JWK(**{name: members[name] for name in members.keys() & names})
        private.get_op_key("verify")
    except Exception:  # jwcrypto raises many things, and some quote what they could not read
        raise ValueError("it is no JWK of a key pair (RFC 7517)") from None
    return private


def _from_pem(text: bytes) -> JWK:
    try:
        return JWK.from_pem(text)
    except Exception:  # as above
        raise ValueError("it is neither a JWK nor an unencrypted PEM of a private key") from None


def _algorithm(own: object, wanted: str | None) -> Algorithm:
    name = own if wanted is None else wanted
    if name is None:
        raise ValueError("it does not say its algorithm: give --as, such as --as RS256")
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise ValueError(f"alg {name!r:.60} is not known; known are {', '.join(ALGORITHMS)}")
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


def _checked_pair(private: JWK, algorithm: Algorithm) -> LocalKeyPair:
    """Make the pair, and check that its halves belong together: sign with it, and verify."""
    try:
        pair = LocalKeyPair.of_jwk(private, algorithm)
        signature = pair.sign(_MESSAGE)
        # Verify with the public members that were given; those of the pair are computed from its
        # private half.
        algorithm.verifier().verify(private, _MESSAGE, signature)
    except Exception:  # as above
        raise ValueError("its private half does not belong to its public half") from None
    return pair
