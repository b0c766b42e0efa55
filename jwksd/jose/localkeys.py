"""LocalKeyPair: a key pair whose private half is in this process, as OpenSSL's key object.

What needs the private half itself, and not only a signature, is here and nowhere else: envelopes
for a database, and a certificate by the key for itself.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from jwcrypto.jwk import JWK

from jwksd.jose.algorithms import ALGORITHMS, Algorithm
from jwksd.jose.keys import KeyPair, refuse
from jwksd.jose.signatures import SIGNERS, Native, public_members


class LocalKeyPair(KeyPair):
    """A pair around a private key of cryptography, which belongs to the pair from then on.

    Making one uses no randomness. A signature by an RSA key is slow, others are not. Only ``sign``
    refers to the private key, so ``destroy`` has one reference to drop.
    """

    __slots__ = ()

    def __init__(self, private: Native, algorithm: Algorithm) -> None:
        super().__init__(
            public_members(private, algorithm),
            partial(SIGNERS[algorithm.name], private),
            algorithm,
            is_slow=not algorithm.is_quick,
        )

    @classmethod
    def of_jwk(cls, private: JWK, algorithm: Algorithm) -> "LocalKeyPair":
        """Return the pair of a private JWK. Pass on what jwcrypto raises if the JWK is not such.

        The public members are computed by OpenSSL; those of the JWK are read by jwcrypto only.
        """
        return cls(private.get_op_key("sign"), algorithm)

    def private_text_in_the_clear(self) -> bytes:
        """Return the private JWK as JSON, for an envelope and nothing else.

        Raises:
            PrivateHalfDestroyed: after ``destroy``.
        """
        text: str = JWK.from_pyca(self._held()).export_private()
        return text.encode("ascii")

    def self_signed(self, name: str, now: int) -> bytes:
        """Return a DER certificate for this key by this key, valid for a day from ``now``.

        RFC 5280; ``name`` is the common name of subject and issuer, ``now`` a NumericDate.

        Raises:
            PrivateHalfDestroyed: after ``destroy``.
        """
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
        digest = None if ALGORITHMS[self.alg].kty == "OKP" else SHA256()
        certificate: bytes = builder.sign(key, digest).public_bytes(Encoding.DER)
        return certificate

    def _held(self) -> Native:
        sign = cast("partial[bytes]", self.sign)  # read once: another thread may destroy the pair
        if sign.func is refuse:
            sign(b"")  # raises
        return sign.args[0]
