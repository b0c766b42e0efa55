"""The oracle finds what it is there for: each check fails on an answer that is wrong on purpose."""

import asyncio
import json
from base64 import urlsafe_b64encode
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from io import StringIO
from random import Random
from typing import Any
from unittest import TestCase

from tests.proofs.fuzz.case import (
    BAD,
    DEV,
    FULL,
    ISSUER,
    OK,
    PER_TOKEN,
    ROTATING,
    Asked,
    Case,
    Expect,
    Known,
)
from tests.proofs.fuzz.client import answers_in
from tests.proofs.fuzz.generate import MAKERS, make
from tests.proofs.fuzz.mutator import mutate
from tests.proofs.fuzz.oracle import Wrong, judge
from tests.proofs.fuzz.parameters import AUTH, DEVELOPER, LOGIN
from tests.proofs.fuzz.run import Run
from tests.proofs.fuzz.servers import complaints_in
from tests.proofs.fuzz.shrink import shrink
from tests.proofs.fuzz.spelling import UNKNOWN, misspell
from tests.support.raw import Answer

NOW = 1_800_000_000
KID = "K" * 43
KNOWN = Known(("a.b.c",), frozenset({KID}))
ASKED = Case("parameters", "x", ROTATING, b"POST", expect=Expect(OK, token=Asked(lifetime=60)))
REFUSED = Case("parameters", "x", ROTATING, b"POST", expect=Expect(BAD, "expired"))
INTROSPECTED = Case(
    "tokens", "x", ROTATING, b"POST", "/introspect", expect=Expect(OK, active=False)
)


def answered(status: int, body: bytes, media_type: str, **fields: str) -> Answer:
    """An answer with the fields that all have."""
    named = {"X-Content-Type-Options": "nosniff", "Content-Type": media_type}
    named |= {name.replace("_", "-"): value for name, value in fields.items()}
    return Answer(status, tuple(named.items()), body)


def problem(status: int, detail: str, slug: str = "x", **fields: str) -> Answer:
    """A problem document."""
    members = {"type": f"urn:jwksd:problem:{slug}", "title": "x", "status": status}
    body = json.dumps({**members, "detail": detail}).encode("ascii")
    return answered(status, body, "application/problem+json", **fields)


