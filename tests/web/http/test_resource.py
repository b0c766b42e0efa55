"""Answers: what each status has, whatever is answered."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from jwksd.web.http.resource import respond
from jwksd.web.http.site import Site
from tests.support.http import Connection, get


class Fixed(Resource):
    """Answers everything in the same way."""

    isLeaf = True

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.status, self.body = status, body

    def render(self, request: Request) -> int:
        respond(request, self.status, self.body)
        return NOT_DONE_YET


class LengthTests(SynchronousTestCase):
    def answer(self, method: str, status: int, body: bytes = b"") -> bytes:
        return Connection(Site(Fixed(status, body), Clock())).send(get("/x", method=method))

    def test_every_answer_tells_its_length_but_those_that_have_none(self) -> None:
        """204 and 304 have no content, so no length either (RFC 9110 §8.6)."""
        for status, told in ((200, True), (204, False), (303, True), (304, False), (404, True)):
            for method in ("GET", "POST", "HEAD"):
                with self.subTest(status=status, method=method):
                    answer = self.answer(method, status)
                    self.assertEqual(b"\r\nContent-Length: 0\r\n" in answer, told)

    def test_to_head_goes_the_length_of_the_body_alone(self) -> None:
        """As to GET, octet for octet, and then nothing."""
        head, _, body = self.answer("GET", 200, b"abc").partition(b"\r\n\r\n")
        self.assertEqual(body, b"abc")
        self.assertIn(b"\r\nContent-Length: 3", head)
        self.assertEqual(self.answer("HEAD", 200, b"abc"), head + b"\r\n\r\n")
