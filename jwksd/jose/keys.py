"""A key: its public JWK, what signs with its private half while there is one, its times.

Laws of this module:
1. What is published is an allow-list (``Algorithm.members``), never "all but the private members".
2. The published JWK is written once, as JSON text, where the key is made, and so is the tag of the
   document with it alone. The document itself is put together each time somebody asks for it: most
   keys are only ever part of the set.
3. A destroyed private half is gone from the object, and so is the callable that signed with it;
   neither is merely flagged.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import NoReturn

from jwcrypto.jwk import JWK

from jwksd.errors import PrivateHalfDestroyed
from jwksd.jose.algorithms import ALGORITHMS, Algorithm
from jwksd.jose.encoding import base64url
from jwksd.jose.keysets import Document, entity_tag, single_body


class PublicJWK(JWK):  # type: ignore[misc]  # jwcrypto has no annotations
    """A JWK that holds public members only and hashes in constant time.

    ``JWK.__hash__`` computes the thumbprint on every use in a set. Our kid is the thumbprint, so
    its hash is enough: equal keys have equal kids.
    """

    def __hash__(self) -> int:
        return hash(self.get("kid"))


def _template(names: Iterable[str]) -> str:
    """Return a template of a JSON object with these members. Their values are base64url or names
    of curves and algorithms, in which nothing has to be escaped."""
    return "{" + ",".join(f'"{name}":"%({name})s"' for name in names) + "}"


_THUMBPRINTS = {row.kty: _template(row.required) for row in ALGORITHMS.values()}
_PUBLISHED = {
    row.kty: _template(("kty", "use", "alg", "kid", *row.members)) for row in ALGORITHMS.values()
}


class KeyPair:
    """A key that can sign. Its private half is here, or elsewhere: in a token of PKCS #11, a KMS.

    Args:
        public_members: the JWK members of its public half, ``Algorithm.members`` by name, each a
            base64url text or a curve's name. Others are ignored.
        sign: makes the raw signature over a JWS signing input (RFC 7515 §5.1); may block.
        algorithm: what it signs with.
        is_slow: whether ``sign`` may take so long that it belongs on a worker thread.

    Its kid is the RFC 7638 SHA-256 thumbprint, base64url, 43 characters.
    """

    __slots__ = ("alg", "etag", "head", "is_slow", "kid", "member", "sign")

    def __init__(
        self,
        public_members: Mapping[str, str],
        sign: Callable[[bytes], bytes],
        algorithm: Algorithm,
        *,
        is_slow: bool = True,
    ) -> None:
        kty, alg = algorithm.kty, algorithm.name
        members = {**public_members, "kty": kty, "use": "sig", "alg": alg}
        thumbprint = sha256((_THUMBPRINTS[kty] % members).encode("ascii")).digest()
        self.kid = members["kid"] = base64url(thumbprint).decode("ascii")
        self.alg = alg
        self.is_slow = is_slow
        self.member = (_PUBLISHED[kty] % members).encode("ascii")
        """The public JWK, a member of a key set, as JSON text."""
        self.etag = entity_tag(single_body(self.member))
        self.head: bytes | None = None
        """Where ``tokens`` keeps the encoded default header of this key."""
        self.sign = sign
        """Make the raw signature over a signing input; after ``destroy``, raise
        PrivateHalfDestroyed. It is an attribute, not a method: each call more costs every token."""

    @property
    def public(self) -> PublicJWK:
        """The public JWK, made anew at every call."""
        return _read(self.member)

    @property
    def document(self) -> Document:
        """The key set with this key alone, made anew at every call."""
        return Document(single_body(self.member), self.etag)

    def published(self, created: int, expires: int | None = None) -> "PublishedKey":
        """Return the public half, as it is published from ``created`` on."""
        return PublishedKey(self.kid, self.alg, self.member, self.etag, created, expires)

    def __enter__(self) -> "KeyPair":
        """Use the private half in a ``with`` block, at whose end it is destroyed."""
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def __repr__(self) -> str:
        state = "destroyed" if getattr(self.sign, "func", None) is refuse else "ready"
        return f"<KeyPair {self.alg} {self.kid} {state}>"

    def destroy(self) -> None:
        """Drop the private half and whatever signs with it. A second call does nothing."""
        self.sign = partial(refuse, self.kid)


def refuse(kid: str, signing_input: bytes) -> NoReturn:
    """Stand where a key signed before it was destroyed. It is bound to the kid and not to the pair:
    that would be a circle, which only the garbage collector frees.

    Raises:
        PrivateHalfDestroyed: always.
    """
    raise PrivateHalfDestroyed(f"key {kid} cannot sign: its private half is gone")


class PublishedKey:
    """A key as it is published: its public JWK, as JSON text, and its times. It never changes.

    ``etag`` is that of the document with this key alone. ``created`` and ``expires`` are
    NumericDates in whole seconds. The key is live while ``now < expires``; where ``expires`` is
    None, it does not expire.
    """

    __slots__ = ("_public", "alg", "created", "etag", "expires", "kid", "member")

    def __init__(
        self, kid: str, alg: str, member: bytes, etag: bytes, created: int, expires: int | None
    ) -> None:
        self.kid, self.alg, self.member, self.etag = kid, alg, member, etag
        self.created, self.expires = created, expires
        self._public: PublicJWK | None = None

    @classmethod
    def stored(
        cls, kid: str, alg: str, member: bytes, created: int, expires: int | None
    ) -> "PublishedKey":
        """Return the key whose published JWK a store has kept."""
        return cls(kid, alg, member, entity_tag(single_body(member)), created, expires)

    @property
    def document(self) -> Document:
        """The key set with this key alone, made anew at every call."""
        return Document(single_body(self.member), self.etag)

    @property
    def public(self) -> PublicJWK:
        """Its JWK, built when somebody needs it: most keys are only ever published."""
        if self._public is None:
            self._public = _read(self.member)
        return self._public

    def ending(self, expires: int | None) -> "PublishedKey":
        """Return the same key with another expiry."""
        if expires == self.expires:
            return self
        return PublishedKey(self.kid, self.alg, self.member, self.etag, self.created, expires)


def _read(member: bytes) -> PublicJWK:
    return PublicJWK(**json.loads(member))
