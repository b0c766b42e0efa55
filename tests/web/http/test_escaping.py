"""What clients send stands in the log so that no line can be forged, and none misread."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jwksd.web.http.escaping import escaped
from jwksd.web.http.request import request_summary
from jwksd.web.http.resource import error_of
from jwksd.web.http.site import Site
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.fastpath import FastPathTestCase
from tests.support.http import Connection, get

LINE = re.compile(r'"(?:[^"\\]|\\x[0-9A-F]{2})* [^" ]* [^" ]*" [0-9]{3}')
"""What the access log says of an answer: three words in quotes, and a status."""


class EscapedTests(SynchronousTestCase):
    def test_what_could_be_mistaken_is_escaped_as_nginx_does(self) -> None:
        """Quotes, backslashes, DEL, controls, and what is not ASCII; in upper case."""
        for octets, text in (
            (b"/plain~?", "/plain~?"),
            (b'/a"b', "/a\\x22b"),
            (b"/a\\x22b", "/a\\x5Cx22b"),
            (b"\x7f\x00\x1b[2J\r\n\t", "\\x7F\\x00\\x1B[2J\\x0D\\x0A\\x09"),
            ("é\u2028".encode(), "\\xC3\\xA9\\xE2\\x80\\xA8"),
        ):
            self.assertEqual(escaped(octets), text)

    def test_what_is_long_is_cut_before_it_is_escaped(self) -> None:
        """So that no escape is cut in two."""
        self.assertEqual(escaped(b'"' * 300), "\\x22" * 200)
        self.assertEqual(escaped(b"abc", 2), "ab")

    @given(st.binary(max_size=200))
    def test_octets_can_be_read_back(self, octets: bytes) -> None:
        """Two that differ differ in the log too, which is printable ASCII without quotes."""
        text = escaped(octets)
        self.assertRegex(text, r"\A[ !#-~]*\Z")
        back = re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), text.encode())
        self.assertEqual(back, octets)


class LineTests(FastPathTestCase):
    def summaries(self, head: bytes) -> list[str]:
        """What the access log says of the answer to a request: nothing if it is none."""
        seen: list[str] = []
        self.patch(self.site, "log", lambda request: seen.append(request_summary(request)))
        answer = Connection(self.site).send(head)
        self.assertTrue(seen or answer.startswith(b"HTTP/1.1 400 "), head)
        return seen

    def test_a_request_is_one_line_whatever_its_octets(self) -> None:
        """In target and method; a path that looks like a line of the log is inside quotes."""
        for octet in [bytes([n]) for n in range(256) if n not in b"\r\n\0 \t?"]:
            for head in (get("/@"), get("/", method="GET@"), get("http://@/")):
                with self.subTest(octet=octet, head=head):
                    for summary in self.summaries(head.replace(b"@", octet, 1)):
                        self.assertRegex(summary, LINE)

    def test_a_forged_line_is_seen_to_be_one(self) -> None:
        """The end of the request line, a status, and another address."""
        forged = self.summaries(get('/"\x7f200\x7f-\\n10.0.0.1'))
        self.assertEqual(forged, ['"GET /\\x22\\x7F200\\x7F-\\x5Cn10.0.0.1 HTTP/1.1" 404'])

    def test_the_query_is_left_out_all_the_same(self) -> None:
        """Before anything is escaped."""
        self.assertEqual(self.summaries(get('/"?password=x')), ['"GET /\\x22 HTTP/1.1" 404'])


class OtherLinesTests(SynchronousTestCase):
    """Lines that are not of the access log."""

    def setUp(self) -> None:
        self.logged: list[Any] = []
        observe = self.logged.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.site = Site(make_root(make_issuer(Clock())), Clock())

    def test_the_warning_of_another_host_names_it_safely(self) -> None:
        """Where hosts are not checked, a client may send what it likes."""
        self.site.admission = replace(self.site.admission, check_host=False)
        path = "/.well-known/openid-configuration"
        Connection(self.site).send(get(path).replace(b"localhost", b"a'!$&;=~.example"))
        [line] = [eventAsText(event) for event in self.logged if "host" in event]
        self.assertIn("'a'!$&;=~.example' who the issuer is", line)

    def test_a_method_that_fails_is_named_safely(self) -> None:
        """It is the client's word; older releases of Twisted take any octets for one."""
        request = SimpleNamespace(method=b'"\x1b' + b"x" * 30)
        error_of(cast(Any, request), Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        methods = [event["method"] for event in self.logged if "method" in event]
        self.assertEqual(methods, ["\\x22\\x1B" + "x" * 18])
