"""The header fields of every document, judged by httplint: RFC 9110, RFC 9111, RFC 5861, CORS."""

from collections.abc import Iterator
from time import time

from httplint import HttpResponseLinter
from httplint.note import levels
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.issuing.issuer import Issuer
from jwksd.issuing.mintrequest import MintRequest
from jwksd.web.http.site import Site
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.http import JWKS, Connection

KEY_SETS = ("/.well-known/jwks.json", "/.well-known/{kid}.json")
METADATA = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
MEDIA_TYPES = ("application/json", "application/jwk-set+json")

FALSE_ALARMS = {
    # public lets a shared cache keep the answer to a request with Authorization too (RFC 9111
    # §3.5); verifiers behind a gateway send one along.
    ("PUBLIC_UNNECESSARY", b"public"),
    # With no-cache no freshness counts, found by heuristics or not (RFC 9111 §5.2.2.4).
    ("FRESHNESS_HEURISTIC", b"no-cache"),
}
"""Notes that are no fault where Cache-Control has this directive, each with the reason."""

Fields = list[tuple[str, str]]


def parse(octets: bytes) -> tuple[list[bytes], list[tuple[bytes, bytes]], bytes]:
    """Status line, fields and content of a response as it was sent."""
    head, _, body = octets.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return status.split(b" ", 2), fields, body


def lint(method: str, octets: bytes) -> HttpResponseLinter:
    """What httplint has to say of the response to a request."""
    (version, status, phrase), fields, body = parse(octets)
    linter = HttpResponseLinter(start_time=time())  # the Date of an answer is the real one
    linter.is_head_response = method == "HEAD"
    linter.process_response_topline(version.removeprefix(b"HTTP/"), status, phrase)
    linter.process_headers(fields)
    linter.feed_content(body)
    linter.finish_content(True)
    return linter


def complaints(linter: HttpResponseLinter) -> set[str]:
    """The names of the notes that are no praise and no mere information."""
    wrong = (levels.BAD, levels.WARN)
    return {type(note).__name__ for note in linter.notes if note.level in wrong}


def false_alarms(octets: bytes) -> set[str]:
    """The names of the notes that this response may have."""
    directives = dict(parse(octets)[1])[b"Cache-Control"].split(b", ")
    return {name for name, directive in FALSE_ALARMS if directive in directives}


class HeadersTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(time())

    def make(self, policy: str) -> tuple[Issuer, str]:
        """A working issuer, and the kid of the key that has signed a token."""
        issuer = make_issuer(self.clock, policy=policy)
        issuer.policy.start()
        self.addCleanup(issuer.stop)
        token = self.successResultOf(Deferred.fromCoroutine(issuer.mint(MintRequest())))
        return issuer, token.kid

    def ask(self, site: Site, method: str, path: str, fields: Fields) -> bytes:
        """The bytes of the response, as a real connection would carry them."""
        connection = Connection(site)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        connection.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        connection.lose()
        return connection.received

    def exchanges(self, site: Site, kid: str) -> Iterator[tuple[str, str, Fields, bytes]]:
        """Every document in every media type by GET, by HEAD, and by both when it is known."""
        for path in (path.format(kid=kid) for path in KEY_SETS + METADATA):
            for accept in MEDIA_TYPES:
                fields = [("Host", "localhost:8080"), ("User-Agent", "tests"), ("Accept", accept)]
                etag = dict(parse(self.ask(site, "GET", path, fields))[1])[b"ETag"].decode()
                for method in ("GET", "HEAD"):
                    yield method, path, fields, self.ask(site, method, path, fields)
                    known = [*fields, ("If-None-Match", etag)]
                    yield method, path, known, self.ask(site, method, path, known)

    def assert_clean(self, issuer: Issuer, kid: str) -> set[bytes]:
        """httplint finds no fault; the statuses that it has looked at."""
        site = Site(make_root(issuer), Clock())
        statuses = set()
        for method, path, fields, octets in self.exchanges(site, kid):
            with self.subTest(method=method, path=path, fields=fields):
                found = complaints(lint(method, octets))
                self.assertEqual(found - false_alarms(octets), set(), octets.decode())
            statuses.add(octets[9:12])
        return statuses


