"""Tokens: claims in, compact JWS out."""

import json
from unittest import TestCase

from jwcrypto.jwk import JWK
from jwcrypto.jwt import JWT

from jwksd import tokens
from jwksd.errors import PrivateHalfDestroyed
from tests.support import key_pair


class SignTests(TestCase):
    def test_header_and_claims_are_the_defaults(self) -> None:
        """The header has alg, typ and kid; the claims iss, iat, exp and jti, times as integers."""
        pair = key_pair()
        token = tokens.sign(pair, iss="https://issuer.example", iat=100, exp=200, jti="j")
        jwt = JWT(algs=["RS256"], expected_type="JWS", check_claims={"exp": None})
        jwt.leeway = 10**12
        jwt.deserialize(token.token, JWK(**json.loads(pair.document.body)["keys"][0]))
        self.assertEqual(json.loads(jwt.header), {"alg": "RS256", "typ": "JWT", "kid": pair.kid})
        self.assertEqual(
            jwt.claims, '{"iss":"https://issuer.example","iat":100,"exp":200,"jti":"j"}'
        )

    def test_it_tells_what_it_signed(self) -> None:
        """The answer says kid, alg and times without the token being taken apart."""
        pair = key_pair()
        token = tokens.sign(pair, iss="i", iat=100, exp=200, jti="j")
        self.assertEqual(
            (token.kid, token.alg, token.iat, token.exp), (pair.kid, "RS256", 100, 200)
        )

    def test_a_destroyed_key_signs_nothing(self) -> None:
        """The one error of signing is passed on."""
        pair = key_pair()
        pair.destroy()
        with self.assertRaises(PrivateHalfDestroyed):
            tokens.sign(pair, iss="i", iat=1, exp=2, jti="j")
