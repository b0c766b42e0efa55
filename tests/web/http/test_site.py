"""The site on a transport in memory: what is no request, time-outs, the access log, the end."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from jwksd.jose.keys import KeyPair
from jwksd.web.http.site import GRACE, Site
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.http import Connection
from tests.support.keys import NOW, KeysInOrder, NothingReady, key_pair

GET = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


def take(channel: http.HTTPChannel, line: bytes) -> bool:
    """Take a header field as it comes."""
    name, _, value = line.partition(b":")
    channel.requests[-1].requestHeaders.addRawHeader(name, value.strip(b" "))
    return True


class Gate(NothingReady):
    """A source whose one key comes when the test says so."""

    def __init__(self) -> None:
        self.waiter: Deferred[KeyPair] = Deferred()

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return self.waiter


class SiteTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.gate = Gate()
        self.site = self.make_site(KeysInOrder())

    def make_site(self, source: Any) -> Site:
        return Site(make_root(make_issuer(self.clock, source)), self.clock)

    def assert_problem(self, connection: Connection, status: int) -> dict[str, Any]:
        head, _, body = connection.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), head)
        self.assertIn(b"Content-Type: application/problem+json", head)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertIn(b"Connection: close", head)
        self.assertTrue(connection.closing)
        problem: dict[str, Any] = json.loads(body)
        self.assertEqual(problem["status"], status)
        return problem


class NoRequestTests(SiteTestCase):
    def test_what_is_no_request_is_answered_with_a_problem(self) -> None:
        """Broken framing gets 400, an endless head 431; then the connection is closed."""
        for octets, status in (
            (b"GARBAGE\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            (b"POST /auth HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            (b"GET /" + b"x" * 20_000, 431),
            (b"GET / HTTP/1.1\r\n" + b"X-A: 0123456789\r\n" * 2_000, 431),
            (b"GET / HTTP/1.1\r\n" + b"A:\r\n" * 600, 431),
        ):
            with self.subTest(octets=octets[:40]):
                connection = Connection(self.site)
                connection.send(octets)
                self.assert_problem(connection, status)

    def test_bare_carriage_returns_and_line_feeds_are_refused(self) -> None:
        """By us, whatever Twisted takes; the fields after one are not read."""
        self.patch(http.HTTPChannel, "headerReceived", take)
        for octet in (b"\r", b"\n", b"\0"):
            for field in (b"A: b%bc: d", b"A: %bb", b"A: b%b", b"A: b\r\n %bc"):
                for more in (b"", b"B: c\r\n"):
                    with self.subTest(octet=octet, field=field, more=more):
                        connection = Connection(self.site)
                        line = field.replace(b"%b", octet)
                        connection.send(GET[:-2] + line + b"\r\n" + more + b"\r\n")
                        self.assert_problem(connection, 400)
                        connection.lose()

    def test_they_are_refused_in_trailer_fields_too(self) -> None:
        """What another takes for the end of the body would be a request to it (RFC 9112 §7.1.2)."""
        for octet in (b"\r", b"\n", b"\0"):
            for rest in (b"", GET):
                with self.subTest(octet=octet, rest=rest):
                    connection = Connection(self.site)
                    connection.send(
                        POST.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
                    )
                    connection.send(b"0\r\nA: b" + octet + b"c: d\r\n\r\n" + rest)
                    self.assert_problem(connection, 400)
                    connection.lose()

    def test_an_idle_connection_is_closed_in_silence(self) -> None:
        """Between requests nobody waits for an answer."""
        connection = Connection(self.site)
        self.clock.advance(60)
        self.assertTrue(connection.closing)
        self.assertEqual(connection.received, b"")
        connection.lose()

    def test_a_request_cut_short_gets_408(self) -> None:
        """A client that stops in the middle of its head or body learns why it is cut off."""
        for part in (b"GET / HTTP/1.1\r\nHost:", POST.replace(b": 0", b": 9") + b"half"):
            with self.subTest(part=part):
                connection = Connection(self.site)
                connection.send(part)
                self.clock.advance(60)
                self.assert_problem(connection, 408)
                connection.lose()


class RequestTests(SiteTestCase):
    def test_the_absolute_form_is_served(self) -> None:
        """RFC 9112 §3.2.2: a server must accept it."""
        for target, status in (
            (b"http://localhost/.well-known/jwks.json", b"200"),
            (b"http://localhost/.well-known/jwks.json?x=1", b"200"),
            (b"https://localhost", b"404"),
            (b"ftp://localhost/.well-known/jwks.json", b"400"),
            (b"http://[/", b"400"),
        ):
            with self.subTest(target=target):
                connection = Connection(self.site)
                connection.send(GET.replace(b"/.well-known/jwks.json", target))
                self.assertEqual(connection.received[9:12], status)

    def test_a_body_too_large_is_read_and_dropped(self) -> None:
        """The client sees 413, and its connection serves the next request."""
        connection = Connection(self.site)
        connection.send(
            b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n"
        )
        for _ in range(100):
            connection.send(b"x" * 100_000)
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 413 "))
        connection.transport.clear()
        connection.send(GET)
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 200 "))

    def test_a_fault_in_the_tree_is_a_problem(self) -> None:
        """Where no resource of ours was reached, the answer is no HTML page either."""
        self.site.getResourceFor = lambda request: 1 / 0
        connection = Connection(self.site)
        connection.send(GET)
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 500 "))
        self.assertIn(b"application/problem+json", connection.received)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_access_log_holds_no_query(self) -> None:
        """Clients put passwords there."""
        lines: list[str] = []
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)
        self.site.logFile = LinesTo(lines)
        connection = Connection(self.site)
        connection.send(GET.replace(b".json", b".json?password=secret"))
        connection.send(b"BREW /%FF HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertIn('"GET /.well-known/jwks.json HTTP/1.1" 200 11', lines[0])
        self.assertNotIn("secret", "".join(lines))
        self.assertIn(r'"BREW /%FF HTTP/1.1" 404', lines[1])


class LinesTo:
    """A log file that is a list."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append

    def close(self) -> None:
        pass


class DrainTests(SiteTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.site = self.make_site(self.gate)

    def test_without_connections_it_is_done_at_once(self) -> None:
        """Nothing to wait for."""
        self.successResultOf(self.site.drain())

    def test_an_idle_connection_is_closed(self) -> None:
        """A kept-alive connection without a request does not hold up the end."""
        connection = Connection(self.site)
        connection.send(GET)
        drained = self.site.drain()
        self.assertTrue(connection.closing)
        self.assertNoResult(drained)
        connection.lose()
        self.successResultOf(drained)

    def test_a_request_in_flight_is_answered(self) -> None:
        """It gets its token with Connection: close, and then all is done."""
        connection = Connection(self.site)
        connection.send(POST)
        drained = self.site.drain()
        self.assertFalse(connection.closing)
        self.gate.waiter.callback(key_pair())
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"Connection: close", connection.received)
        self.assertTrue(connection.closing)
        connection.lose()
        self.successResultOf(drained)
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()][1:], [])

    def test_a_request_half_received_is_answered(self) -> None:
        """It had begun before the end did."""
        connection = Connection(self.site)
        connection.send(GET[:45])
        self.site.drain()
        connection.send(GET[45:])
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 200 "))
        self.assertTrue(connection.closing)
        connection.lose()

    def test_after_the_grace_the_rest_is_cut_off(self) -> None:
        """A request that never ends does not keep the server alive."""
        connection = Connection(self.site)
        connection.send(POST)
        drained = self.site.drain()
        self.clock.advance(GRACE)
        self.assertTrue(connection.lost)
        self.successResultOf(drained)
