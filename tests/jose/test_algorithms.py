"""Every algorithm: its key as published and its token, read by two implementations."""

import json
from functools import cache
from typing import Any
from unittest import TestCase

from cryptography.exceptions import InvalidSignature
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import default_header, sign
from jwksd.keysources.generating import generate
from tests.support.keys import PRIVATE_MEMBERS
from tests.support.primitives import CURVES, MLDSA, integer, octets, verify

MEMBERS = {
    "RSA": ["kty", "use", "alg", "kid", "n", "e"],
    "EC": ["kty", "use", "alg", "kid", "crv", "x", "y"],
    "OKP": ["kty", "use", "alg", "kid", "crv", "x"],
    "AKP": ["kty", "use", "alg", "kid", "pub"],
}


@cache
def pair(name: str) -> KeyPair:
    return generate(ALGORITHMS[name], 2048)


class AlgorithmTests(TestCase):
    def each(self) -> Any:
        for name in ALGORITHMS:
            with self.subTest(alg=name):
                (jwk,) = json.loads(pair(name).document.body)["keys"]
                yield name, jwk, sign(pair(name), default_header(pair(name)), {"sub": "s"}).decode()

    def test_every_token_verifies_with_jwcrypto(self) -> None:
        """With the key as published, and no algorithm but the key's allowed."""
        for name, jwk, token in self.each():
            jws = JWS()
            jws.allowed_algs = [name]
            jws.deserialize(token, key=JWK(**jwk))
            self.assertTrue(jws.is_valid)

    def test_every_token_verifies_with_the_primitives(self) -> None:
        """A second reading of the RFCs, from the published members alone, agrees."""
        for _, jwk, token in self.each():
            head, _, signature = token.rpartition(".")
            verify(jwk, head.encode(), octets(signature))
            with self.assertRaises(InvalidSignature):
                verify(jwk, head.encode() + b"x", octets(signature))

    def test_key_and_token_agree_on_the_algorithm(self) -> None:
        """The header's alg is the key's, and so is its kid."""
        for name, jwk, token in self.each():
            header = json.loads(octets(token.split(".")[0]))
            self.assertEqual((header["alg"], jwk["alg"]), (name, name))
            self.assertEqual(header["kid"], jwk["kid"])

    def test_a_key_has_the_members_of_its_type(self) -> None:
        """In the order of the contract, and never a private one."""
        for _, jwk, _ in self.each():
            self.assertEqual(list(jwk), MEMBERS[jwk["kty"]])
            self.assertFalse(PRIVATE_MEMBERS & set(jwk))

    def test_the_kid_is_the_thumbprint(self) -> None:
        """RFC 7638, and for AKP keys with alg among the required members."""
        for _, jwk, _ in self.each():
            self.assertEqual(JWK(**jwk).thumbprint(), jwk["kid"])

    def test_sizes_and_curves_are_those_of_the_rfcs(self) -> None:
        """RSA keys have 2048 bits, each EC and OKP algorithm its one curve, ML-DSA its lengths."""
        for name, jwk, token in self.each():
            signature = octets(token.split(".")[2])
            if jwk["kty"] == "RSA":
                self.assertEqual((integer(jwk["n"]).bit_length(), integer(jwk["e"])), (2048, 65537))
            elif jwk["kty"] == "EC":
                _, size, alg = CURVES[jwk["crv"]]
                self.assertEqual(alg, name)
                lengths = (len(octets(jwk["x"])), len(octets(jwk["y"])), len(signature))
                self.assertEqual(lengths, (size, size, 2 * size))
            elif jwk["kty"] == "OKP":
                expected = {"Ed448": ("Ed448", 57, 114)}.get(name, ("Ed25519", 32, 64))
                self.assertEqual((jwk["crv"], len(octets(jwk["x"])), len(signature)), expected)
            else:
                self.assertEqual((len(octets(jwk["pub"])), len(signature)), MLDSA[name][1:])

    def test_rsa_keys_are_as_large_as_asked(self) -> None:
        """The size is that of --rsa-bits, whatever the algorithm."""
        public = generate(ALGORITHMS["PS384"], 3072).public
        self.assertEqual(integer(public["n"]).bit_length(), 3072)
