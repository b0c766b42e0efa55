"""The resources over HTTP, in memory, through treq and the whole of twisted.web."""

import json
from base64 import urlsafe_b64decode
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import getChildForRequest
from twisted.web.test.requesthelper import DummyRequest

from jwksd.jose.keys import KeyPair
from jwksd.web.root import make_root
from tests.support.app import make_app, make_issuer
from tests.support.http import JWKS, HttpTestCase
from tests.support.keys import NOW, BrokenSource, FullSource, NothingReady, key_pair


class AuthTests(HttpTestCase):
    def test_a_plain_post_gets_a_token(self) -> None:
        """POST /auth answers a JWT as application/jwt, never to be stored."""
        response, body = self.request("POST", "/auth")
        self.assertEqual(response.code, 200)
        self.assertEqual(self.header(response, "content-type"), "application/jwt")
        self.assertEqual(self.header(response, "cache-control"), "no-store")
        claims = json.loads(urlsafe_b64decode(body.split(b".")[1] + b"=="))
        self.assertEqual((claims["iat"], claims["exp"]), (NOW, NOW + 3600))

    def test_json_is_answered_to_who_prefers_it(self) -> None:
        """With Accept: application/json come token, kid, alg, iat and exp."""
        response, body = self.request("POST", "/auth", headers={"Accept": "application/json"})
        self.assertEqual(self.header(response, "content-type"), "application/json")
        answer = json.loads(body)
        self.assertEqual(list(answer), ["token", "kid", "alg", "iat", "exp"])
        self.assertEqual(answer["kid"], key_pair(0).kid)

    def test_plain_clients_get_a_token(self) -> None:
        """A username and password, in a form or by basic authentication, change nothing."""
        for arguments in (
            {"data": {"username": "u", "password": "p"}},
            {"auth": ("user", "password")},
            {"data": {"username": "u"}, "auth": ("u", "p")},
        ):
            with self.subTest(arguments=arguments):
                response, body = self.request("POST", "/auth", **arguments)
                self.assertEqual((response.code, body.count(b".")), (200, 2))

    def test_an_expired_token_is_asked_for_in_any_way(self) -> None:
        """By query, by form and by JSON."""
        for path, arguments in (
            ("/auth?expired=true", {}),
            ("/auth", {"data": {"expired": "true"}}),
            ("/auth", {"json": {"expired": True}}),
        ):
            with self.subTest(path=path, arguments=arguments):
                headers = {"Accept": "application/json"}
                _, body = self.request("POST", path, headers=headers, **arguments)
                self.assertEqual(json.loads(body)["exp"], NOW - 3600)

    def test_any_other_value_of_expired_is_refused(self) -> None:
        """Only true, false and token are values; 1 and TRUE are not."""
        for path, arguments in (
            ("/auth?expired=maybe", {}),
            ("/auth?expired=TRUE", {}),
            ("/auth?expired", {}),
            ("/auth", {"json": {"expired": 1}}),
            ("/auth", {"json": {"expired": ["true"]}}),
        ):
            with self.subTest(path=path, arguments=arguments):
                response, body = self.request("POST", path, **arguments)
                problem = self.assert_problem(response, body, 400, "invalid-parameter")
                self.assertIn("expired must be true, false or token", problem["detail"])

    def test_a_client_that_leaves_gives_up_its_turn(self) -> None:
        """When the connection is lost the wait for a key is cancelled, and nothing is logged."""
        source = LastWaiter()
        request = auth_request()
        root = make_root(make_issuer(self.app.clock, source))
        getChildForRequest(root, request).render(request)
        request.processingFailed(ConnectionError())
        self.assertTrue(source.cancelled)
        self.assertEqual(request.written, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_failure_after_the_client_left_is_logged(self) -> None:
        """Nobody is there to get the error, so it is logged."""
        source = LastWaiter(on_cancel=lambda waiter: waiter.errback(RuntimeError("late")))
        request = auth_request()
        root = make_root(make_issuer(self.app.clock, source))
        getChildForRequest(root, request).render(request)
        request.processingFailed(ConnectionError())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_overload_is_a_503_with_a_time_to_come_back(self) -> None:
        """The queue is full: the problem says so, and Retry-After when to try again."""
        self.app = make_app(source=FullSource())
        response, body = self.request("POST", "/auth")
        self.assert_problem(response, body, 503, "too-many-waiting")
        self.assertEqual(self.header(response, "retry-after"), "7")

    def test_our_own_fault_is_a_500_without_details(self) -> None:
        """The log has the failure, the client a problem without its text."""
        self.app = make_app(source=BrokenSource())
        response, body = self.request("POST", "/auth")
        self.assert_problem(response, body, 500, "internal-error")
        self.assertNotIn(b"secret", body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


def auth_request() -> DummyRequest:
    """POST /auth, on a connection that the test can lose."""
    request = DummyRequest([b"auth"])
    request.method, request.uri, request.content = b"POST", b"/auth", BytesIO()
    return request


class LastWaiter(NothingReady):
    """A source that remembers whether its taker gave up."""

    def __init__(self, on_cancel: Any = None) -> None:
        self.cancelled = False
        self._on_cancel = on_cancel

    def take(self, alg: str) -> "Deferred[KeyPair]":
        def cancel(waiter: Deferred[KeyPair]) -> None:
            self.cancelled = True
            if self._on_cancel:
                self._on_cancel(waiter)

        return Deferred(cancel)


class DocumentTests(HttpTestCase):
    def mint(self) -> str:
        _, body = self.request("POST", "/auth", headers={"Accept": "application/json"})
        kid: str = json.loads(body)["kid"]
        return kid

    def test_the_set_has_every_live_key(self) -> None:
        """Two tokens, two keys, oldest first."""
        kids = [self.mint()]
        self.app.clock.advance(1)
        kids.append(self.mint())
        _, body = self.request("GET", JWKS)
        self.assertEqual([key["kid"] for key in json.loads(body)["keys"]], kids)

    def test_a_key_has_a_document_of_its_own(self) -> None:
        """<kid>.json is a set of that one key."""
        kid, _ = self.mint(), self.mint()
        response, body = self.request("GET", f"/.well-known/{kid}.json")
        self.assertEqual(response.code, 200)
        self.assertEqual([key["kid"] for key in json.loads(body)["keys"]], [kid])

    def test_an_unknown_and_an_expired_key_are_404(self) -> None:
        """The detail names the kid."""
        kid = self.mint()
        self.app.clock.advance(3600)
        for wanted in (kid, "A" * 43):
            with self.subTest(wanted=wanted):
                response, body = self.request("GET", f"/.well-known/{wanted}.json")
                problem = self.assert_problem(response, body, 404, "unknown-key")
                self.assertIn(wanted, problem["detail"])

    def test_the_headers_are_those_of_the_contract(self) -> None:
        """Revalidate always, share with any origin, vary by Accept."""
        response, _ = self.request("GET", JWKS)
        for name, value in (
            ("content-type", "application/json"),
            ("cache-control", "no-cache"),
            ("access-control-allow-origin", "*"),
            ("vary", "Accept"),
        ):
            with self.subTest(name=name):
                self.assertEqual(self.header(response, name), value)

    def test_head_has_the_headers_of_get(self) -> None:
        """All of them, and no body."""
        for path in (JWKS, f"/.well-known/{self.mint()}.json"):
            with self.subTest(path=path):
                got, _ = self.request("GET", path)
                head, body = self.request("HEAD", path)
                self.assertEqual(body, b"")
                # treq takes it away from GET; the tests on a socket compare it.
                head.headers.removeHeader(b"content-length")
                self.assertEqual(head.headers, got.headers)

    def test_a_client_that_has_it_gets_304(self) -> None:
        """With the tag in hand, no body; after a change, the new document."""
        response, _ = self.request("GET", JWKS)
        tag = self.header(response, "etag")
        again, body = self.request("GET", JWKS, headers={"If-None-Match": tag})
        self.assertEqual((again.code, body), (304, b""))
        self.assertEqual(self.header(again, "etag"), tag)
        self.assertEqual(self.header(again, "cache-control"), "no-cache")
        self.assertIsNone(self.header(again, "content-length"))
        self.mint()
        changed, _ = self.request("GET", JWKS, headers={"If-None-Match": tag})
        self.assertEqual(changed.code, 200)

    def test_the_registered_media_type_goes_to_who_names_it(self) -> None:
        """The same bytes, as application/jwk-set+json."""
        headers = {"Accept": "application/jwk-set+json"}
        response, body = self.request("GET", JWKS, headers=headers)
        self.assertEqual(self.header(response, "content-type"), "application/jwk-set+json")
        self.assertEqual(body, self.request("GET", JWKS)[1])

    def test_a_preflight_is_answered(self) -> None:
        """A browser that wants to send If-None-Match across origins may."""
        response, _ = self.request("OPTIONS", JWKS)
        self.assertEqual(response.code, 204)
        self.assertEqual(self.header(response, "allow"), "GET, HEAD, OPTIONS")
        allowed = self.header(response, "access-control-allow-headers")
        self.assertEqual(allowed, "Authorization, Content-Type, *")
        self.assertEqual(self.header(response, "access-control-max-age"), "7200")


class TreeTests(HttpTestCase):
    def test_unknown_paths_are_404_and_swallow_nothing(self) -> None:
        """Neither below a leaf, nor beside one, nor at a folder is there anything."""
        kid = DocumentTests.mint(self)  # type: ignore[arg-type]
        for path in (
            "/",
            "/nothing",
            "/auth/",
            "/auth/x",
            "/.well-known",
            "/.well-known/",
            f"{JWKS}/x",
            f"/.well-known/{kid}.json/",
            f"/.well-known/{kid}",
            f"/.well-known/{kid}.json.json",
            "/.well-known/..%2fauth",
            "/.well-known/%00.json",
            "/dev/x",
        ):
            for method in ("GET", "POST", "OPTIONS"):
                with self.subTest(path=path, method=method):
                    response, body = self.request(method, path)
                    self.assert_problem(response, body, 404, "unknown-path")

    def test_methods_that_are_not_served_are_405(self) -> None:
        """Allow says which are."""
        for method, path, allow in (
            ("GET", "/auth", "POST, OPTIONS"),
            ("HEAD", "/auth", "POST, OPTIONS"),
            ("POST", JWKS, "GET, HEAD, OPTIONS"),
            ("BREW", "/dev", "GET, HEAD, POST, OPTIONS"),
        ):
            with self.subTest(method=method, path=path):
                response, body = self.request(method, path)
                self.assertEqual(response.code, 405)
                self.assertEqual(self.header(response, "allow"), allow)
                self.assertEqual(body == b"", method == "HEAD")

    def test_dev_is_unknown_without_the_option(self) -> None:
        """Without --dev it is a path like any other that does not exist."""
        self.app = make_app(dev=False)
        for method in ("GET", "POST"):
            response, body = self.request(method, "/dev?action=resetkeys")
            self.assert_problem(response, body, 404, "unknown-path")


class DevTests(HttpTestCase):
    def test_resetkeys_forgets_every_key(self) -> None:
        """After it the set is empty, and the answer says how many there were."""
        self.request("POST", "/auth")
        response, body = self.request("POST", "/dev?action=resetkeys")
        self.assertEqual(json.loads(body), {"action": "resetkeys", "removed": 1})
        self.assertEqual(self.header(response, "cache-control"), "no-store")
        self.assertEqual(self.request("GET", JWKS)[1], b'{"keys":[]}')

    def test_the_state_is_shown(self) -> None:
        """GET says how many keys are live, what the clock does, and which faults are to come."""
        self.request("POST", "/auth")
        clock = {"now": NOW, "frozen": False, "offset": 0}
        state = {"keys": 1, "clock": clock, "faults": []}
        self.assertEqual(json.loads(self.request("GET", "/dev")[1]), state)

    def test_a_get_changes_nothing(self) -> None:
        """An action by GET is refused, and the keys stay."""
        self.request("POST", "/auth")
        response, body = self.request("GET", "/dev?action=resetkeys")
        self.assertIn(
            "POST", self.assert_problem(response, body, 400, "invalid-parameter")["detail"]
        )
        self.assertEqual(len(self.app.issuer.policy.keys), 1)

    def test_an_unknown_action_is_refused(self) -> None:
        """The detail lists those that there are."""
        for path in ("/dev", "/dev?action=", "/dev?action=explode"):
            with self.subTest(path=path):
                response, body = self.request("POST", path)
                problem = self.assert_problem(response, body, 400, "invalid-parameter")
                self.assertIn("resetkeys", problem["detail"])
