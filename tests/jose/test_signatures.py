"""Native keys: kid, member and signature are those that jwcrypto gives for the same key."""

import json
from collections.abc import Iterator
from functools import cache
from unittest import TestCase

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.common import base64url_encode
from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from jwksd.jose.algorithms import ALGORITHMS, Algorithm
from jwksd.jose.encoding import base64url, compact_json
from jwksd.jose.keys import KeyPair, PublicJWK
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.keysources.generating import generate

TEXT = b"header.payload"


@cache
def pair(name: str) -> KeyPair:
    """One key of each algorithm, for all of these tests."""
    return generate(ALGORITHMS[name], 2048)


def private_of(pair: KeyPair) -> JWK:
    """Its private JWK, as jwcrypto makes it."""
    return JWK(**json.loads(pair.private_text_in_the_clear()))


def member_of(private: JWK, algorithm: Algorithm) -> bytes:
    """The published member, all of it made by jwcrypto."""
    public = {name: private[name] for name in algorithm.members}
    named = {"kty": algorithm.kty, "use": "sig", "alg": algorithm.name}
    jwk = PublicJWK(**named, kid=private.thumbprint(), **public)
    return json.dumps(dict(jwk), separators=(",", ":")).encode()


class AgreementTests(TestCase):
    def each(self) -> Iterator[tuple[Algorithm, KeyPair]]:
        self.assertEqual(len(ALGORITHMS), 16)
        for name, algorithm in ALGORITHMS.items():
            with self.subTest(alg=name):
                yield algorithm, pair(name)

    def test_the_kid_is_the_one_that_jwcrypto_gives(self) -> None:
        """Its thumbprint of the same private key."""
        for _, made in self.each():
            self.assertEqual(made.kid, private_of(made).thumbprint())

    def test_the_member_is_the_one_that_jwcrypto_gives(self) -> None:
        """To the byte, and so is what is read back from it."""
        for algorithm, made in self.each():
            expected = member_of(private_of(made), algorithm)
            self.assertEqual(made.member, expected)
            self.assertEqual(dict(made.public), json.loads(expected))

    def test_jwcrypto_verifies_what_is_signed(self) -> None:
        """And refuses it for another text."""
        for algorithm, made in self.each():
            signature, verifier = made.sign(TEXT), JWA.signing_alg(algorithm.name)
            verifier.verify(made.public, TEXT, signature)
            with self.assertRaises(InvalidSignature):
                verifier.verify(made.public, TEXT + b"x", signature)

    def test_signatures_without_randomness_are_the_same(self) -> None:
        """PKCS #1 and EdDSA leave no choice; the others have the same length."""
        for algorithm, made in self.each():
            ours = made.sign(TEXT)
            theirs = JWA.signing_alg(algorithm.name).sign(private_of(made), TEXT)
            self.assertEqual(len(ours), len(theirs))
            if algorithm.name.startswith(("RS", "Ed")):
                self.assertEqual(ours, theirs)

    def test_a_private_jwk_makes_the_same_pair(self) -> None:
        """As importing and stores do; what it signs, the first one's public half verifies."""
        for algorithm, made in self.each():
            again = LocalKeyPair.of_jwk(private_of(made), algorithm)
            self.assertEqual((again.kid, again.document), (made.kid, made.document))
            algorithm.verifier().verify(made.public, TEXT, again.sign(TEXT))

    def test_small_coordinates_keep_their_length(self) -> None:
        """Leading zeros of x and y are kept (RFC 7518 §6.2.1.2), as jwcrypto keeps them."""
        algorithm, small = ALGORITHMS["ES256"], set()
        for number in range(1, 2000):
            private = derive_private_key(number, SECP256R1())
            point = private.public_key().public_numbers()
            short = {name for name in "xy" if getattr(point, name) >> 248 == 0}
            if short - small:
                small |= short
                expected = member_of(JWK.from_pyca(private), algorithm)
                self.assertEqual(LocalKeyPair(private, algorithm).member, expected)
        self.assertEqual(small, {"x", "y"})

    def test_small_halves_of_a_signature_keep_their_length(self) -> None:
        """r and s have 32 octets each (RFC 7518 §3.4): one in 128 signatures has a short one."""
        made = pair("ES256")
        signatures = [made.sign(TEXT) for _ in range(1000)]
        self.assertEqual({len(signature) for signature in signatures}, {64})
        short = [s for s in signatures if 0 in (s[0], s[32])]
        for signature in short:
            ALGORITHMS["ES256"].verifier().verify(made.public, TEXT, signature)
        self.assertTrue(short)


class EncodingTests(TestCase):
    @given(st.binary(max_size=100))
    def test_base64url_is_that_of_jwcrypto(self, octets: bytes) -> None:
        """Of any octets, without padding."""
        self.assertEqual(base64url(octets).decode(), base64url_encode(octets))

    @given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()) | st.none()))
    def test_json_is_compact_and_utf8(self, members: dict[str, object]) -> None:
        """No white space, and no letter takes more octets than it has in UTF-8."""
        expected = json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
        self.assertEqual(compact_json(members), expected)

    def test_no_number_is_written_that_json_does_not_have(self) -> None:
        """NaN and the infinities would make a token that no strict parser reads (RFC 8259 §6)."""
        for number in (float("nan"), float("inf"), float("-inf")):
            with self.assertRaises(ValueError):
                compact_json({"n": [number]})