def segment(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def token(claims: dict[str, Any] | None = None, **header: Any) -> Answer:
    """The token that ``ASKED`` asks for, with these changes."""
    head = {"alg": "ES256", "typ": "JWT", "kid": KID, **header}
    payload = {"iss": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "x", **(claims or {})}
    parts = (json.dumps(head).encode(), json.dumps(payload).encode(), b"signature")
    return answered(200, b".".join(map(segment, parts)), "application/jwt")


class OracleTests(TestCase):
    def assert_wrong(self, case: Case, answer: Answer, why: str = "") -> None:
        """The oracle does not take the answer, and says why."""
        with self.assertRaises(Wrong) as caught:
            judge(case, answer, KNOWN, NOW)
        self.assertIn(why, str(caught.exception))

    def test_right_answers_are_right(self) -> None:
        """Or else the others below would be found for another reason."""
        for case, answer in (
            (ASKED, token()),
            (REFUSED, problem(400, "expired must be true")),
            (INTROSPECTED, answered(200, b'{"active":false}', "application/json")),
            (ASKED, problem(503, "wait", "too-many-waiting", Retry_After="1")),
        ):
            with self.subTest(case=case.path, status=answer.status):
                self.assertTrue(judge(case, answer, KNOWN, NOW))

    def test_a_server_error_is_wrong(self) -> None:
        """A 500, a 503 without Retry-After, and one that this server has no reason for."""
        self.assert_wrong(ASKED, problem(500, "x"))
        self.assert_wrong(ASKED, problem(503, "x", "too-many-waiting"))
        full = problem(503, "x", "too-many-keys", Retry_After="1")
        self.assert_wrong(ASKED, full, "503")
        self.assertTrue(judge(replace(ASKED, server=FULL), full, KNOWN, NOW))

    def test_an_error_that_is_no_problem_document_is_wrong(self) -> None:
        """Without a member, with one more, as plain text, as HTML, as JSON of another kind."""
        right = problem(400, "expired")
        members = right.json
        for body, media_type in (
            (json.dumps({**members, "trace": "x"}).encode(), "application/problem+json"),
            (json.dumps({**members, "status": 401}).encode(), "application/problem+json"),
            (json.dumps({**members, "detail": ""}).encode(), "application/problem+json"),
            (b"expired", "application/problem+json"),
            (b"expired", "text/plain"),
            (right.body, "application/json"),
            (b"<html>expired</html>", "text/html"),
        ):
            with self.subTest(body=body, media_type=media_type):
                self.assert_wrong(REFUSED, answered(400, body, media_type))

    def test_an_error_of_oauth_has_the_members_of_its_rfc(self) -> None:
        """A code that is registered, and a description in the characters of RFC 6749."""
        case = replace(REFUSED, path="/token", expect=Expect(BAD))
        for error, description, right in (
            ("invalid_request", "x is missing", True),
            ("bad", "x is missing", False),
            ("invalid_request", 'say "x"', False),
            ("invalid_request", "é", False),
        ):
            members = {"error": error, "error_description": description}
            body = json.dumps(members).encode("ascii")
            answer = answered(400, body, "application/json")
            with self.subTest(members=members):
                if right:
                    self.assertEqual(judge(case, answer, KNOWN, NOW), "refused")
                else:
                    self.assert_wrong(case, answer)

    def test_a_misspelt_parameter_that_was_passed_over_is_wrong(self) -> None:
        """A token for it, and a refusal that does not say what was meant."""
        self.assert_wrong(REFUSED, token(), "status")
        self.assert_wrong(REFUSED, problem(400, "something is wrong"), "does not say")

    def test_a_refusal_of_what_is_right_is_wrong(self) -> None:
        """An unknown name in a form, for one."""
        self.assert_wrong(ASKED, problem(400, "foo is unknown"), "status")

    def test_a_token_that_says_something_else_is_wrong(self) -> None:
        """Its times, claims, header, key, or the form of its JSON."""
        for answer, why in (
            (token({"exp": NOW + 61}), "lifetime"),
            (token({"iat": NOW - 3660, "exp": NOW - 3600}), "near"),
            (token({"more": 1}), "claims"),
            (token({"iss": "https://other.example"}), "claims"),
            (token(alg="none"), "header"),
            (token(typ="at+jwt"), "header"),
            (token(jku="x"), "header"),
            (token(kid="J" * 43), "published"),
            (token({"iat": float(NOW)}), "whole"),
            (answered(200, b"x", "application/jwt"), ""),
            (answered(200, b"e30.e30", "application/jwt"), "three"),
            (answered(200, b"e30=.e30.x", "application/jwt"), "base64url"),
            (answered(200, b"W10.W10.x", "application/jwt"), "objects"),
        ):
            with self.subTest(why=why):
                self.assert_wrong(ASKED, answer, why)

    def test_a_token_that_readers_take_in_two_ways_is_wrong(self) -> None:
        """Infinity, and a claim that stands there twice."""
        for claims in (b'{"iat":1,"x":Infinity}', b'{"x":1,"x":2}', b'{"x":"\xff"}'):
            parts = (b'{"alg":"ES256"}', claims, b"x")
            body = b".".join(map(segment, parts))
            with self.subTest(claims=claims):
                self.assert_wrong(ASKED, answered(200, body, "application/jwt"))

    def test_an_expired_token_is_held_to_its_hour_and_its_key(self) -> None:
        """``true`` has a key that nobody knows, ``token`` one that is published."""
        past = {"iat": NOW - 3660, "exp": NOW - 3600}
        for expired, kid, right in (
            ("true", "J" * 43, True),
            ("true", KID, False),
            ("token", KID, True),
            ("token", "J" * 43, False),
        ):
            expect = Expect(OK, token=Asked(lifetime=60, expired=expired))
            case = replace(ASKED, expect=expect)
            with self.subTest(expired=expired, kid=kid[0]):
                if right:
                    judge(case, token(past, kid=kid), KNOWN, NOW)
                else:
                    self.assert_wrong(case, token(past, kid=kid), "published")

    def test_anything_private_is_wrong(self) -> None:
        """A member of a private key, in a document, a token, or as PEM."""
        case = Case("bodies", "x", DEV, b"GET", "/.well-known/jwks.json", "GET", Expect(OK))
        for body in (b'{"keys":[{"d":"x"}]}', b'{"x":"-----BEGIN PRIVATE KEY-----"}'):
            self.assert_wrong(case, answered(200, body, "application/json"))
        self.assert_wrong(ASKED, token(jwk={"d": "x"}))

    def test_a_wrong_verdict_of_introspection_is_wrong(self) -> None:
        """Active for a token that was changed, more than the verdict, or the token's own word."""
        wrong: list[dict[str, object]] = [
            {"active": True, "token_type": "Bearer"},
            {"active": "false"},
            {"active": False, "sub": "x"},
            {},
        ]
        for members in wrong:
            answer = answered(200, json.dumps(members).encode("ascii"), "application/json")
            with self.subTest(members=members):
                self.assert_wrong(INTROSPECTED, answer)
        right = replace(INTROSPECTED, expect=Expect(OK, active=True))
        for told in ({"active": True, "token_type": "x"}, {"active": False}):
            answer = answered(200, json.dumps(told).encode("ascii"), "application/json")
            self.assert_wrong(right, answer)

    def test_what_is_no_answer_is_found_in_a_stream(self) -> None:
        """Text before a status line, a wrong length, a body cut off, a status that has none."""
        right = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.assertEqual(len(list(answers_in(right * 3, b"GET"))), 3)
        bare = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        self.assertEqual(len(list(answers_in(bare + right + bare, b"HEAD GET"))), 3)
        for wrong in (
            b"hello" + right,
            right + b"x",
            right[:-1],
            bare,
            right[:20],
            right.replace(b": 2", b": -2"),
            b"HTTP/1.1 200 OK\r\n\r\nok",
            b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        ):
            with self.subTest(wrong=wrong), self.assertRaises(Wrong):
                list(answers_in(wrong, b"GET"))

    def test_what_should_not_be_in_a_log_is_found(self) -> None:
        """A traceback, an alarm, and what a client has forged: a line, or the end of a request."""
        begin = "2026-11-28T06:10:34+0000 [twisted.python.log#info] 127.0.0.1 - - [x]"
        right = f'{begin} "GET /Error HTTP/1.1" 404 9'
        self.assertEqual(list(complaints_in([right, ""])), [])
        for line in (
            "Traceback (most recent call last):",
            "2026-11-28T06:10:34+0000 [-] Unhandled Error",
            "2026-11-28T06:10:34+0000 [jwksd.issuing#critical] no token verifies",
            'forged" 200 5',
            f'{begin} "GET /" 200 5 "x HTTP/1.1" 404 9',
            f'{begin} "GET /\x1b[2J HTTP/1.1" 404 9',
        ):
            with self.subTest(line=line):
                self.assertEqual(len(list(complaints_in([right, line]))), 1)


class GrammarTests(TestCase):
    known = Known(("aa.bb.cc", "dd.ee.ff"), frozenset({KID}))

    def test_a_case_follows_from_its_seed_and_number(self) -> None:
        """Whichever others were made before it."""
        for kind in (None, *MAKERS):
            first = [make(7, number, FIXED, kind) for number in range(200)]
            again = [make(7, number, FIXED, kind) for number in reversed(range(200))]
            self.assertEqual(first, again[::-1])
            kinds = {case.kind for case in first if case is not None}
            self.assertEqual(kinds, set(MAKERS) if kind is None else {kind})

    def test_a_near_miss_is_another_name(self) -> None:
        """No name that is known, and none that is ignored, as it stands in the oracle."""
        random = Random(1)
        for names in (AUTH, DEVELOPER):
            for name in names:
                for _ in range(200):
                    missed, _ = misspell(random, name, (*names, *LOGIN))
                    self.assertNotIn(missed, (*names, *LOGIN, *UNKNOWN))

    def test_every_way_of_the_mutator_is_used(self) -> None:
        """And it takes any octets, one alone too."""
        random = Random(1)
        hows = {mutate(random, b"GET / HTTP/1.1", [b"x"])[1] for _ in range(500)}
        self.assertEqual(hows, {"flip", "replace", "delete", "cut", "double", "splice"})
        for _ in range(200):
            mutate(random, b"x", [b""])

    def test_what_fails_is_cut_down_to_what_makes_it_fail(self) -> None:
        """Two octets in different places, of a thousand."""

        async def fails(octets: bytes) -> bool:
            return b"A" in octets and b"B" in octets

        octets = b"x" * 300 + b"A" + b"y" * 300 + b"B" + b"z" * 300
        self.assertEqual(asyncio.run(shrink(octets, fails)), b"AB")


def compact(claims: bytes) -> str:
    parts = (b'{"alg":"ES256","kid":"x"}', claims, b"signature")
    return b".".join(map(segment, parts)).decode("ascii")


FIXED = Known((compact(b'{"exp":1}'), compact(b'{"exp":2}')), frozenset({KID}))


class Liar:
    """In place of a server: whatever it is asked, it says the same."""

    def __init__(self, port: int) -> None:
        self.port = port

    def memory(self) -> float:
        return 1.0


class RunTests(TestCase):
    def run_against(self, answer: bytes, kind: str) -> list[str]:
        """The violations of a run against a server that always gives this answer."""

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while await reader.read(65_536):
                    writer.write(answer)
            writer.close()

        async def run() -> list[str]:
            server = await asyncio.start_server(served, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            names = (PER_TOKEN.name, ROTATING.name, DEV.name, FULL.name)
            running: Any = {name: Liar(port) for name in names}
            made = Run(running, FIXED, seed=1, only=kind, most=3)
            async with server, asyncio.timeout(20):
                await made.run(40)
            return made.violations

        with redirect_stdout(StringIO()):
            return asyncio.run(run())

    def test_a_run_ends_at_a_server_that_answers_wrongly(self) -> None:
        """It names seed, number, input and answer, for each kind of input."""
        body = b"<html>Traceback</html>"
        head = b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Type: text/html\r\n"
        answer = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for kind in MAKERS:
            violations = self.run_against(answer, kind)
            with self.subTest(kind=kind):
                self.assertGreaterEqual(len(violations), 3)
                self.assertIn("VIOLATION 1:", violations[0])
                self.assertIn("sent b", violations[0])
                self.assertIn("Traceback", violations[0])

    def test_a_connection_that_ends_without_an_answer_is_a_violation(self) -> None:
        """And so is what is no HTTP."""
        for answer in (b"hello\r\n\r\n",):
            self.assertTrue(self.run_against(answer, "parameters"))
