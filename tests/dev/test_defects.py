"""The catalogue: a strict verifier, written from the RFCs, gives each row its verdict."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest import TestCase

from jwksd.dev.defects import DEFECTS, FOREIGN, Defect
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.encoding import base64url
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import default_header
from jwksd.keysources.generating import generate
from tests.support.keys import NOW
from tests.support.primitives import octets, verify

ISSUER, AUDIENCE = "https://issuer.example", "https://api.example"
_HOUR = 3600
_TIMES: dict[str, dict[str, object]] = {
    "control": {"iat": NOW, "exp": NOW + _HOUR},
    "control-exp-float": {"iat": NOW, "exp": NOW + _HOUR + 0.5},
    "control-iat-missing": {"exp": NOW + _HOUR},
    "control-nbf-past": {"iat": NOW, "exp": NOW + _HOUR, "nbf": NOW - 60},
    "exp-past": {"iat": NOW - 2 * _HOUR, "exp": NOW - _HOUR},
    "claims-case": {"iat": NOW - 2 * _HOUR, "exp": NOW - _HOUR, "EXP": NOW + _HOUR},
    "exp-missing": {"iat": NOW},
    "exp-string": {"iat": NOW, "exp": str(NOW + _HOUR)},
    "exp-null": {"iat": NOW, "exp": None},
    "exp-negative": {"iat": NOW, "exp": -1},
    "exp-huge": {"iat": NOW, "exp": 10**30},
    "exp-duplicated": {"iat": NOW, "exp": NOW - _HOUR},  # of two, json takes the last
    "nbf-future": {"iat": NOW, "exp": NOW + _HOUR, "nbf": NOW + _HOUR},
    "nbf-string": {"iat": NOW, "exp": NOW + _HOUR, "nbf": str(NOW + _HOUR)},
    "iat-future": {"iat": NOW + _HOUR, "exp": NOW + _HOUR},
    "iat-string": {"iat": "yesterday", "exp": NOW + _HOUR},
    "key-expired": {"iat": NOW - 2 * _HOUR, "exp": NOW - _HOUR},
}
"""The times of each row that is about them."""

_LENGTHS = {"sig-flipped": 64, "sig-truncated": 63, "sig-extended": 65, "sig-empty": 0}
"""Octets of an ES256 signature, which has 64 (RFC 7518 §3.4)."""

_SIGNED_RIGHT = ("control", "exp-", "nbf-", "iat-", "iss-", "aud-", "crit-", "typ-", "key-", "b64-")


@cache
def pairs(alg: str) -> tuple[KeyPair, KeyPair]:
    """The published key and a foreign one."""
    return generate(ALGORITHMS[alg], 2048), generate(ALGORITHMS[alg], 2048)


def forge(defect: Defect, alg: str, aud: object = AUDIENCE) -> str:
    pair, foreign = pairs(alg)
    claims = {"iss": ISSUER, "iat": NOW, "exp": NOW + 3600, "jti": "j", "aud": aud, "sub": "user"}
    return defect.seal(default_header(pair), claims, pair, foreign, NOW).decode("ascii")


def rows() -> Iterator[tuple[Defect, str]]:
    """Every row with every algorithm that it exists for."""
    for defect in DEFECTS.values():
        for alg, algorithm in ALGORITHMS.items():
            if algorithm.kty in defect.kinds:
                yield defect, alg


class Refused(Exception):
    """The strict verifier says no."""


def require(condition: object, why: str) -> None:
    if not condition:
        raise Refused(why)


def strict_json(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        require(len(members) == len(pairs), "duplicate members")
        return members

    def no_constant(name: str) -> None:
        raise Refused(f"{name} is no JSON")

    value = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    require(isinstance(value, dict), "no object")
    return value  # type: ignore[no-any-return]


def strict_decode(segment: str) -> bytes:
    decoded = octets(segment)
    require(base64url(decoded).decode() == segment, "not canonical base64url")
    return decoded


def strictly_verified(token: str, keys: dict[str, Any]) -> dict[str, Any]:
    """The claims, or an exception: RFC 7515 §5.2, RFC 7519 §7.2, RFC 8725 §3."""
    require(token.count(".") == 2, "not three segments")
    head, payload, signature = token.split(".")
    header = strict_json(strict_decode(head))
    key = keys.get(header["kid"]) if isinstance(header.get("kid"), str) else None
    require(key is not None, "no such key")
    require(header.get("alg") == key["alg"], "not the algorithm of the key")
    require("crit" not in header and "b64" not in header, "an extension that is not understood")
    require(header.get("typ", "JWT") == "JWT", "another kind of token")
    verify(key, f"{head}.{payload}".encode(), strict_decode(signature))
    claims = strict_json(strict_decode(payload))
    for name, required in (("exp", True), ("nbf", False), ("iat", False)):
        require(name in claims or not required, f"{name} is missing")
        value = claims.get(name, 0)
        require(
            isinstance(value, int | float) and not isinstance(value, bool), f"{name} is no number"
        )
    require(claims["exp"] > NOW, "expired")
    require(claims.get("nbf", 0) <= NOW, "not yet valid")
    require(claims.get("iss") == ISSUER, "another issuer")
    audience = claims.get("aud")
    require(AUDIENCE in (audience if isinstance(audience, list) else [audience]), "not for us")
    return claims


class CatalogueTests(TestCase):
    def verdict(self, defect: Defect, alg: str) -> str:
        key = json.loads(pairs(alg)[0].document.body)["keys"][0]
        keys = {key["kid"]: key} if defect.published else {}
        try:
            strictly_verified(forge(defect, alg), keys)
        except Exception:
            return "refuse"
        return "accept"

    def test_a_strict_verifier_gives_each_row_its_verdict(self) -> None:
        """Controls are accepted and defects refused, with every algorithm that they exist for."""
        for defect, alg in rows():
            if defect.verdict != "either":
                with self.subTest(defect=defect.name, alg=alg):
                    self.assertEqual(self.verdict(defect, alg), defect.verdict)

    def test_the_times_are_those_that_the_row_tells(self) -> None:
        """To the second; a token that expired an hour ago was issued an hour before that."""
        for name, times in _TIMES.items():
            with self.subTest(defect=name):
                claims = json.loads(octets(forge(DEFECTS[name], "ES256").split(".")[1]))
                told = {
                    name: claims[name] for name in claims if name.lower() in ("exp", "nbf", "iat")
                }
                self.assertEqual(told, times)
                self.assertEqual(
                    list(map(type, map(told.get, times))), list(map(type, times.values()))
                )

    def test_a_wrong_signature_is_wrong_by_what_the_row_tells(self) -> None:
        """An octet more or less, and no more than that: a verifier may look at the length alone."""
        for name, length in _LENGTHS.items():
            with self.subTest(defect=name):
                self.assertEqual(len(octets(forge(DEFECTS[name], "ES256").split(".")[2])), length)

    def test_what_was_changed_after_signing_is_what_the_row_tells(self) -> None:
        """A subject was added to the payload, or to the header; the other is as it was signed."""
        for name, changed in (("payload-changed", 1), ("header-changed", 0)):
            right = forge(DEFECTS["control"], "EdDSA").split(".")
            with self.subTest(defect=name):
                token = forge(DEFECTS[name], "EdDSA").split(".")
                self.assertEqual(json.loads(octets(token[changed]))["sub"], "administrator")
                self.assertEqual(token[1 - changed], right[1 - changed])

    def test_an_identifier_is_wrong_by_what_the_row_tells(self) -> None:
        """The last kid of two is that of another key, and a huge one has ten thousand letters."""
        pair, foreign = pairs("ES256")
        for name, kids in (
            ("kid-duplicated", [pair.kid, foreign.kid]),
            ("kid-unknown", [foreign.kid]),
            ("kid-huge", ["k" * 10_000]),
            ("kid-number", [1]),
            ("kid-foreign", [pair.kid]),
            ("kid-missing", []),
        ):
            with self.subTest(defect=name):
                header = octets(forge(DEFECTS[name], "ES256").split(".")[0])
                members = json.loads(header, object_pairs_hook=list)
                self.assertEqual([value for member, value in members if member == "kid"], kids)

    def test_what_is_wrong_is_not_the_signature(self) -> None:
        """Where claims or extensions are wrong, the signature is right: one thing is broken."""
        for defect, alg in rows():
            if defect.name.startswith(_SIGNED_RIGHT):
                with self.subTest(defect=defect.name, alg=alg):
                    head, _, signature = forge(defect, alg).rpartition(".")
                    key = json.loads(pairs(alg)[0].document.body)["keys"][0]
                    verify(key, head.encode(), octets(signature))

    def test_the_catalogue_is_as_large_as_it_says(self) -> None:
        """At least forty ways to be wrong, and each has a name of its own and a source."""
        self.assertGreaterEqual(sum(row.verdict == "refuse" for row in DEFECTS.values()), 40)
        for name, row in DEFECTS.items():
            with self.subTest(defect=name):
                self.assertRegex(name, r"\A[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*\Z")
                self.assertRegex(
                    row.reference, r"\A(RFC [0-9]{4}( §[0-9.]+)?|CVE-[0-9]{4}-[0-9]+)\Z"
                )

    def test_every_token_is_text_for_a_header(self) -> None:
        """Whatever is wrong inside, a client can send it as a bearer token."""
        for defect, alg in rows():
            with self.subTest(defect=defect.name, alg=alg):
                self.assertRegex(forge(defect, alg), r"\A[\x20-\x7e]+\Z")

    def test_audience_rows_follow_the_request(self) -> None:
        """They start from the audience asked for, be it one, a list, or none."""
        for aud, expected in ((["a", "b"], "a"), ("a", "a"), (5, "https://service.example")):
            payload = forge(DEFECTS["control-aud-array"], "ES256", aud).split(".")[1]
            self.assertEqual(json.loads(octets(payload))["aud"], [FOREIGN, expected])

    def test_trailing_bits_are_set_in_any_length(self) -> None:
        """Where the signature has no unused bits the payload has, and is signed as it stands."""
        for alg in ("ES256", "ES384", "RS256"):
            with self.subTest(alg=alg):
                token = forge(DEFECTS["sig-trailing-bits"], alg)
                head, _, signature = token.rpartition(".")
                verify(
                    json.loads(pairs(alg)[0].document.body)["keys"][0],
                    head.encode(),
                    octets(signature),
                )
                segments = token.split(".")
                self.assertNotEqual(
                    [base64url(octets(segment)).decode() for segment in segments], segments
                )

    def test_the_description_has_all_but_the_code(self) -> None:
        """The row as the catalogue shows it."""
        self.assertEqual(
            DEFECTS["ecdsa-zero"].describe(),
            {
                "name": "ecdsa-zero",
                "summary": "r and s are zero",
                "reference": "CVE-2022-21449",
                "verdict": "refuse",
                "kty": ["EC"],
                "published": True,
            },
        )
