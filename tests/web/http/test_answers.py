"""The remembered answers: how they are put together, and in how many pieces."""

from typing import Any
from unittest import TestCase

from jwksd.web.http.answers import (
    AnswerToKind,
    AnswerToRequest,
    RememberedAnswer,
    can_be_repeated,
    can_serve_kind,
)
from jwksd.web.http.repeat import Repeat

HEAD = (
    b'HTTP/1.1 200 OK\r\nServer: x\r\nDate: then\r\nETag: "0"\r\nContent-Length: 3\r\nX: y\r\n\r\n'
)
ONE_PIECE = 16_384
"""Octets up to which a body is sent in one piece with its head; it is cheaper to copy those."""


def head(octets: int) -> bytes:
    """The head of an answer with so long a body."""
    return HEAD.replace(b"then", b"now").replace(b"3", b"%d" % octets)


class PiecesTests(TestCase):
    def both(self, body: bytes, *, bodiless: bool = False) -> list[RememberedAnswer]:
        """The answer to one request, and the answer to its kind, with this body."""
        repeat = Repeat(lambda: body, len(body))
        one = AnswerToRequest(HEAD + b"old", repeat, "GET /a", bodiless=bodiless)
        same_kind: Any = lambda hole: (body, b'"0"')  # noqa: E731
        kind = AnswerToKind(HEAD + b"old", b"a", 5, same_kind, "GET /a", bodiless=bodiless)
        return [one, kind]

    def test_a_short_body_goes_with_its_head(self) -> None:
        """In one piece, and with the length that it has now."""
        for octets in (0, 3, ONE_PIECE - 1, ONE_PIECE):
            body = b"b" * octets
            for answer in self.both(body):
                with self.subTest(octets=octets, answer=type(answer)):
                    self.assertEqual(answer.message(b"now"), (head(octets) + body,))
                    self.assertEqual(answer.length, octets)

    def test_a_long_body_is_sent_as_it_is(self) -> None:
        """It is the octets that all connections share, not a copy of them."""
        for octets in (ONE_PIECE + 1, 4 * ONE_PIECE):
            body = b"b" * octets
            for answer in self.both(body):
                with self.subTest(octets=octets, answer=type(answer)):
                    first, second = answer.message(b"now") or ()
                    self.assertEqual(first, head(octets))
                    self.assertIs(second, body)

    def test_to_head_no_body_is_sent(self) -> None:
        """The head tells its length all the same (RFC 9110 §9.3.2); the log tells none."""
        for octets in (3, ONE_PIECE + 1):
            for answer in self.both(b"b" * octets, bodiless=True):
                with self.subTest(octets=octets, answer=type(answer)):
                    self.assertEqual(answer.message(b"now"), (head(octets),))
                    self.assertEqual(answer.length, 0)

    def test_a_kind_has_the_body_of_each_hole(self) -> None:
        """With its length and its tag, whichever came before."""
        bodies = {b"a": (b"abc", b'"1"'), b"b": (b"abcd", b'"2"'), b"c": (b"cde", b'"3"')}
        kind = AnswerToKind(HEAD, b"a", 5, bodies.get, "GET /a HTTP", bodiless=False)
        for hole in (b"a", b"b", b"c", b"a"):
            kind.hole = hole
            body, tag = bodies[hole]
            expected = head(len(body)).replace(b'"0"', tag) + body
            self.assertEqual(kind.message(b"now"), (expected,))
            self.assertEqual(kind.summary, f"GET /{hole.decode()} HTTP")
        kind.hole = b"d"
        self.assertIsNone(kind.message(b"now"))

    def test_only_an_answer_that_says_so_can_be_repeated(self) -> None:
        """200 and 304, with one Date; to a kind, with the fields in their order."""
        for wrong in (
            HEAD.replace(b"200", b"404"),
            HEAD.replace(b"Date", b"Data"),
            HEAD.replace(b"X: y", b"Date: y"),
        ):
            self.assertFalse(can_be_repeated(wrong))
        for right in (HEAD, HEAD.replace(b"200 OK", b"304 Not Modified"), HEAD + b"\r\nDate: b"):
            self.assertTrue(can_be_repeated(right))
        self.assertTrue(can_serve_kind(HEAD))
        self.assertFalse(can_serve_kind(HEAD.replace(b"ETag", b"Tag")))
        self.assertFalse(
            can_serve_kind(HEAD.replace(b"ETag", b"Date").replace(b"Date", b"ETag", 1))
        )
