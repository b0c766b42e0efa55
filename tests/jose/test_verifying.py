"""Verifying: which tokens a strict verifier accepts, and that none makes it fail."""

import json
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.encoding import base64url, compact_json
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.jose.tokens import default_header, sign
from jwksd.jose.verifying import has_valid_signature, key_id, verified_claims
from tests.support.keys import key_pair, rsa_private

CLAIMS = {"iss": "https://issuer.example", "iat": 100, "exp": 200, "jti": "j"}
CLAIMS_TEXT = json.dumps(CLAIMS)


class VerifiedClaimsTests(TestCase):
    def test_a_token_is_verified_strictly(self) -> None:
        """Signed by this key, in time and plain: its claims; otherwise None."""
        pair = key_pair()
        header = default_header(pair)
        token = sign(pair, header, CLAIMS).decode()
        head, payload, signature = token.split(".")
        bad = [
            "",
            "..",
            f"{head}.{payload}",
            f"{token}.x",
            f"{token}=",
            f"{head}.{payload}.",
            f"{head}.{payload}.{signature[:-4]}",
            f"{payload}.{payload}.{signature}",
            "\u1234.a.b",
            sign(key_pair(1), header, CLAIMS).decode(),
            sign(pair, header | {"crit": ["x"]}, CLAIMS).decode(),
            sign(pair, header | {"alg": "RS512"}, CLAIMS).decode(),
            sign(pair, header, CLAIMS | {"exp": "200"}).decode(),
            sign(pair, header, CLAIMS | {"nbf": 151}).decode(),
            sign(pair, header, {"iss": "x"}).decode(),
            sign(pair, header, [1]).decode(),  # type: ignore[arg-type]
        ]
        self.assertEqual(verified_claims(token, pair.public, 150), CLAIMS)
        self.assertIsNone(verified_claims(token, pair.public, 200))
        for text in bad:
            with self.subTest(text=text):
                self.assertIsNone(verified_claims(text, pair.public, 150))

    def test_a_token_is_valid_from_nbf_on_and_until_exp(self) -> None:
        """``nbf`` is the first moment, ``exp`` the first one after; both are finite numbers."""
        pair = key_pair()
        for changes, now, is_valid in (
            ({"nbf": 150}, 150, True),
            ({"nbf": 150}, 149.9, False),
            ({}, 199.9, True),
            ({}, 200, False),
            ({}, 201, False),
            ({}, 0, True),
            ({}, -1, False),
            ({"nbf": "0"}, 150, False),
            ({"nbf": False}, 150, False),
            ({"nbf": None}, 150, False),
            ({"exp": True}, 0, False),
            ({"exp": 10**99}, 150, True),
        ):
            with self.subTest(changes=changes, now=now):
                token = sign(pair, default_header(pair), CLAIMS | changes).decode()
                claims = verified_claims(token, pair.public, now)
                self.assertEqual(claims is not None, is_valid)

    def test_a_token_is_read_as_strictly_as_json_is(self) -> None:
        """Rightly signed, but no JSON, or JSON that two readers may understand in two ways."""
        pair = key_pair()
        deep = b"[" * 1000 + b"]" * 1000
        head, claims = compact_json(default_header(pair)), compact_json(CLAIMS)
        for header, payload in (
            (head, claims[:-1] + b',"exp":900}'),
            (head, claims[:-1] + b',"jti":"j"}'),
            (head, claims.replace(b"200", b"1e400")),
            (head, claims.replace(b"200", b"Infinity")),
            (head, claims.replace(b"200", b"9" * 101)),
            (head, claims.replace(b"200", b"9" * 5000)),
            (head, b"\xef\xbb\xbf" + claims),
            (head, CLAIMS_TEXT.encode("utf-16")),
            (head, CLAIMS_TEXT.encode("utf-16-le")),
            (head, claims[:-1] + b',"x":' + deep + b"}"),
            (head, claims[:-1] + rb',"x":"\ud800"}'),
            (head[:-1] + b',"alg":"RS256"}', claims),
            (head[:-1] + b',"x":' + deep + b"}", claims),
            (b"\xef\xbb\xbf" + head, claims),
            (deep, claims),
        ):
            with self.subTest(header=header[-40:], payload=payload[-40:]):
                signing_input = base64url(header) + b"." + base64url(payload)
                token = signing_input + b"." + base64url(pair.sign(signing_input))
                self.assertIsNone(verified_claims(token.decode(), pair.public, 150))

    def test_a_signature_has_one_text(self) -> None:
        """Another base64url text of the same octets is refused (RFC 4648 §3.5)."""
        pair = key_pair()
        token = sign(pair, default_header(pair), CLAIMS).decode()
        # 256 octets leave four bits of the last character unused; in the one text they are 0.
        other = token[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[token[-1]]
        self.assertTrue(has_valid_signature(token, pair.public))
        for text in (other, token.replace(".", ".    "), f"    {token}"):  # which decoders skip
            self.assertFalse(has_valid_signature(text, pair.public), text)

    def test_the_algorithm_is_that_of_the_key(self) -> None:
        """A right signature by another algorithm of the same key is refused (RFC 8725 §3.1)."""
        for alg in ("PS256", "RS512"):
            pair = LocalKeyPair(rsa_private(0), ALGORITHMS[alg])
            token = sign(pair, default_header(pair), CLAIMS).decode()
            self.assertTrue(has_valid_signature(token, pair.public))
            self.assertFalse(has_valid_signature(token, key_pair(0).public), alg)

    def test_the_kid_is_that_of_the_header(self) -> None:
        """It is read unverified, if it is a text in an object; the rest may be anything."""
        for header, kid in (
            (b'{"kid":"a"}', "a"),
            (b'{"kid":5}', None),
            (b"{}", None),
            (b'["kid"]', None),
            (b"{", None),
        ):
            with self.subTest(header=header):
                text = base64url(header).decode()
                self.assertEqual(key_id(text), kid)
                self.assertEqual(key_id(f"{text}.x.y.z"), kid)

    @given(st.text(max_size=80) | st.binary(max_size=40).map(lambda b: base64url(b).decode()))
    def test_any_text_has_a_kid_or_none(self, text: str) -> None:
        """Whatever a client sends to be introspected, reading its kid does not fail."""
        self.assertIsInstance(key_id(text), str | None)

    def test_a_header_that_is_nested_too_deeply_has_no_kid(self) -> None:
        """JSON that is deeper than the parser can follow is refused as any other text is."""
        self.assertIsNone(key_id(base64url(b"[" * 100_000).decode()))