class DocumentHeaderTests(HeadersTestCase):
    def test_every_document_of_a_key_for_every_token(self) -> None:
        """Under the per-token policy no answer has a field that is wrong or missing."""
        self.assertEqual(self.assert_clean(*self.make("per-token")), {b"200", b"304"})

    def test_every_document_of_a_rotation(self) -> None:
        """Under the rotating policy caches get the same as they would read out of it."""
        self.assertEqual(self.assert_clean(*self.make("rotating")), {b"200", b"304"})

    def test_every_document_after_a_revocation(self) -> None:
        """On alert the shorter Cache-Control is as well-formed as the usual one."""
        issuer, revoked = self.make("rotating")
        calm = issuer.policy.cache_control
        self.successResultOf(Deferred.fromCoroutine(issuer.policy.revoke(revoked)))
        self.assertNotEqual(issuer.policy.cache_control, calm)
        token = self.successResultOf(Deferred.fromCoroutine(issuer.mint(MintRequest())))
        self.assertEqual(self.assert_clean(issuer, token.kid), {b"200", b"304"})

    def test_httplint_is_awake(self) -> None:
        """A field that is spoilt on the way is found, so that silence means something."""
        issuer, _ = self.make("rotating")
        fields = [("Host", "localhost:8080"), ("User-Agent", "tests")]
        octets = self.ask(Site(make_root(issuer), Clock()), "GET", KEY_SETS[0], fields)
        for old, new, note in (
            (b"max-age=", b"max-age=x", "BAD_CC_SYNTAX"),
            (b'ETag: "', b"ETag: ", "BAD_SYNTAX"),
            (b"Date: ", b"X-Date: ", "DATE_CLOCKLESS"),
            (b"Content-Length: ", b"Content-Length: 1", "CL_INCORRECT"),
        ):
            with self.subTest(old=old):
                self.assertIn(old, octets)
                spoilt = octets.replace(old, new, 1)
                self.assertIn(note, complaints(lint("GET", spoilt)))


class NoSniffTests(HeadersTestCase):
    """No browser takes an answer for something else than its Content-Type says."""

    def assert_said_once(self, octets: bytes, status: int) -> None:
        found = [value for name, value in parse(octets)[1] if name == b"X-Content-Type-Options"]
        self.assertEqual((octets[9:12], found), (b"%d" % status, [b"nosniff"]), octets)

    def test_every_kind_of_answer_says_nosniff(self) -> None:
        """Documents, tokens, problems and empty answers, when they are repeated too."""
        issuer, kid = self.make("rotating")
        site = Site(make_root(issuer), Clock())
        single, host = f"/.well-known/{kid}.json", ("Host", "localhost:8080")
        for method, path, fields, status in (
            *((method, path, [], 200) for method in ("GET", "HEAD") for path in METADATA),
            *((method, path, [], 200) for method in ("GET", "HEAD") for path in (JWKS, single)),
            ("GET", JWKS, [("If-None-Match", "*")], 304),
            ("POST", "/auth", [], 200),
            ("POST", "/auth", [("Accept", "application/json")], 200),
            ("POST", "/auth?expired=maybe", [], 400),
            ("POST", "/token", [], 401),
            ("GET", "/healthz", [], 200),
            ("GET", "/readyz", [], 200),
            ("GET", "/nothing", [], 404),
            ("GET", f"/.well-known/{'A' * 43}.json", [], 404),
            ("GET", "/auth", [], 405),
            ("POST", "/auth", [("Origin", "https://evil.example")], 403),
            ("OPTIONS", "/auth", [], 204),
            ("GET", JWKS, [host], 400),  # two of Host
        ):
            with self.subTest(method=method, path=path, fields=fields):
                for _ in range(2):
                    self.assert_said_once(self.ask(site, method, path, [host, *fields]), status)

    def test_an_error_without_a_request_says_nosniff(self) -> None:
        """What is no request, a head that is too large, and a request that never ends."""
        issuer, _ = self.make("rotating")
        for octets, status in (
            (b"GARBAGE\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n" + b"X-A: 0123456789\r\n" * 2_000, 431),
            (b"GET /" + b"x" * 20_000, 431),
            (b"GET / HTTP/1.1\r\nHost:", 408),
        ):
            with self.subTest(octets=octets[:30]):
                clock = Clock()
                connection = Connection(Site(make_root(issuer), clock))
                connection.send(octets)
                if not connection.received:
                    clock.advance(60)
                self.assert_said_once(connection.received, status)
                connection.lose()
