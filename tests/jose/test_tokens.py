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

    def test_a_name_that_differs_from_a_registered_one_in_case_is_refused(self) -> None:
        """Go's encoding/json takes EXP for exp, also with a long s or the Kelvin sign."""
        for name, meant in (
            *((name.upper(), name) for name in ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")),
            *((name.title(), name) for name in ("client_id", "scope", "azp", "act", "cnf")),
            ("eXp", "exp"),
            ("i\u017f\u017f", "iss"),
            ("\u0130ss", "iss"),
            ("\u0131at", "iat"),
            ("\u017fcope", "scope"),
            ("CLIENT_ID", "client_id"),
        ):
            for claims, place in (
                ({name: 1}, "claims"),
                ({"x": 1, meant: 1, name: 1}, "claims"),
                ({"act": {"sub": "a", "act": {name: 1}}}, "claims.act.act"),
            ):
                with self.subTest(claims=claims), self.assertRaises(InvalidParameter) as e:
                    tokens.check_claims(claims)
                self.assertIn(f"{place}.{name}: did you mean {meant}?", e.exception.detail)
        for name, meant in (("X5T#s256", "x5t#S256"), ("\u212aid", "kid"), ("JWK", "jwk")):
            with self.assertRaisesRegex(InvalidParameter, f"claims.cnf.{name}.*{meant}"):
                tokens.check_claims({"cnf": {name: "x"}})

    def test_other_claims_may_be_spelt_in_any_way(self) -> None:
        """Name, Email and Roles are claims of their own; what is in others is free."""
        tokens.check_claims({"Name": "n", "Email": "e", "Roles": ["r"], "x": {"EXP": 1}})
        tokens.check_claims({"expires": 1, "issuer": "i", "": 0, "act": "a", "cnf": ["K"]})
        tokens.check_claims({"act": {"sub": "s"}, "cnf": {"jkt": "t", "x5t#S256": "u"}})

    def test_a_header_parameter_in_another_case_is_refused(self) -> None:
        """Whoever ignores case would let it decide over key and meaning."""
        for name, meant in (
            *((name.upper(), name) for name in tokens.OWN_HEADER - {"x5t#S256"}),
            ("x5t#s256", "x5t#S256"),
            ("Typ", "typ"),
            ("CTY", "cty"),
            ("\u212aid", "kid"),
            ("j\u212au", "jku"),
            ("Nonce", "nonce"),
        ):
            with self.subTest(name=name), self.assertRaises(InvalidParameter) as e:
                tokens.check_header({name: "x"})
            self.assertIn(f"header.{name}: did you mean {meant}?", e.exception.detail)
