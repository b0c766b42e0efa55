"""Signing: claims in, compact JWS out; what a caller may not add."""

import json
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from jwcrypto.jwt import JWT

from jwksd.errors import InvalidParameter, PrivateHalfDestroyed
from jwksd.jose import tokens
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from tests.support.keys import key_pair

CLAIMS = {"iss": "https://issuer.example", "iat": 100, "exp": 200, "jti": "j"}


def quick_pair() -> KeyPair:
    """A pair that signs at once, with anything."""
    return KeyPair({"n": "n", "e": "AQAB"}, lambda signing_input: b"signature", ALGORITHMS["RS256"])


class SignTests(TestCase):
    def test_a_standard_library_reads_back_what_was_signed(self) -> None:
        """jwcrypto verifies the token with the published key, and finds header and claims."""
        pair = key_pair()
        token = tokens.sign(pair, tokens.default_header(pair), CLAIMS).decode()
        jwt = JWT(algs=["RS256"], expected_type="JWS")
        jwt.leeway = 10**12
        jwt.deserialize(token, JWK(**json.loads(pair.document.body)["keys"][0]))
        self.assertEqual(json.loads(jwt.header), {"alg": "RS256", "typ": "JWT", "kid": pair.kid})
        self.assertEqual(json.loads(jwt.claims), CLAIMS)

    def test_a_plain_token_has_the_default_header(self) -> None:
        """With the same claims it is the same token, the first time and the next, of every key."""
        for pair in (key_pair(0), key_pair(1)):
            expected = tokens.sign(pair, tokens.default_header(pair), CLAIMS)
            for _ in range(2):
                plain = tokens.sign_plain(pair, "https://issuer.example", 100, 200, "j")
                self.assertEqual(plain, expected)

    @given(iss=st.text(), iat=st.integers(), exp=st.integers(), jti=st.text())
    def test_plain_claims_are_json_whatever_is_in_them(
        self, iss: str, iat: int, exp: int, jti: str
    ) -> None:
        """Quotes, controls and letters of all scripts are as any JSON encoder has them."""
        segment = tokens.sign_plain(quick_pair(), iss, iat, exp, jti).split(b".")[1]
        expected = tokens.encode_segment({"iss": iss, "iat": iat, "exp": exp, "jti": jti})
        self.assertEqual(segment, expected)

    def test_a_destroyed_key_signs_nothing(self) -> None:
        """The one error of signing is passed on."""
        pair = key_pair()
        pair.destroy()
        with self.assertRaises(PrivateHalfDestroyed):
            tokens.sign(pair, tokens.default_header(pair), CLAIMS)


class CheckTests(TestCase):
    def test_registered_claims_have_the_types_of_the_rfc(self) -> None:
        """What RFC 7519 §4.1 says each claim is, is taken; anything else is refused by name."""
        for name, right, wrong in (
            ("iss", ["", "https://x"], [None, 1, [], {}, True]),
            ("sub", ["user"], [None, 1.5, ["user"]]),
            ("jti", ["id"], [0, None]),
            ("aud", ["a", ["a"], ["a", "b"]], [None, 1, [], [1], ["a", None], {}]),
            ("exp", [0, 10**9], [None, "1", 1.5, True, -1, 10**12, [1]]),
            ("nbf", [0], ["0", 0.5, False, {}]),
            ("iat", [1], [None, "yesterday", -5]),
        ):
            for value in right:
                tokens.check_claims({name: value})
            for value in wrong:
                with self.subTest(name=name, value=value), self.assertRaises(InvalidParameter) as e:
                    tokens.check_claims({name: value})
                self.assertIn(f"claims.{name} must be", e.exception.detail)

    def test_the_header_parameters_of_the_server_cannot_be_set(self) -> None:
        """Those that decide over key and meaning are refused, the types of two others checked."""
        for name in tokens.OWN_HEADER:
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(InvalidParameter, f"header.{name}"),
            ):
                tokens.check_header({name: "x"})
        for name in ("typ", "cty"):
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(InvalidParameter, f"header.{name}"),
            ):
                tokens.check_header({name: 1})
        tokens.check_header({"typ": "at+jwt", "cty": "JWT", "x": [1]})
