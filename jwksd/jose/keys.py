"""A key: its public JWK, its private half while it has one, its lifecycle times.

Laws of this module:
1. What is published is an allow-list (``Algorithm.members``), never "all but the private members".
2. The published JWK is written once, as JSON text, where the key is made, and so is the tag of the
   document with it alone. The document itself is put together each time somebody asks for it: most
   keys are only ever part of the set.
3. A destroyed private half is gone from the object; it is not merely flagged.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from jwcrypto.jwk import JWK

from jwksd.errors import PrivateHalfDestroyed
from jwksd.jose.algorithms import ALGORITHMS, Algorithm
from jwksd.jose.encoding import base64url
from jwksd.jose.keysets import Document, document, single_body
from jwksd.jose.signatures import SIGNERS, Native, public_members


class PublicJWK(JWK):  # type: ignore[misc]  # jwcrypto has no annotations
    """A JWK that holds public members only and hashes in constant time.

    ``JWK.__hash__`` computes the thumbprint anew on every use in a set. Ours is the kid already, so
    its hash serves: equal keys have equal kids.
    """

    def __hash__(self) -> int:
        return hash(self.get("kid"))


def _template(names: Iterable[str]) -> str:
    """A JSON object with these members. Their values are base64url or names: nothing to escape."""
    return "{" + ",".join(f'"{name}":"%({name})s"' for name in names) + "}"


_THUMBPRINTS = {row.kty: _template(row.required) for row in ALGORITHMS.values()}
_PUBLISHED = {
    row.kty: _template(("kty", "use", "alg", "kid", *row.members)) for row in ALGORITHMS.values()
}


class KeyPair:
    """A fresh key with its private half, ready to sign.

    Making one touches no randomness: cryptography's private key comes in as an argument, and
    belongs to the pair from then on. Its kid is the RFC 7638 SHA-256 thumbprint, base64url, 43
    characters.
    """

    __slots__ = ("_algorithm", "_private", "_sign", "alg", "etag", "head", "kid", "member")

    def __init__(self, private: Native, algorithm: Algorithm) -> None:
        kty, alg = algorithm.kty, algorithm.name
        members = {"kty": kty, "use": "sig", "alg": alg, **public_members(private, algorithm)}
        thumbprint = sha256((_THUMBPRINTS[kty] % members).encode("ascii")).digest()
        self.kid = members["kid"] = base64url(thumbprint).decode("ascii")
        self.alg = alg
        self.member = (_PUBLISHED[kty] % members).encode("ascii")
        """The public JWK, a member of a key set, as JSON text."""
        self.etag = document(single_body(self.member)).etag
        self.head: bytes | None = None
        """Where ``tokens`` keeps the encoded default header of this key."""
        self._algorithm = algorithm
        self._private: Native | None = private
        self._sign = SIGNERS[alg]

    @classmethod
    def of_jwk(cls, private: JWK, algorithm: Algorithm) -> "KeyPair":
        """The pair of a private JWK. What jwcrypto raises where it holds no such key is passed on.

        Public members of the JWK are not looked at, save by jwcrypto: OpenSSL has them anew.
        """
        return cls(private.get_op_key("sign"), algorithm)

    @property
    def public(self) -> PublicJWK:
        """The public JWK, made anew at every call."""
        return _read(self.member)

    @property
    def document(self) -> Document:
        """The key set with this key alone, made anew at every call."""
        return Document(single_body(self.member), self.etag)

    def published(self, created: int, expires: int | None = None) -> "PublishedKey":
        """The public half, as it is published from ``created`` on."""
        return PublishedKey(self.kid, self.alg, self.member, self.etag, created, expires)

    def __enter__(self) -> "KeyPair":
        """Use the private half in a ``with`` block, at whose end it is destroyed."""
        return self

    def __exit__(self, *_: object) -> None:
        self._private = None

    def __repr__(self) -> str:
        state = "destroyed" if self._private is None else "ready"
        return f"<KeyPair {self.alg} {self.kid} {state}>"

    def sign(self, signing_input: bytes) -> bytes:
        """The raw signature over a JWS signing input (RFC 7515 §5.1).

        Raises:
            PrivateHalfDestroyed: after ``destroy``.
        """
        return self._sign(self._held(), signing_input)

    def self_signed(self, name: str, now: int) -> bytes:
        """A DER certificate for this key by this key, valid for a day from ``now`` (RFC 5280)."""
        key = self._held()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begin = datetime.fromtimestamp(now, UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=1))
        )
        # EdDSA has its hash built in.
        digest = None if self._algorithm.kty == "OKP" else SHA256()
        certificate: bytes = builder.sign(key, digest).public_bytes(Encoding.DER)
        return certificate

    def private_text_in_the_clear(self) -> bytes:
        """The private JWK as JSON, for an envelope and nothing else.

        Raises:
            PrivateHalfDestroyed: after ``destroy``.
        """
        text: str = JWK.from_pyca(self._held()).export_private()
        return text.encode("ascii")

    def _held(self) -> Native:
        if self._private is None:
            raise PrivateHalfDestroyed(f"key {self.kid} cannot sign: its private half is gone")
        return self._private

    def destroy(self) -> None:
        """Let go of the private half. A second call does nothing."""
        self._private = None


class PublishedKey:
    """A key as it is published: its public JWK, as JSON text, and its times.

    ``etag`` is that of the document with this key alone. ``created`` and ``expires`` are
    NumericDates in whole seconds. The key is live while ``now < expires``; None is without end.
    Keys do not change.
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
        """A key of which a store has kept the published JWK."""
        return cls(kid, alg, member, document(single_body(member)).etag, created, expires)

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
        """The same key, with another end."""
        if expires == self.expires:
            return self
        return PublishedKey(self.kid, self.alg, self.member, self.etag, self.created, expires)


def _read(member: bytes) -> PublicJWK:
    return PublicJWK(**json.loads(member))
