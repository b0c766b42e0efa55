"""A whole issuer, driven over HTTP in memory through the real resource tree."""

import json
from typing import Any

from twisted.logger import ILogObserver, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.app import App, make_app
from tests.support.keys import assert_public


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
