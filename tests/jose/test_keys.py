"""Keys: what is published of them, and what is left after their private half is destroyed."""

import json
import sys
import weakref
from hashlib import sha256
from typing import Any
from unittest import TestCase

from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from jwksd.errors import PrivateHalfDestroyed
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.encoding import base64url
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.keysources.generating import generate, new_private_key
from tests.support.keys import NOW, PRIVATE_MEMBERS, key_pair, private_jwk

KINDS = ("RS256", "PS256", "ES256", "Ed25519", "ML-DSA-44")


class KeyPairTests(TestCase):
    def test_the_kid_is_the_rfc_7638_thumbprint(self) -> None:
        """The kid is the SHA-256 of the required members in lexical order, base64url."""
        jwk = key_pair().public
        canonical = json.dumps(
            {"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}, separators=(",", ":"), sort_keys=True
        )
        thumbprint = base64url(sha256(canonical.encode()).digest()).decode()
        self.assertEqual(key_pair().kid, thumbprint)
        self.assertEqual(len(thumbprint), 43)

    def test_the_document_has_the_public_members_and_no_others(self) -> None:
        """An RSA key is published as kty, use, alg, kid, n and e."""
        (key,) = json.loads(key_pair().document.body)["keys"]
        self.assertEqual(list(key), ["kty", "use", "alg", "kid", "n", "e"])
        self.assertEqual((key["kty"], key["use"], key["alg"]), ("RSA", "sig", "RS256"))
        self.assertFalse(PRIVATE_MEMBERS & set(key))

    def test_a_signature_verifies_with_what_is_published(self) -> None:
        """A verifier that has the published key alone accepts what the private half signed."""
        pair = key_pair()
        header = base64url(b'{"alg":"RS256"}')
        signature = pair.sign(header + b"." + base64url(b"payload"))
        jws = JWS()
        jws.deserialize(
            b".".join([header, base64url(b"payload"), base64url(signature)]).decode("ascii"),
            key=JWK(**json.loads(pair.document.body)["keys"][0]),
        )
        self.assertTrue(jws.is_valid)

    def test_a_destroyed_pair_cannot_sign(self) -> None:
        """After destroy, and after a second one, signing is refused."""
        pair = key_pair()
        pair.destroy()
        pair.destroy()
        with self.assertRaises(PrivateHalfDestroyed):
            pair.sign(b"x")

    def test_its_repr_shows_the_kid_and_no_key_material(self) -> None:
        """Printing a pair, by accident or in a traceback, shows its state only."""
        pair = key_pair()
        self.assertEqual(repr(pair), f"<KeyPair RS256 {pair.kid} ready>")
        pair.destroy()
        self.assertEqual(repr(pair), f"<KeyPair RS256 {pair.kid} destroyed>")


class ElsewhereTests(TestCase):
    """A private half that is not in this process: a callable signs with it."""

    def setUp(self) -> None:
        self.local = key_pair()
        self.members = dict(self.local.public)

    def pair(self, sign: Any, **arguments: Any) -> KeyPair:
        return KeyPair(self.members, sign, ALGORITHMS["RS256"], **arguments)

    def test_it_is_the_same_key_wherever_its_private_half_is(self) -> None:
        """Kid, published member and tag are made of the public members alone."""
        pair = self.pair(self.local.sign)
        self.assertEqual(
            (pair.kid, pair.member, pair.etag, pair.sign(b"x")),
            (self.local.kid, self.local.member, self.local.etag, self.local.sign(b"x")),
        )

    def test_nothing_but_the_members_of_its_type_is_published(self) -> None:
        """Whatever else the public members come with, private ones above all, is left out."""
        self.members |= {"d": "secret", "x": "other", "kid": "other", "use": "enc", "alg": "none"}
        self.assertEqual(self.pair(self.local.sign).member, self.local.member)

    def test_it_says_whether_it_is_slow(self) -> None:
        """A key elsewhere is slow unless it is made with another word; here those of RSA are."""
        self.assertTrue(self.pair(self.local.sign).is_slow)
        self.assertFalse(self.pair(self.local.sign, is_slow=False).is_slow)
        slow = {alg for alg in KINDS if generate(ALGORITHMS[alg], 2048).is_slow}
        self.assertEqual(slow, {"RS256", "PS256"})

    def test_after_destroy_what_signed_is_gone(self) -> None:
        """The pair holds neither the callable nor what it reached, and refuses to sign."""

        class Session:
            def sign(self, signing_input: bytes) -> bytes:
                return b"signature"

        session = Session()
        left, pair = weakref.ref(session), self.pair(session.sign)
        del session
        self.assertEqual(pair.sign(b"x"), b"signature")
        pair.destroy()
        self.assertIsNone(left())
        with self.assertRaises(PrivateHalfDestroyed):
            pair.sign(b"x")


class LocalTests(TestCase):
    """A private half that is in this process."""

    def test_after_destroy_nothing_of_the_pair_refers_to_the_private_half(self) -> None:
        """Of no kind of key, though it has signed; so OpenSSL frees it at once."""
        for alg in KINDS:
            with self.subTest(alg=alg):
                private = new_private_key(ALGORITHMS[alg], 2048)
                before = sys.getrefcount(private)
                pair = LocalKeyPair(private, ALGORITHMS[alg])
                pair.sign(b"x")
                pair.private_text_in_the_clear()
                self.assertGreater(sys.getrefcount(private), before)
                pair.destroy()
                self.assertEqual(sys.getrefcount(private), before)

    def test_what_needs_the_private_half_is_refused_after_destroy(self) -> None:
        """Neither an envelope nor a certificate can be made any more."""
        pair = key_pair()
        pair.destroy()
        for work in (pair.private_text_in_the_clear, lambda: pair.self_signed("name", NOW)):
            with self.assertRaises(PrivateHalfDestroyed):
                work()


class PublicJWKTests(TestCase):
    def test_equal_keys_hash_alike(self) -> None:
        """Two objects for the same key are one member of a set."""
        self.assertEqual(len({key_pair(0).public, key_pair(0).public, key_pair(1).public}), 2)

    def test_it_has_no_private_half(self) -> None:
        """It was made of public members, so it has none to give."""
        self.assertTrue(private_jwk(0).has_private)
        self.assertFalse(key_pair().public.has_private)
