"""A key: its public JWK, its private half while it has one, its lifecycle times.

Laws of this module:
1. What is published is an allow-list (``Algorithm.members``), never "all but the private members".
2. The document of a key is built once, where the key is made, and never again.
3. A destroyed private half is gone from the object; it is not merely flagged.
"""

import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from jwcrypto.jwk import JWK

from jwksd.algorithms import Algorithm
from jwksd.documents import Document, key_set
from jwksd.errors import PrivateHalfDestroyed


class PublicJWK(JWK):  # type: ignore[misc]  # jwcrypto has no annotations
    """A JWK that holds public members only and hashes in constant time.

    ``JWK.__hash__`` computes the thumbprint anew on every use in a set. Ours is the kid already, so
    its hash serves: equal keys have equal kids.
    """

    def __hash__(self) -> int:
        return hash(self.get("kid"))


def public_jwk(private: JWK, algorithm: Algorithm) -> PublicJWK:
    """The published form of a key: ``kty``, ``use``, ``alg``, ``kid`` and the public members.

    The kid is the RFC 7638 SHA-256 thumbprint, base64url, 43 characters.
    """
    public = {name: private[name] for name in algorithm.members}
    return PublicJWK(
        kty=algorithm.kty, use="sig", alg=algorithm.name, kid=private.thumbprint(), **public
    )


class KeyPair:
    """A fresh key with its private half, ready to sign.

    Making one touches no randomness: the private JWK comes in as an argument, and belongs to the
    pair from then on.
    """

    __slots__ = ("_private", "_signer", "alg", "document", "kid", "public")

    def __init__(self, private: JWK, algorithm: Algorithm) -> None:
        self.alg = algorithm.name
        self.public = public_jwk(private, algorithm)
        self.kid: str = self.public["kid"]
        member = json.dumps(dict(self.public), separators=(",", ":")).encode("ascii")
        self.document = key_set([member])
        self._private: JWK | None = private
        self._signer = algorithm.signer()

    def published(self, created: int, expires: int | None = None) -> "Key":
        """The public half, as it is published from ``created`` on."""
        return Key(self.public, self.document, created, expires)

    def __repr__(self) -> str:
        state = "destroyed" if self._private is None else "ready"
        return f"<KeyPair {self.alg} {self.kid} {state}>"

    def sign(self, signing_input: bytes) -> bytes:
        """The raw signature over a JWS signing input (RFC 7515 §5.1).

        Raises:
            PrivateHalfDestroyed: after ``destroy``.
        """
        signature: bytes = self._signer.sign(self._held(), signing_input)
        return signature

    def self_signed(self, name: str, now: int) -> bytes:
        """A DER certificate for this key by this key, valid for a day from ``now`` (RFC 5280)."""
        key = self._held().get_op_key("sign")
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
        digest = None if self.public["kty"] == "OKP" else SHA256()
        certificate: bytes = builder.sign(key, digest).public_bytes(Encoding.DER)
        return certificate

    def private_text_in_the_clear(self) -> bytes:
        """The private JWK as JSON, for an envelope and nothing else.

        Raises:
            PrivateHalfDestroyed: after ``destroy``.
        """
        text: str = self._held().export_private()
        return text.encode("ascii")

    def _held(self) -> JWK:
        if self._private is None:
            raise PrivateHalfDestroyed(f"key {self.kid} cannot sign: its private half is gone")
        return self._private

    def destroy(self) -> None:
        """Let go of the private half. A second call does nothing."""
        self._private = None


class Key:
    """A key as it is published: public members, the document with it alone, and its times.

    ``created`` and ``expires`` are NumericDates in whole seconds. The key is live while
    ``now < expires``; None is without end. Keys do not change.
    """

    __slots__ = ("_public", "alg", "created", "document", "expires", "kid")

    def __init__(
        self, public: PublicJWK, document: Document, created: int, expires: int | None
    ) -> None:
        self._public: PublicJWK | None = public
        self.kid: str = public["kid"]
        self.alg: str = public.get("alg", "")
        self.document = document
        self.created = created
        self.expires = expires

    @classmethod
    def stored(cls, kid: str, alg: str, member: bytes, created: int, expires: int | None) -> "Key":
        """A key whose JWK is built when somebody needs it: most are only ever published."""
        key = cls.__new__(cls)
        key._public, key.kid, key.alg = None, kid, alg
        key.document, key.created, key.expires = key_set([member]), created, expires
        return key

    @property
    def is_built(self) -> bool:
        """Whether its JWK is there already."""
        return self._public is not None

    @property
    def public(self) -> PublicJWK:
        """Its JWK."""
        if self._public is None:
            self._public = PublicJWK(**json.loads(bytes(self.document.members)))
        return self._public

    def ending(self, expires: int | None) -> "Key":
        """The same key, with another end."""
        if expires == self.expires:
            return self
        members = bytes(self.document.members)
        return Key.stored(self.kid, self.alg, members, self.created, expires)
