"""HTTP in memory: a whole issuer behind the resource tree, and connections to a site."""

import json
import re
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jwksd.web.http.site import Site
from tests.support.app import App, make_app
from tests.support.keys import assert_public

JWKS = "/.well-known/jwks.json"


class HttpTestCase(SynchronousTestCase):
    """A whole issuer, driven over HTTP in memory."""

    app: App

    def setUp(self) -> None:
        self.app = make_app(dev=True)
        logged: list[Any] = []
        observe = logged.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(self.check_log, logged, observe)

    def check_log(self, logged: list[Any], observe: ILogObserver) -> None:
        """Nothing private was logged, whatever the test did."""
        globalLogPublisher.removeObserver(observe)
        for event in logged:
            assert_public(eventAsText(event).encode(), "the log")

    def request(self, method: str, path: str, **arguments: Any) -> tuple[Any, bytes]:
        """The response and its whole body."""
        response = self.successResultOf(
            self.app.client.request(method, "http://localhost:8080" + path, **arguments)
        )
        body = self.successResultOf(response.content())
        assert_public(body, f"the answer to {method} {path}")
        return response, body

    def header(self, response: Any, name: str) -> str | None:
        values = response.headers.getRawHeaders(name)
        return None if values is None else ", ".join(values)

    def assert_problem(self, response: Any, body: bytes, status: int, slug: str) -> Any:
        self.assertEqual(response.code, status)
        self.assertEqual(self.header(response, "content-type"), "application/problem+json")
        problem = json.loads(body)
        self.assertEqual(set(problem), {"type", "title", "status", "detail"})
        self.assertEqual(problem["type"], f"urn:jwksd:problem:{slug}")
        self.assertEqual(problem["status"], status)
        return problem


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    """Return the octets of a plain request."""
    head = "".join(f"{field}\r\n" for field in ("Host: localhost", *fields))
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()


def masked(answers: bytes) -> bytes:
    """Return answers without what differs each time: dates and tokens."""
    answers = re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: -", answers)
    return re.sub(rb"eyJ[\w-]*\.[\w-]*\.[\w-]*", b"TOKEN", answers)


class Connection:
    """A connection to a site, in memory, lost when the test says so or the site aborts it."""

    def __init__(self, site: Site, address: IAddress | None = None) -> None:
        self.transport = StringTransport()
        self.transport.abortConnection = self.lose  # type: ignore[method-assign]
        self.channel: Any = site.buildProtocol(address)
        self.channel.makeConnection(self.transport)
        self.lost = False

    def send(self, octets: bytes) -> bytes:
        """Send octets, and return what is answered at once."""
        before = len(self.transport.value())
        self.channel.dataReceived(octets)
        return self.transport.value()[before:]

    def lose(self) -> None:
        """End the connection, as a real transport does once it has written all."""
        if not self.lost:
            self.lost = True
            self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def received(self) -> bytes:
        """Everything that was answered."""
        return self.transport.value()

    @property
    def closing(self) -> bool:
        """Whether the site closes the connection once all is written."""
        return self.transport.disconnecting
