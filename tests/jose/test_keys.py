"""Keys: what is published of them, and what is left after their private half is destroyed."""

import json
from hashlib import sha256
from unittest import TestCase

from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from jwksd.errors import PrivateHalfDestroyed
from jwksd.jose.encoding import base64url
from tests.support.keys import PRIVATE_MEMBERS, key_pair, private_jwk


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
        """Printing a pair, by accident or in a traceback, tells its state only."""
        pair = key_pair()
        self.assertEqual(repr(pair), f"<KeyPair RS256 {pair.kid} ready>")
        pair.destroy()
        self.assertEqual(repr(pair), f"<KeyPair RS256 {pair.kid} destroyed>")


class PublicJWKTests(TestCase):
    def test_equal_keys_hash_alike(self) -> None:
        """Two objects for the same key are one member of a set."""
        self.assertEqual(len({key_pair(0).public, key_pair(0).public, key_pair(1).public}), 2)

    def test_it_has_no_private_half(self) -> None:
        """It was made of public members, so it has none to give."""
        self.assertTrue(private_jwk(0).has_private)
        self.assertFalse(key_pair().public.has_private)
