"""GET jwks.json?kid=KID: one key of the set, as ``<kid>.json`` has it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from jwksd.dev.faults import Fault, Faults
from jwksd.web.root import Dev
from tests.issuing.test_many_nodes import NodesTestCase
from tests.support.fastpath import FastPathTestCase
from tests.support.http import JWKS, HttpTestCase, get

UNKNOWN = "x" * 43


class OneKeyTests(HttpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.kid, self.other = self.mint(), self.mint()

    def mint(self) -> str:
        response, body = self.request("POST", "/auth", headers={"Accept": "application/json"})
        self.assertEqual(response.code, 200)
        kid: str = json.loads(body)["kid"]
        return kid

    def ask(self, query: str, method: str = "GET", **headers: str) -> tuple[Any, bytes]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(method, f"{JWKS}?{query}", headers=fields)

    def test_the_answer_is_that_of_the_document_of_the_key(self) -> None:
        """Same bytes, same header fields, by GET and HEAD, with a condition and by Accept."""
        etag = self.header(self.ask(f"kid={self.kid}")[0], "etag") or ""
        for method in ("GET", "HEAD"):
            for fields in ({}, {"If_None_Match": etag}, {"Accept": "application/jwk-set+json"}):
                with self.subTest(method=method, fields=fields):
                    names = {name.replace("_", "-"): value for name, value in fields.items()}
                    path = f"/.well-known/{self.kid}.json"
                    expected, body = self.request(method, path, headers=names)
                    response, one = self.ask(f"kid={self.kid}", method, **fields)
                    self.assertEqual((response.code, one), (expected.code, body))
                    self.assertEqual(self.fields(response), self.fields(expected))

    def fields(self, response: Any) -> dict[bytes, list[bytes]]:
        """Header fields, without the time."""
        return {n: v for n, v in response.headers.getAllRawHeaders() if n.lower() != b"date"}

    def test_the_kid_is_percent_decoded(self) -> None:
        """Its name too; the same kid twice is no conflict."""
        encoded = "".join(f"%{ord(character):02x}" for character in self.kid)
        for query in (
            f"kid={encoded}",
            f"%6bid={self.kid}",
            f"x=1&kid={self.kid}&y",
            f"kid={self.kid}&kid={encoded}",
        ):
            with self.subTest(query=query):
                keys = json.loads(self.ask(query)[1])["keys"]
                self.assertEqual([key["kid"] for key in keys], [self.kid])

    def test_what_no_live_key_has_is_404(self) -> None:
        """Unknown, expired, empty, cut, with more around it, or no text at all."""
        for kid in (
            UNKNOWN,
            "",
            self.kid[:-1],
            self.kid + "+",
            "%ff",
            "a%00",
            "../x",
            f"{self.kid},",
        ):
            with self.subTest(kid=kid):
                self.assert_problem(*self.ask(f"kid={kid}"), 404, "unknown-key")
        self.assert_problem(*self.ask("kid"), 404, "unknown-key")
        self.assertEqual(self.ask(f"kid={UNKNOWN}", "HEAD")[0].code, 404)
        self.app.clock.advance(3600)
        self.assert_problem(*self.ask(f"kid={self.kid}"), 404, "unknown-key")

    def test_two_kids_are_refused(self) -> None:
        """Nobody can tell which is meant, whichever exists."""
        for query in (f"kid={self.kid}&kid={self.other}", f"kid={self.kid}&kid=", "kid=a&kid=b"):
            with self.subTest(query=query):
                problem = self.assert_problem(*self.ask(query), 400, "invalid-parameter")
                self.assertIn("kid is given twice", problem["detail"])

    def test_other_parameters_are_ignored(self) -> None:
        """Whatever they are; so is one that is only like it."""
        for query in (
            "",
            "x=1",
            f"Kid={self.kid}",
            f"kid[]={self.kid}",
            f"kids={self.kid}",
            "%ff",
            "&&=",
        ):
            with self.subTest(query=query):
                keys = json.loads(self.ask(query)[1])["keys"]
                self.assertEqual({key["kid"] for key in keys}, {self.kid, self.other})

    @given(
        st.text(st.characters(codec="ascii", exclude_characters='#\\ "<>^`{|}\r\n\t'), max_size=60)
    )
    def test_no_query_is_an_error_of_ours(self, query: str) -> None:
        """The whole set, one key, or a refusal."""
        query = "".join(character for character in query if character.isprintable())
        response, _ = self.ask(query)
        self.assertIn(response.code, (200, 400, 404))

    def test_faults_meet_it_too(self) -> None:
        """Each in its turn, and the next answer is right."""
        for fault, status, kids in (
            ("status", 503, None),
            ("empty", 200, []),
            ("missing", 200, []),
            ("duplicate", 200, [self.kid, self.kid]),
            ("unknown-type", 200, ["unknown-key-type", self.kid]),
            ("stale", 200, [self.kid]),
            ("media-type", 200, [self.kid]),
        ):
            with self.subTest(fault=fault):
                self.request("POST", f"/dev?action=fault&fault={fault}")
                response, body = self.ask(f"kid={self.kid}")
                self.assertEqual(response.code, status)
                if kids is not None:
                    self.assertEqual([key["kid"] for key in json.loads(body)["keys"]], kids)
                self.assertEqual(self.ask(f"kid={self.kid}")[0].code, 200)

    def test_a_stale_set_lacks_a_key_that_came_later(self) -> None:
        """As it lacks it without a kid."""
        self.request("POST", "/dev?action=fault&fault=stale")
        _, body = self.ask(f"kid={self.mint()}")
        self.assertEqual(json.loads(body), {"keys": []})

    def test_a_wrong_query_uses_no_fault_up(self) -> None:
        """It is refused before."""
        self.request("POST", "/dev?action=fault&fault=status")
        self.assertEqual(self.ask("kid=a&kid=b")[0].code, 400)
        self.assertEqual(self.ask(f"kid={self.kid}")[0].code, 503)

    def test_a_late_refusal_is_a_problem_too(self) -> None:
        """After a delay that was asked for."""
        self.request("POST", "/dev?action=fault&fault=delay&delay=2")
        asked = self.app.client.request("GET", f"http://localhost:8080{JWKS}?kid={UNKNOWN}")
        self.assertNoResult(asked)
        self.app.clock.advance(2)
        self.app.client.flush()
        self.assertEqual(self.successResultOf(asked).code, 404)


class RepeatTests(FastPathTestCase):
    policy = "per-token"

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.mint().kid, self.mint().kid

    def one(self, kid: str) -> bytes:
        return get(f"{JWKS}?kid={kid}")

    def test_the_fast_path_answers_it(self) -> None:
        """Each kid by itself, also after another one; the set is not mixed up with them."""
        for _ in range(2):
            for kid in (self.first, self.second):
                self.assertTrue(self.is_repeated(self.one(kid)))
                self.assertIn(kid.encode(), self.connection.send(self.one(kid)))
            self.assertEqual(self.connection.send(get(JWKS)).count(b'"kid"'), 2)
        self.assertEqual(self.site.fast_path.kinds, {})

    def test_what_is_gone_is_not_repeated(self) -> None:
        """A revoked key has no answer any more."""
        self.assertTrue(self.is_repeated(self.one(self.first)))
        revoked = Deferred.fromCoroutine(self.issuer.policy.revoke(self.first))
        self.successResultOf(revoked)
        self.assertTrue(self.connection.send(self.one(self.first)).startswith(b"HTTP/1.1 404 "))

    def test_a_fault_that_was_asked_for_is_met(self) -> None:
        """By a request that the fast path knows."""
        faults = Faults(self.clock)
        self.site = self.make_site(dev=Dev(self.clock, faults))  # type: ignore[arg-type]
        self.connection = type(self.connection)(self.site)
        self.assertTrue(self.is_repeated(self.one(self.first)))
        faults.add(Fault("status", count=1, until=None))
        answers = [self.connection.send(self.one(self.first)) for _ in range(2)]
        self.assertEqual([answer.split()[1] for answer in answers], [b"503", b"200"])


class NodesTests(NodesTestCase):
    def test_a_key_of_another_node_is_found_at_once(self) -> None:
        """The store is read for a kid that is not known here, and for no other."""
        token = self.mint(self.a)
        self.on(self.b)
        for reads in (1, 0):
            before = self.store.reads
            response, body = self.request("GET", f"{JWKS}?kid={token.kid}")
            self.assertEqual((response.code, body.count(token.kid.encode())), (200, 1))
            self.assertEqual(self.store.reads, before + reads)
        response, body = self.request("GET", f"{JWKS}?kid={UNKNOWN}")
        self.assert_problem(response, body, 404, "unknown-key")
