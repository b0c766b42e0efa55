"""GET jwks.json before there are the keys that it needs: held, then answered once and for all."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jwksd.dev.clock import DevClock
from jwksd.dev.faults import Fault, Faults
from jwksd.issuing.firstkeys import HOLD, Readers
from jwksd.issuing.rotating import Rotating
from jwksd.web.http.site import GRACE, Site
from jwksd.web.root import Dev, make_root
from tests.issuing.test_many_nodes import NodesTestCase
from tests.support.app import make_app
from tests.support.http import JWKS, Connection, HttpTestCase, get
from tests.support.keys import key_pair
from tests.support.rotation import SlowSource


class HoldTests(HttpTestCase):
    """A rotating server whose keys come when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.real = Clock()
        self.source = SlowSource()
        self.app = make_app(dev=True, source=self.source, policy="rotating", reactor=self.real)
        self.app.issuer.policy.start()

    def ask(self, path: str = JWKS, method: str = "GET", **arguments: Any) -> "Deferred[Any]":
        return self.app.client.request(method, "http://localhost:8080" + path, **arguments)

    def answered(self, asked: "Deferred[Any]") -> tuple[Any, bytes]:
        self.app.client.flush()
        response = self.successResultOf(asked)
        return response, self.successResultOf(response.content())

    def code(self, asked: "Deferred[Any]") -> int:
        self.app.client.flush()
        code: int = self.successResultOf(asked).code
        return code

    def kids(self, asked: "Deferred[Any]") -> list[str]:
        response, body = self.answered(asked)
        self.assertEqual(response.code, 200, body)
        return [key["kid"] for key in json.loads(body)["keys"]]

    @property
    def waiting(self) -> int:
        policy = self.app.issuer.policy
        assert isinstance(policy, Rotating)
        return len(policy.readers)

    def test_the_set_is_held_until_there_is_a_key(self) -> None:
        """By GET and HEAD, with a condition, and for a kid: nobody is told of an empty set."""
        kid = key_pair(0).kid
        asked = [
            self.ask(),
            self.ask(method="HEAD"),
            self.ask(headers={"If-None-Match": "*"}),
            self.ask(f"{JWKS}?kid={kid}"),
            self.ask(f"{JWKS}?kid=other"),
        ]
        for one in asked:
            self.assertNoResult(one)
        self.source.give()
        answers = [self.answered(one) for one in asked]
        self.assertEqual([one.code for one, _ in answers], [200, 200, 304, 200, 404])
        for _, body in (answers[0], answers[3], self.answered(self.ask())):
            self.assertEqual([key["kid"] for key in json.loads(body)["keys"]], [kid])

    def test_every_algorithm_is_waited_for(self) -> None:
        """One that has a key does not make up for one that has none."""
        self.source = SlowSource()
        self.app = make_app(source=self.source, policy="rotating", algorithms=["RS256", "PS256"])
        self.app.issuer.policy.start()
        held = self.ask()
        self.source.give()  # one of RS256, as all keys of the tests are
        self.assertNoResult(held)
        self.assertEqual(self.waiting, 1)

    def test_a_key_that_is_there_is_answered_at_once_for_its_kid(self) -> None:
        """Whatever else is missing."""
        self.source = SlowSource()
        self.app = make_app(source=self.source, policy="rotating", algorithms=["RS256", "PS256"])
        self.app.issuer.policy.start()
        self.source.give()
        self.assertEqual(self.kids(self.ask(f"{JWKS}?kid={key_pair(0).kid}")), [key_pair(0).kid])

    def test_it_is_held_for_ten_seconds(self) -> None:
        """Then it is 503, which says what is missing and when to come back; and so is HEAD."""
        asked, head = self.ask(), self.ask(method="HEAD")
        self.real.advance(HOLD - 0.1)
        self.assertNoResult(asked)
        later = self.ask()
        self.real.advance(0.1)
        response, body = self.answered(asked)
        problem = self.assert_problem(response, body, 503, "not-ready")
        self.assertIn("no RS256 key yet", problem["detail"])
        self.assertEqual(self.header(response, "retry-after"), "1")
        self.assertEqual(self.code(head), 503)
        self.assertNoResult(later)
        self.real.advance(HOLD - 0.1)
        self.assertEqual(self.code(later), 503)
        self.assertEqual(self.real.getDelayedCalls(), [])

    def test_one_timer_serves_all_who_wait(self) -> None:
        """However many they are; each has its own ten seconds."""
        timers = len(self.real.getDelayedCalls())
        asked = []
        for _ in range(40):
            asked.append(self.ask())
            self.real.advance(0.125)
        self.assertEqual(len(self.real.getDelayedCalls()), timers + 1)
        self.real.advance(HOLD - 5)
        self.assertEqual(self.waiting, 39)
        for _ in range(40):
            self.real.advance(0.125)
        self.assertEqual([self.code(one) for one in asked], [503] * 40)

    def test_a_client_that_leaves_is_forgotten(self) -> None:
        """At once; nothing is left of it but a timer, and others go on."""
        site = Site(make_root(self.app.issuer), self.real)
        leaves, stays = Connection(site), Connection(site)
        self.assertEqual((leaves.send(get(JWKS)), stays.send(get(JWKS))), (b"", b""))
        self.assertEqual(self.waiting, 2)
        leaves.lose()
        self.assertEqual(self.waiting, 1)
        self.source.give()
        self.assertEqual(leaves.received, b"")
        self.assertTrue(stays.received.startswith(b"HTTP/1.1 200 OK"))
        stays.lose()

    def test_so_is_one_that_leaves_after_a_delay_that_was_asked_for(self) -> None:
        """It waits for the keys then, as others do."""
        faults = Faults(self.real)
        faults.add(Fault("delay", count=1, until=None, delay=2))
        dev = Dev(DevClock(self.app.clock), faults)
        client = Connection(Site(make_root(self.app.issuer, dev), self.real))
        client.send(get(JWKS))
        self.assertEqual(self.waiting, 0)
        self.real.advance(2)
        self.assertEqual(self.waiting, 1)
        client.lose()
        self.assertEqual(self.waiting, 0)

    def test_after_a_reset_it_is_held_again(self) -> None:
        """And so it is for a client whose request was answered before, on the fast path."""
        self.source.give()
        self.assertEqual(len(self.kids(self.ask())), 1)
        self.answered(self.ask("/dev?action=resetkeys", "POST"))
        held = self.ask()
        self.assertNoResult(held)
        while self.source.takers:
            self.source.give()
        self.assertNotIn(key_pair(0).kid, self.kids(held))

    def test_a_set_that_was_complete_is_held_no_more(self) -> None:
        """While one algorithm has lost its key, verifiers of the others go on; not without any."""
        readers = Readers(self.real, ["RS256", "PS256"])
        for missing, empty, revoked, waits in (
            (["RS256", "PS256"], True, False, True),
            (["PS256"], False, False, True),
            (["PS256"], False, True, False),
            (["PS256"], False, False, True),
            ([], False, False, False),
            (["PS256"], False, False, False),
            (["RS256", "PS256"], True, True, False),
            (["RS256", "PS256"], True, False, True),
            (["RS256"], False, False, True),
        ):
            readers.follow(missing, empty=empty, revoked=revoked)
            with self.subTest(missing=missing, empty=empty, revoked=revoked):
                self.assertEqual(readers.must_wait, waits)

    def test_a_revocation_is_told_at_once(self) -> None:
        """Even of the only key: who waited for the next one would go on with the revoked one."""
        self.source.give()
        kid = key_pair(0).kid
        self.answered(self.ask(f"/dev?action=revoke&kid={kid}", "POST"))
        self.assertEqual(self.kids(self.ask()), [])
        response, _ = self.answered(self.ask())
        self.assertEqual(self.header(response, "cache-control"), "no-store")

    def test_nothing_else_is_held(self) -> None:
        """Health, discovery, unknown kids and introspection are answered as ever."""
        codes = [
            self.code(self.ask(path))
            for path in (
                "/healthz",
                "/readyz",
                "/.well-known/openid-configuration",
                f"/.well-known/{'x' * 43}.json",
            )
        ]
        self.assertEqual(codes, [200, 503, 200, 404])

    def test_who_waits_is_refused_when_the_server_stops(self) -> None:
        """At once, with 503, and so is who comes then: the ports need not wait for them."""
        asked = self.ask()
        self.app.issuer.policy.readers.dismiss()
        for one in (asked, self.ask()):
            response, body = self.answered(one)
            self.assert_problem(response, body, 503, "stopping")
            self.assertEqual(self.header(response, "retry-after"), "1")
        self.assertEqual(self.real.getDelayedCalls(), [])

    def test_a_fault_that_was_asked_for_is_not_held(self) -> None:
        """But the right answer that a delay delays is."""
        self.answered(self.ask("/dev?action=fault&fault=status&status=500", "POST"))
        self.assertEqual(self.code(self.ask()), 500)
        self.answered(self.ask("/dev?action=fault&fault=delay&delay=2", "POST"))
        asked = self.ask()
        self.app.clock.advance(2)
        self.assertNoResult(asked)
        self.source.give()
        self.assertEqual(len(self.kids(asked)), 1)


class OtherNodeTests(NodesTestCase):
    policy = "rotating"

    def test_the_key_of_another_node_ends_the_wait(self) -> None:
        """This node makes none: it answers as soon as it has read of it."""
        self.keys = SlowSource()  # type: ignore[assignment]
        self.store.__init__()  # type: ignore[misc]  # an empty one
        a, b = self.node(), self.node()
        asked = b.client.request("GET", f"http://localhost:8080{JWKS}")
        self.assertNoResult(asked)
        self.keys.give()  # type: ignore[attr-defined]  # which node a made
        self.clock.advance(5)
        b.client.flush()
        self.assertEqual(self.successResultOf(asked).code, 200)
        self.assertEqual(self.kids(a), self.kids(b))


class PerTokenTests(HttpTestCase):
    def test_an_empty_set_is_the_truth_where_every_token_has_a_key_of_its_own(self) -> None:
        """Before the first token there is no key to wait for."""
        response, body = self.request("GET", JWKS)
        self.assertEqual((response.code, body), (200, b'{"keys":[]}'))
        self.assertLess(HOLD, GRACE)
