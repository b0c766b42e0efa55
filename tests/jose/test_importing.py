"""Private keys from elsewhere: what is taken, and what is refused without quoting it."""

import json
import re
from base64 import encodebytes
from collections.abc import Mapping
from functools import cache
from typing import Any
from unittest import TestCase

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.importing import read_private_key
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair
from tests.support.keys import PRIVATE_MEMBERS, assert_public, private_jwk


@cache
def private_of(alg: str) -> JWK:
    """A private key for an algorithm; RSA keys are the same for all of theirs."""
    return private_jwk(0) if ALGORITHMS[alg].kty == "RSA" else fresh(alg)


def fresh(alg: str) -> JWK:
    """A private key that nobody else has, made by jwcrypto."""
    algorithm = ALGORITHMS[alg]
    size_or_name = {"RSA": {"size": 2048}, "AKP": {"alg": alg}}
    kind = size_or_name.get(algorithm.kty, {"crv": algorithm.crv})
    return JWK.generate(kty=algorithm.kty, **kind)


def members_of(alg: str) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(private_of(alg).export_private())
    return members


def jwk(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members).encode()


def pem(key: Any, form: PrivateFormat) -> bytes:
    octets: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return octets


class TakenTests(TestCase):
    def assert_taken(self, text: bytes, alg: str, named: str | None) -> KeyPair:
        """It signs, as the algorithm says, for the key that is published; its kid is ours."""
        pair = read_private_key(text, named)
        self.assertEqual(pair.alg, alg)
        self.assertEqual(pair.kid, private_of(alg).thumbprint())
        published = JWK(**json.loads(pair.document.body)["keys"][0])
        ALGORITHMS[alg].verifier().verify(published, b"text", pair.sign(b"text"))
        assert_public(pair.document.body, "the document")
        return pair

    def test_every_algorithm_as_jwk_and_as_pem(self) -> None:
        """With --as, or with the alg of the JWK; a PEM of PKCS #8 needs --as, save for ML-DSA."""
        for alg, algorithm in ALGORITHMS.items():
            with self.subTest(alg=alg):
                members = members_of(alg)
                self.assert_taken(jwk(members), alg, alg)
                self.assert_taken(b"\n " + jwk(members | {"alg": alg}), alg, None)
                text = private_of(alg).export_to_pem(private_key=True, password=None)
                self.assert_taken(text, alg, alg)
                if algorithm.kty == "AKP":
                    self.assert_taken(text, alg, None)

    def test_the_older_kinds_of_pem(self) -> None:
        """PKCS #1 of RSA, SEC 1 of EC, and text around it as OpenSSL writes it."""
        for alg in ("RS256", "PS384", "ES256", "ES384", "ES512", "ES256K"):
            with self.subTest(alg=alg):
                key = private_of(alg).get_op_key("sign")
                text = pem(key, PrivateFormat.TraditionalOpenSSL)
                self.assertRegex(text, b"BEGIN (RSA|EC) PRIVATE KEY")
                self.assert_taken(text, alg, alg)
                self.assert_taken(b"Bag Attributes: <none>\n" + text + b"\n", alg, alg)

    def test_a_file_may_begin_with_a_byte_order_mark(self) -> None:
        """Editors on Windows write one before JWK and PEM alike."""
        text = jwk(members_of("ES256"))
        key = private_of("ES256").get_op_key("sign")
        for octets in (text, pem(key, PrivateFormat.PKCS8)):
            self.assert_taken(b"\xef\xbb\xbf" + octets, "ES256", "ES256")

    def test_what_else_is_in_a_jwk_stays_behind(self) -> None:
        """Neither what is published nor what is put into the envelope has it."""
        more = {
            "kid": "2011-04-29",
            "use": "sig",
            "key_ops": ["sign"],
            "x5c": ["MIIB"],
            "x5t": "AAAA",
            "x5u": "https://elsewhere.example",
            "ext": True,
            "note": "a remark",
        }
        for alg in ("RS256", "ES256", "Ed25519", "ML-DSA-44"):
            with self.subTest(alg=alg):
                pair = self.assert_taken(jwk(members_of(alg) | more), alg, alg)
                members = ALGORITHMS[alg].members
                (key,) = json.loads(pair.document.body)["keys"]
                self.assertEqual(list(key), ["kty", "use", "alg", "kid", *members])
                kept = json.loads(pair.private_text_in_the_clear())
                own = {"kty", "alg", "kid", *members}
                self.assertEqual(set(kept) - PRIVATE_MEMBERS - own, set())
                self.assertEqual(kept.get("kid", pair.kid), pair.kid)


class RefusedTests(TestCase):
    def assert_refused(self, said: str, text: bytes, alg: str | None) -> None:
        with self.subTest(said=said), self.assertRaises(ValueError) as caught:
            read_private_key(text, alg)
        message = str(caught.exception)
        self.assertIn(said, message)
        self.assertIsNone(caught.exception.__cause__)
        quoted = re.findall(rb"[A-Za-z0-9+/_=-]{20,}", text)
        self.assertEqual([part for part in quoted if part.decode() in message], [])

    def test_keys_of_another_kind(self) -> None:
        """Another type, another curve, a key that does not sign, a secret."""
        for said, name, alg in (
            ("ES256 takes EC P-256 keys; this is a key of RSA", "RS256", "ES256"),
            ("RS256 takes RSA keys; this is a key of EC P-256", "ES256", "RS256"),
            ("ES384 takes EC P-384 keys; this is a key of EC P-256", "ES256", "ES384"),
            ("Ed25519 takes OKP Ed25519 keys; this is a key of OKP Ed448", "Ed448", "Ed25519"),
            ("RS256 takes RSA keys; this is a key of AKP", "ML-DSA-44", "RS256"),
        ):
            text = private_of(name).export_to_pem(private_key=True, password=None)
            if name != "ML-DSA-44":
                self.assert_refused(said, text, alg)
                self.assert_refused(said, jwk(members_of(name)), alg)
        x25519 = JWK.generate(kty="OKP", crv="X25519")
        self.assert_refused("a key of OKP X25519", x25519.export_private().encode(), "EdDSA")
        secret = JWK.generate(kty="oct", size=256)
        self.assert_refused("a key of oct", secret.export_symmetric().encode(), "RS256")

    def test_weak_keys(self) -> None:
        """RSA below 2048 bits, in every form."""
        key = rsa.generate_private_key(65537, 1024)
        said = "it has 1024 bits; RSA keys must have 2048 to 8192 (RFC 7518 §3.3)"
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.assert_refused(said, pem(key, form), "RS256")
        self.assert_refused(said, JWK.from_pyca(key).export_private().encode(), "RS256")

    def test_public_keys(self) -> None:
        """A public half alone, and a certificate's, cannot sign."""
        said = "it holds no private key"
        for alg in ("RS256", "ES256", "Ed25519", "ML-DSA-65"):
            self.assert_refused(said, private_of(alg).export_public().encode(), alg)
            public = private_of(alg).get_op_key("verify")
            text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            self.assert_refused(said, text, alg)
        pair = LocalKeyPair.of_jwk(private_of("ES256"), ALGORITHMS["ES256"])
        der = pair.self_signed("name", 1_800_000_000)
        text = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % encodebytes(der)
        self.assert_refused(said, text, "ES256")

    def test_encrypted_keys(self) -> None:
        """A PEM with a password is to be decrypted before."""
        text = private_of("ES256").export_to_pem(private_key=True, password=b"secret")
        self.assert_refused("unencrypted PEM", text, "ES256")

    def test_halves_of_two_keys(self) -> None:
        """Whatever the private half belongs to, it is not what would be published."""
        said = "its private half does not belong to its public half"
        for alg, public in (("ES256", ("x", "y")), ("Ed25519", ("x",)), ("ML-DSA-44", ("pub",))):
            other = json.loads(fresh(alg).export_public())
            mixed = members_of(alg) | {name: other[name] for name in public}
            self.assert_refused(said, jwk(mixed), alg)
        mixed = members_of("RS256") | {"n": private_jwk(1)["n"]}
        self.assert_refused(said, jwk(mixed), "RS256")

    def test_rsa_keys_that_are_not_whole(self) -> None:
        """A JWK of n, e and d alone is refused by what it lacks."""
        whole = members_of("RS256")
        self.assert_refused(
            "it lacks p, q", jwk({n: whole[n] for n in ["kty", "n", "e", "d"]}), "RS256"
        )

    def test_algorithms(self) -> None:
        """None, an unknown one, one that is no text, and one that contradicts the key's own."""
        members = members_of("RS256")
        self.assert_refused("give --as", jwk(members), None)
        self.assert_refused("alg 'HS256' is not known; known are RS256", jwk(members), "HS256")
        self.assert_refused("alg '' is not known", jwk(members), "")
        self.assert_refused("alg 'none' is not known", jwk(members | {"alg": "none"}), None)
        for odd in (5, ["RS256"], {"a": 1}):
            self.assert_refused("is not known", jwk(members | {"alg": odd}), None)
            self.assert_refused("not for RS256", jwk(members | {"alg": odd}), "RS256")
        contradicting = jwk(members | {"alg": "RS384"})
        self.assert_refused("it is for 'RS384', not for RS256", contradicting, "RS256")
        for text in (
            jwk(members_of("ML-DSA-44")),
            private_of("ML-DSA-44").export_to_pem(private_key=True, password=None),
        ):
            self.assert_refused("it is for 'ML-DSA-44', not for ML-DSA-65", text, "ML-DSA-65")

    def test_keys_with_another_purpose(self) -> None:
        """What a JWK says that it is for is heard."""
        members = members_of("RS256")
        for more in ({"use": "enc"}, {"key_ops": ["decrypt"]}, {"key_ops": "sign"}, {"use": 5}):
            self.assert_refused("it is not for sign", jwk(members | more), "RS256")

    def test_what_is_no_key(self) -> None:
        """Sets, lists, broken PEM, broken JSON, and members that are no base64url."""
        members = members_of("ES256")
        good = private_of("ES256").export_to_pem(private_key=True, password=None)
        for text in (
            b"{",
            b'{"a":' + b"[" * 100_000,
            jwk(members)[:-1] + b',"x":1e400}',
            jwk(members)[:-1] + b',"d":"AAAA"}',
            jwk(members)[:-1] + b',"n":NaN}',
            jwk(members)[:-1] + b',"y":' + b"[" * 70 + b"]" * 70 + b"}",
            jwk(members).decode().encode("utf-16-le"),
            jwk({"keys": [members]}),
            jwk(members | {"kty": None}),
            jwk(members | {"kty": ["EC"]}),
            jwk(members | {"x": 7}),
            jwk(members | {"crv": "P-257"}),
            jwk({**members, "d": members["d"][:20] + "!"}),
        ):
            self.assert_refused("it is no JWK of a key pair", text, "ES256")
        for text in (b"", b"[]", b"\xff\xfe", good[:-50], good.replace(b"M", b"!"), good[28:]):
            self.assert_refused("neither a JWK nor an unencrypted PEM", text, "ES256")

    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
    def test_any_octets_are_refused(self, text: bytes) -> None:
        """With a ValueError, whatever they are."""
        for octets in (text, b"{" + text, b"-----BEGIN PRIVATE KEY-----\n" + text):
            with self.assertRaises(ValueError):
                read_private_key(octets, "RS256")

    @given(
        st.sampled_from(["RS256", "ES256", "Ed448", "ML-DSA-44"]),
        st.data(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=3,
        ),
    )
    def test_any_member_may_be_anything(self, alg: str, data: Any, value: object) -> None:
        """A JWK with one member changed is the same key still, or is refused with a ValueError."""
        members = members_of(alg)
        name = data.draw(st.sampled_from([*members, "use", "key_ops", "alg", "kid", "oth", "k"]))
        try:
            pair = read_private_key(jwk(members | {name: value}), alg)
        except ValueError:
            return
        self.assertEqual(pair.kid, private_of(alg).thumbprint())
