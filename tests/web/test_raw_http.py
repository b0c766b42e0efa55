"""The daemon on a real socket, spoken to in raw bytes: what no well-behaved client would ever send.

The client of ``tests.support.raw`` judges every answer. After each test the log of the daemon is
searched for anything private too, and the daemon must still answer.
"""

import atexit
import json
import re
import select
import socket
from base64 import b64encode
from contextlib import ExitStack, closing, suppress
from functools import cache
from struct import pack
from tempfile import TemporaryDirectory
from time import time
from typing import Any
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from tests.support.keys import PRIVATE_MEMBERS
from tests.support.processes import Daemon, running
from tests.support.raw import (
    HTML,
    JWT,
    UNKNOWN_KID,
    Answer,
    Wire,
    chunked,
    decoded,
    encoded,
    message,
)

JWKS = "/.well-known/jwks.json"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
JWK_SET = "application/jwk-set+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get")
MAX_BODY, TEN_MEGABYTES = 65_536, 10_000_000
RESET = pack("ii", 1, 0)
"""Of SO_LINGER: closing sends a reset."""
_PRIVATE = re.compile(rf"[\"']({'|'.join(sorted(PRIVATE_MEMBERS))})[\"']\s*:")
_ANY_STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3}) ")


@cache
def daemon(*options: str) -> Daemon:
    """The daemon with these options: started when first asked for, stopped when all is over.

    trial does not call setUpClass, setUpModule or their counterparts for a plain TestCase.
    """
    stack = ExitStack()
    started = stack.enter_context(running(stack.enter_context(TemporaryDirectory()), *options))
    atexit.register(stack.close)
    return started


_log_read: dict[int, int] = {}
"""How far the log of the daemon on each port was searched."""


class RawTestCase(TestCase):
    """Tests of one daemon, which outlives them."""

    options: tuple[str, ...] = ("--dev",)

    def setUp(self) -> None:
        self.daemon = daemon(*self.options)
        self.addCleanup(self.check_log)
        self.wires: list[Wire] = []
        self.addCleanup(self.close_all)

    def check_log(self) -> None:
        """The daemon still answers, nothing of it failed unseen, and it wrote no private key."""
        with closing(Wire(self.daemon.port)) as wire:
            self.assert_alive(wire)
        with self.daemon.log.open("rb") as log:
            log.seek(_log_read.get(self.daemon.port, 0))
            text = log.read().decode("utf-8", "replace")
            _log_read[self.daemon.port] = log.tell()
        self.assertNotRegex(text, "Traceback|Unhandled")
        self.assertNotRegex(text, _PRIVATE)

    def close_all(self) -> None:
        for wire in self.wires:
            wire.close()

    def connect(self, **options: Any) -> Wire:
        wire = Wire(self.daemon.port, **options)
        self.wires.append(wire)
        return wire

    def ask(
        self, start: str | bytes, *fields: str | bytes, body: str | bytes | None = None
    ) -> Answer:
        """The answer to one request on a connection of its own, and not one octet more."""
        wire = self.connect()
        wire.send(message(start, *fields, body=body))
        answer = wire.read(encoded(start).split(b" ")[0].decode("ascii"))
        wire.no_more()
        self.assertEqual(wire.rest(), b"")
        return answer

    def mint(self, *fields: str, body: str | None = None) -> dict[str, Any]:
        """A new token, and the other members of its answer."""
        answer = self.ask("POST /auth", f"Accept: {JSON}", *fields, body=body)
        self.assertEqual((answer.status, answer["Content-Type"]), (200, JSON), answer)
        self.assertEqual(set(answer.json), {"token", "kid", "alg", "iat", "exp"})
        minted: dict[str, Any] = answer.json
        return minted

    def keys(self) -> list[dict[str, str]]:
        """The keys that are published now."""
        keys: list[dict[str, str]] = self.ask(f"GET {JWKS}").json["keys"]
        return keys

    def assert_token(self, answer: Answer) -> None:
        """It is 200, and a JWT that the key of its kid verifies."""
        self.assertEqual((answer.status, answer["Content-Type"]), (200, JWT), answer)
        kid = json.loads(decoded(answer.body.split(b".")[0]))["kid"]
        (key,) = self.ask(f"GET /.well-known/{kid}.json").json["keys"]
        JWS().deserialize(answer.body.decode("ascii"), JWK(**key), alg="RS256")

    def assert_unpublished(self, minted: dict[str, Any]) -> None:
        """The key of this token is on no document."""
        self.assertNotIn(minted["kid"], [key["kid"] for key in self.keys()])
        self.assertEqual(self.ask(f"GET /.well-known/{minted['kid']}.json").status, 404)

    def assert_refused(self, octets: bytes, *statuses: int, method: str = "GET") -> Answer:
        """The bytes are answered with a problem of this status; then the connection is closed."""
        wire = self.connect()
        with suppress(ConnectionError):  # the server may close before it has read all
            wire.send(octets)
        answer = wire.read(method)
        self.assertIn(answer.status, statuses, answer)
        self.assertEqual(answer["Connection"], "close")
        self.assertEqual(wire.rest(), b"")
        return answer

    def assert_alive(self, wire: Wire) -> None:
        """The connection serves another request."""
        wire.send(message(f"GET {JWKS}"))
        self.assertEqual(wire.read().status, 200)


class MethodTests(RawTestCase):
    """Every method on every path."""

    def documents(self) -> tuple[str, str]:
        return JWKS, f"/.well-known/{self.mint()['kid']}.json"

    def paths(self) -> dict[str, set[str]]:
        """Every path that is served, and its methods."""
        served = {document: {"GET", "HEAD"} for document in self.documents()}
        return served | {"/auth": {"POST"}, "/dev": {"GET", "HEAD", "POST"}}

    def test_unknown_paths_are_404_with_any_method(self) -> None:
        """Where nothing is, no method gets anything but 404, OPTIONS included."""
        for path in (
            "/",
            "/.well-known",
            "/.well-known/",
            f"/.well-known/{UNKNOWN_KID}.json",
            "/nothing",
        ):
            for method in METHODS:
                with self.subTest(path=path, method=method):
                    self.assertEqual(self.ask(f"{method} {path}").status, 404)

    def test_methods_that_are_not_served_are_405(self) -> None:
        """With Allow, which names all that is served; HEAD on the POST-only path is one of them."""
        for path, served in self.paths().items():
            for method in set(METHODS) - served - {"OPTIONS"}:
                with self.subTest(path=path, method=method):
                    answer = self.ask(f"{method} {path}", body="")
                    self.assertEqual(answer.status, 405)
                    allow = answer["Allow"] or ""
                    self.assertEqual(set(allow.split(", ")), served | {"OPTIONS"})

    def test_options_is_204_with_allow(self) -> None:
        """On every path that is served."""
        for path, served in self.paths().items():
            with self.subTest(path=path):
                answer = self.ask(f"OPTIONS {path}")
                self.assertEqual(answer.status, 204)
                allow = answer["Allow"] or ""
                self.assertEqual(set(allow.split(", ")), served | {"OPTIONS"})

    def test_head_answers_the_headers_of_get(self) -> None:
        """The same fields with the same values, Content-Length and ETag too, and no body."""
        for path in (*self.documents(), "/dev", "/nothing", f"/.well-known/{UNKNOWN_KID}.json"):
            with self.subTest(path=path):
                head, get = self.ask(f"HEAD {path}"), self.ask(f"GET {path}")
                self.assertEqual(head.status, get.status)
                self.assertEqual(head.steady, get.steady)
                self.assertEqual(get["Content-Length"], str(len(get.body)))

    def test_connect_is_refused(self) -> None:
        """The server is no proxy."""
        self.assertIn(self.ask("CONNECT localhost:443").status, (400, 404, 405))


class PathTests(RawTestCase):
    def test_trailing_segments_are_not_swallowed(self) -> None:
        """What is below a path, or is that path with a slash, is nothing."""
        document = f"/.well-known/{self.mint()['kid']}.json"
        for path in ("/auth", "/dev", JWKS, document):
            for suffix in ("/", "/x", "//", "/.", "/..", "%2F", "/auth", "%00", "%0A", ";x", "%20"):
                for method in ("GET", "POST"):
                    with self.subTest(method=method, path=path + suffix):
                        answer = self.ask(f"{method} {path}{suffix}", body="")
                        self.assertEqual(answer.status, 404)

    def test_encoded_characters_are_the_same_path(self) -> None:
        """RFC 3986 §6.2.2.2: percent-encoding a character that needs none changes nothing."""
        document = f"/.well-known/{self.mint()['kid']}.json"
        for path in (JWKS, document):
            for form in ("%%%02X", "%%%02x"):
                with self.subTest(path=path, form=form):
                    target = "/".join(
                        "".join(form % ord(c) for c in part) for part in path.split("/")
                    )
                    self.assertEqual(self.ask(f"GET {target}").body, self.ask(f"GET {path}").body)

    def test_a_query_changes_no_document(self) -> None:
        """Whatever it holds."""
        for query in ("?", "?x", "?x=1&x=2", "?%FF", "?%00", "??"):
            with self.subTest(query=query):
                self.assertEqual(self.ask(f"GET {JWKS}{query}").status, 200)

    def test_what_is_no_kid_is_404(self) -> None:
        """Separators, NUL, dots, lengths and octets that no kid has: none is looked up, or used."""
        kid = self.mint()["kid"]
        for segment in (
            "",
            "x",
            "..",
            "%2E%2E",
            "%2F",
            f"%2F{kid}",
            f"{kid[:20]}%2F{kid[20:]}",
            "..%2F..%2Fetc%2Fpasswd",
            "%00",
            f"{kid}%00",
            f"{kid}%0A",
            f"{kid}=",
            f"%20{kid}",
            kid[:-1],
            kid + "A",
            kid.swapcase(),
            "A" * 10_240,
            "%C3%A9" * 43,
            "%FF" * 43,
            "\x80" * 43,
            "%",
            "%zz",
            "%u0041",
        ):
            with self.subTest(segment=segment[:80]):
                self.assertEqual(self.ask(f"GET /.well-known/{segment}.json").status, 404)

    def test_the_suffix_is_needed(self) -> None:
        """A kid alone, or with another suffix, is no document."""
        kid = self.mint()["kid"]
        for name in (kid, f"{kid}.", f"{kid}.JSON", f"{kid}.jwk", f"{kid}.json.json", "JWKS.json"):
            with self.subTest(name=name):
                self.assertEqual(self.ask(f"GET /.well-known/{name}").status, 404)

    def test_octets_beyond_ascii_are_no_target(self) -> None:
        """RFC 9112 §3.2: they are to be percent-encoded; raw they are 400, or an unknown path."""
        for octets in (b"\xc3\xa9", b"\xff", b"\xb1" * 43):
            with self.subTest(octets=octets):
                answer = self.ask(b"GET /.well-known/" + octets + b".json")
                self.assertIn(answer.status, (400, 404))

    def test_a_target_that_is_no_path_reaches_no_resource(self) -> None:
        """RFC 9112 §3.2: the origin form begins with a slash, and * stands alone."""
        for target in (
            "http://[/auth",
            "xauth",
            "*auth",
            "auth",
            "?auth",
            "\\auth",
            "%2Fauth",
            "ftp://localhost/auth",
            "http://localhost/auth#?expired=true",
        ):
            with self.subTest(target=target):
                self.assertIn(self.ask(f"POST {target}", body="").status, (400, 404))

    def test_the_absolute_form_is_served(self) -> None:
        """RFC 9112 §3.2.2: a server must accept it, query included."""
        for start, status in (
            (f"GET http://localhost{JWKS}", 200),
            (f"GET HTTP://LOCALHOST:8080{JWKS}?x=1", 200),
            (f"HEAD https://localhost{JWKS}", 200),
            ("POST http://localhost/auth?expired=maybe", 400),
            ("POST http://localhost/auth", 200),
            ("GET http://localhost", 404),
            ("GET http://localhost?x", 404),
            ("OPTIONS http://localhost/auth", 204),
        ):
            with self.subTest(start=start):
                self.assertEqual(self.ask(start).status, status)

    def test_the_asterisk_is_for_options_alone(self) -> None:
        """OPTIONS * asks the server as a whole (RFC 9110 §9.3.7); other methods get a problem."""
        answer = self.ask("OPTIONS *")
        self.assertIn((answer.status, answer.body), ((200, b""), (204, b"")))
        for method in ("GET", "POST", "BREW"):
            with self.subTest(method=method):
                self.assertIn(self.ask(f"{method} *").status, (400, 404, 405))


class LargeBodyTests(RawTestCase):
    def test_a_body_past_the_bound_is_413(self) -> None:
        """10 MB are read and dropped, and the connection serves the next request."""
        for content_type in (FORM, JSON, "multipart/form-data; boundary=b", "text/plain", ""):
            with self.subTest(content_type=content_type):
                wire = self.connect()
                field = f"Content-Type: {content_type}"
                wire.send(message("POST /auth", field, body=b"x" * TEN_MEGABYTES))
                self.assertEqual(wire.read().status, 413)
                self.assert_alive(wire)

    def test_a_chunked_body_past_the_bound_is_413(self) -> None:
        """The length need not be given beforehand."""
        wire = self.connect()
        wire.send(message("POST /auth", f"Content-Type: {FORM}", "Transfer-Encoding: chunked"))
        wire.send(chunked(*[b"x" * 50_000] * (TEN_MEGABYTES // 50_000)))
        self.assertEqual(wire.read().status, 413)
        self.assert_alive(wire)

    def test_the_bound_itself_is_read(self) -> None:
        """At it a form gets its token, one octet past it 413."""
        for size, status in ((MAX_BODY, 200), (MAX_BODY + 1, 413)):
            with self.subTest(size=size):
                form = b"x=" + b"y" * (size - 2)
                answer = self.ask("POST /auth", f"Content-Type: {FORM}", body=form)
                self.assertEqual(answer.status, status)

    def test_where_no_body_is_read_its_size_does_not_matter(self) -> None:
        """405, 404 and 200 are what they are without a body, and the connection lives on."""
        for start, status in (("PUT /auth", 405), ("POST /nothing", 404), (f"GET {JWKS}", 200)):
            with self.subTest(start=start):
                wire = self.connect()
                wire.send(message(start, body=b"x" * TEN_MEGABYTES))
                self.assertEqual(wire.read().status, status)
                self.assert_alive(wire)


class FramingTests(RawTestCase):
    """RFC 9112: where a request ends, and what is none."""

    def test_a_body_cut_short_gets_no_token(self) -> None:
        """The client promised 100 octets, sent 10 and left: no key is made for it."""
        before = self.keys()
        head = message("POST /auth", f"Content-Type: {FORM}", "Content-Length: 100")
        cut = message("POST /auth", f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        for octets in (head + b"0123456789", cut + b"64\r\n0123456789", cut + b"1\r\nx\r\n"):
            with self.subTest(octets=octets):
                wire = self.connect()
                wire.send(octets)
                wire.no_more()
                self.assertNotIn(b" 200 ", wire.rest())
        self.assertEqual(self.keys(), before)

    def test_a_malformed_chunked_body_is_400(self) -> None:
        """RFC 9112 §7.1: sizes are hexadecimal digits, and chunks end where their size says."""
        head = message("POST /auth", f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        for body in (
            b"zz\r\n",
            b"\r\n",
            b"-1\r\n",
            b"+1\r\nx\r\n0\r\n\r\n",
            b"0x1\r\nx\r\n0\r\n\r\n",
            b"1_0\r\n",
            b"1 \r\nx\r\n0\r\n\r\n",
            b"\xff\r\n",
            b"1\r\nxy\r\n0\r\n\r\n",
            b"2\r\nxy0\r\n\r\n",
            b"1;\x00\r\nx\r\n0\r\n\r\n",
            b"1;" + b"x" * 2_000,
            b"0" * 2_000,
            b"0\r\n" + b"A: b\r\n" * 20_000,
            b"0\r\nA: b\rc\r\n\r\n",
            b"0\r\nA: b\n\nc: d\r\n\r\n",
            b"%x\r\nx" % 2**33,
            b"f" * 40 + b"\r\n",
            b"1\r\nx\r\n" + b"f" * 400 + b"\r\nx",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n folded\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nA: b\x00\r\n\r\n",
            b"0\r\n" + message(f"GET {JWKS}"),
        ):
            with self.subTest(body=body[:30]):
                self.assert_refused(head + body, 400)

    def test_a_well_formed_chunked_body_is_read(self) -> None:
        """Whatever the size of its chunks, with extensions and trailers."""
        head = message("POST /auth", f"Content-Type: {FORM}", "transfer-encoding: Chunked")
        form = b"expired=maybe"
        for body in (
            chunked(form),
            chunked(*[b"%c" % octet for octet in form]),
            b'D;a="b"\r\n' + form + b"\r\n000\r\nA: b\r\nC:\r\nD: \xff :;\r\n\r\n",
        ):
            with self.subTest(body=body):
                wire = self.connect()
                wire.send(head + body)
                answer = wire.read()
                self.assertEqual(answer.status, 400)
                self.assertIn('"maybe"', answer.json["detail"])
                self.assert_alive(wire)

    def test_a_head_too_large_is_431(self) -> None:
        """Too many lines, too long a line, and each of them without end."""
        get = f"GET {JWKS} HTTP/1.1\r\nHost: localhost\r\n".encode()
        for octets in (
            get + b"A: 0123456789\r\n" * 2_000,
            get + b"A:\r\n" * 501 + b"\r\n",
            get + b"A: " + b"x" * 20_000,
            get + b"A: " + b"x" * 20_000 + b"\r\n\r\n",
            b"x" * 20_000,
            b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
            get + b"A: 0123456789\r\n" * 200_000,
            get + b"A: " + b"x" * 3_000_000,
        ):
            with self.subTest(octets=octets[:60], length=len(octets)):
                self.assert_refused(octets, 431)

    def test_a_length_given_twice_is_400(self) -> None:
        """Differing it is an attack, equal it is refused too; what follows is never answered."""
        smuggled = message(f"GET {JWKS}")
        for first, second in (("5", "6"), ("5", "5"), ("0", "0"), ("0", "5"), ("5", "0")):
            for name in ("Content-Length", "content-length"):
                with self.subTest(first=first, second=second, name=name):
                    fields = f"Content-Length: {first}", f"{name}: {second}"
                    self.assert_refused(message("POST /auth", *fields) + b"x=1&y" + smuggled, 400)

    def test_a_length_that_is_no_number_is_400(self) -> None:
        """Digits, and digits alone, are a length (RFC 9110 §8.6)."""
        for length in (b"x", b"", b"-1", b"+1", b"1.0", b"0x1", b"1 1", b"1,1", b"1e1", b"\xb2"):
            with self.subTest(length=length):
                self.assert_refused(message("POST /auth", b"Content-Length: " + length), 400)

    def test_a_length_of_5000_digits_is_refused(self) -> None:
        """RFC 9110 §8.6: a recipient must anticipate decimal numerals of any size."""
        octets = message("POST /auth", "Content-Length: " + "1" * 5_000)
        self.assert_refused(octets, 400, 413)

    def test_a_length_beside_a_transfer_coding_is_400(self) -> None:
        """RFC 9112 §6.3: it ought to be an error, for it is how requests are smuggled."""
        length, coding = "Content-Length: 5", "Transfer-Encoding: chunked"
        for fields in ((length, coding), (coding, length)):
            with self.subTest(fields=fields):
                octets = message("POST /auth", *fields) + chunked() + message(f"GET {JWKS}")
                self.assert_refused(octets, 400)

    def test_a_transfer_coding_that_is_not_chunked_is_400(self) -> None:
        """RFC 9112 §6.3: where chunked is not the final coding the server must answer 400."""
        for coding in (
            "gzip",
            "chunked, gzip",
            "chunked, chunked",
            "xchunked",
            "identity",
            "identity\r\nContent-Length: 5",
        ):
            with self.subTest(coding=coding):
                octets = message("POST /auth", f"Transfer-Encoding: {coding}") + b"x=1&y"
                self.assert_refused(octets, 400)

    def test_a_transfer_coding_of_http_1_0_is_400(self) -> None:
        """RFC 9112 §6.1: its framing is faulty, for a proxy of that version passes it on unseen."""
        fields = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assert_refused(b"POST /auth HTTP/1.0\r\n" + fields + b"0\r\n\r\n", 400)

    def test_lines_that_end_with_lf_alone_are_refused_at_once(self) -> None:
        """Else we would wait for the end of a line that has ended for the client."""
        for octets in (
            b"GET / HTTP/1.1\nHost: localhost\n\n",
            b"GET / HTTP/1.1\r\nHost: localhost\n\n",
            b"GET / HTTP/1.1\n",
            b"\r\nGET / HTTP/1.1\n",
        ):
            with self.subTest(octets=octets):
                self.assert_refused(octets, 400)

    def test_what_is_no_request_line_is_400(self) -> None:
        """Garbage, other protocols, and the version-less line of HTTP/0.9."""
        for line in (
            b"GARBAGE",
            b"GET /",
            b"GET",
            b" ",
            b"GET  / HTTP/1.1",
            b" GET / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET /a b HTTP/1.1",
            b"GET\t/\tHTTP/1.1",
            b"GET / http/1.1",
            b"GET / HTTP/0.9",
            b"GET / HTTP/1.2",
            b"GET / HTTP/2.0",
            b"GET / HTTP/11.1",
            b"GET / XTTP/1.1",
            b"G@T / HTTP/1.1",
            b"G\xc3\x8aT / HTTP/1.1",
            b"GET /\x00 HTTP/1.1",
            b"GET /\r HTTP/1.1",
            b"GET /\n HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"SSH-2.0-OpenSSH_9.9",
            b"\x80\x2e\x01\x03\x01",
            b"\x00" * 100,
            b"{}",
        ):
            with self.subTest(line=line):
                self.assert_refused(line + b"\r\nHost: localhost\r\n\r\n", 400)

    def test_a_folded_line_is_refused_wherever_its_request_stands(self) -> None:
        """First, behind one with a body, behind one without, and cut anywhere."""
        folded = message(f"GET {JWKS}", "A: b\r\n folded")
        for before, answered in (
            (b"", 0),
            (message(f"GET {JWKS}"), 1),
            (message("POST /auth?expired=maybe", body="x=1"), 1),
            (message("POST /auth?expired=maybe", body="\r\n \r\n\t"), 1),
            (message(f"GET {JWKS}") + message("POST /auth?expired=maybe", body="") + b"\r\n", 2),
        ):
            for cut in (0, 1, 20, len(folded) - 16, len(folded) - 10):
                with self.subTest(before=before[:20], cut=cut):
                    wire = self.connect()
                    wire.send(before + folded[:cut])
                    for _ in range(answered):
                        self.assertIn(wire.read().status, (200, 400, 415))
                    wire.send(folded[cut:])
                    self.assertEqual(
                        wire.read().json["type"], "urn:jwksd:problem:malformed-request"
                    )
                    self.assertEqual(wire.rest(), b"")

    def test_tls_is_closed_at_once(self) -> None:
        """A ClientHello ends no line, and no answer of ours would be understood."""
        for octets in (
            b"\x16",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
            message(f"GET {JWKS}") + b"\x16\x03\x01",
        ):
            with self.subTest(octets=octets[:20]):
                wire = self.connect()
                wire.send(octets)
                before = wire.rest()
                self.assertEqual(before.count(b"HTTP/1.1 "), octets.count(b"GET"))

    def test_what_no_method_begins_with_is_refused_at_once(self) -> None:
        """Other protocols' greetings need not end a line, for which the parser would wait."""
        for octets in (
            b"\x80\x2e\x01\x03\x01",
            b"\x00",
            b"\x05\x01\x00",
            b"\xff",
            b" GET",
            b"\tGET",
            b"{",
        ):
            with self.subTest(octets=octets):
                self.assert_refused(octets, 400)

    def test_what_is_no_header_field_is_400(self) -> None:
        """RFC 9112 §5: a name is a token right before its colon, a value has no control octets."""
        for field in (
            b"no colon",
            b": no name",
            b"A : b",
            b"A\t: b",
            b"A B: c",
            b"\xc3\xa9: b",
            b"A: b\x00c",
            b"A: b\rc",
            b"A: b\nc: d",
            b"Content-Length : 0",
            b"Transfer-Encoding\x0b: chunked",
            b" folded",
            b"\tfolded",
            b" ",
            b"A: b\r\n folded",
            b"A: b\r\n\tfolded",
            b"A:\r\n b",
            b"Content-Length:\r\n 0",
            b"Transfer-Encoding:\r\n chunked",
        ):
            for more in ((), (b"B: c",)):
                with self.subTest(field=field, more=more):
                    self.assert_refused(message(f"GET {JWKS}", field, *more), 400)

    def test_one_host_is_needed(self) -> None:
        """RFC 9112 §3.2: none, two, or one with an invalid value must be answered with 400."""
        start = f"GET {JWKS} HTTP/1.1\r\n".encode()
        for fields in (
            b"",
            b"Accept: */*\r\n",
            b"Host: localhost\r\nHost: localhost\r\n",
            b"Host: a\r\nhost: b\r\n",
            b"Host: a b\r\n",
            b"Host: a/b\r\n",
        ):
            with self.subTest(fields=fields):
                wire = self.connect()
                wire.send(start + fields + b"\r\n")
                self.assertEqual(wire.read().status, 400)

    def test_a_host_is_one_of_this_machine(self) -> None:
        """Names of loopback, addresses and any port are served; every other authority gets 421."""
        for status, hosts in (
            (200, ("localhost", "127.0.0.1:8080", "[::1]:8080", "A.LocalHost.:1", "10.0.0.1")),
            (421, ("a.example", "a.example:80", "A_b~c", "", ":80", "localhost.a.example")),
        ):
            for host in hosts:
                for start in (f"GET {JWKS}", "POST /auth", "POST /dev?action=reset", "GET /no"):
                    with self.subTest(host=host, start=start):
                        wire = self.connect()
                        wire.send(f"{start} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                        found = wire.read(start.split(" ")[0]).status
                        self.assertEqual(
                            found, 404 if (status, start) == (200, "GET /no") else status
                        )

    def test_a_target_in_absolute_form_has_a_host_too(self) -> None:
        """RFC 9112 §3.2.2: it stands instead of Host, so neither may be another server's."""
        for target, host, status in (
            ("http://localhost", "localhost", 200),
            ("http://a.example", "localhost", 421),
            ("http://localhost", "a.example", 421),
            ("http://u@localhost", "localhost", 421),
            ("http:///", "localhost", 421),
        ):
            with self.subTest(target=target, host=host):
                wire = self.connect()
                wire.send(f"GET {target}{JWKS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                self.assertEqual(wire.read().status, status)

    def test_a_refusal_of_head_has_no_body(self) -> None:
        """RFC 9110 §9.3.2: the server must not send content, whatever the status."""
        for field in ("Content-Length: x", "no colon"):
            with self.subTest(field=field):
                self.assert_refused(message("HEAD /auth", field), 400, method="HEAD")

    def test_every_answer_is_dated(self) -> None:
        """RFC 9110 §6.6.1: a server with a clock must send Date with 2xx, 3xx and 4xx."""
        for octets, status in (
            (message(f"GET {JWKS}"), 200),
            (message("OPTIONS /auth"), 204),
            (message(f"GET {JWKS}", "If-None-Match: *"), 304),
            (message("GET /nothing"), 404),
            (message("GET /nothing", "Content-Length: x"), 400),
            (b"x" * 20_000, 431),
        ):
            with self.subTest(status=status):
                wire = self.connect()
                wire.send(octets)
                answer = wire.read()
                self.assertEqual(answer.status, status)
                self.assertRegex(
                    answer["Date"] or "", r"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} .* GMT$"
                )


class ConnectionTests(RawTestCase):
    """RFC 9112 §9: how requests follow one another, and when it ends."""

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """Several in one send, of different kinds, each with its own answer."""
        starts = [f"GET {JWKS}", "GET /nothing", f"HEAD {JWKS}", "PUT /auth", "OPTIONS /auth"] * 3
        wire = self.connect()
        wire.send(b"".join(message(start, body="body") for start in starts))
        statuses = [wire.read(start.split(" ")[0]).status for start in starts]
        self.assertEqual(statuses, [200, 404, 200, 405, 204] * 3)
        wire.no_more()
        self.assertEqual(wire.rest(), b"")

    def test_a_get_behind_a_post_sees_its_key(self) -> None:
        """The token is answered first, then the set with its key, however much follows."""
        get = message(f"GET {JWKS}", "X-Padding: " + "x" * 100)
        wire = self.connect()
        wire.send(message("POST /auth", f"Accept: {JSON}", body="") + get * 300)
        kid = wire.read().json["kid"]
        for _ in range(300):
            self.assertIn(kid, [key["kid"] for key in wire.read().json["keys"]])

    def test_pipelined_posts_get_a_token_each(self) -> None:
        """Each with a key of its own."""
        wire = self.connect()
        wire.send(message("POST /auth", f"Accept: {JSON}", body="") * 5)
        self.assertEqual(len({wire.read().json["kid"] for _ in range(5)}), 5)

    def test_a_client_that_does_not_read_is_not_read_from(self) -> None:
        """Answers that nobody takes do not pile up in memory; once taken, none is missing."""
        self.ask("POST /dev?action=resetkeys")
        self.mint()
        get = message(f"GET {JWKS}")
        wire = self.connect(small=True)
        sent = 0
        while select.select([], [wire.socket], [], 1)[1]:
            sent += wire.socket.send((get * 100)[sent % len(get) :])
            self.assertLess(sent, 1_500_000, "the server reads on and on")
        self.assertEqual({wire.read().status for _ in range(sent // len(get))}, {200})
        wire.send(get[sent % len(get) :])
        self.assertEqual(wire.read().status, 200)

    def test_a_request_may_come_octet_by_octet(self) -> None:
        """Wherever the network cuts it, it is the same request."""
        chunks = message("POST /auth", f"Content-Type: {JSON}", "Transfer-Encoding: chunked")
        wire = self.connect()
        for octets, status in (
            (message(f"GET {JWKS}", "Accept: */*"), 200),
            (message("POST /auth", f"Content-Type: {FORM}", body="expired=maybe"), 400),
            (chunks + chunked(b'{"expi', b'red":3}'), 400),
            (message(f"GET {JWKS}"), 200),
        ):
            with self.subTest(octets=octets):
                for octet in octets:
                    wire.send(bytes([octet]))
                self.assertEqual(wire.read().status, status)

    def test_an_empty_line_before_a_request_is_ignored(self) -> None:
        """RFC 9112 §2.2: a server should ignore at least one."""
        wire = self.connect()
        for _ in range(3):
            wire.send(b"\r\n")
            self.assert_alive(wire)

    def test_http_1_0_is_answered_and_closed(self) -> None:
        """Host is not needed, and the end of the connection is the end of the answer."""
        for octets, status in (
            (f"GET {JWKS} HTTP/1.0\r\n\r\n", 200),
            (f"HEAD {JWKS} HTTP/1.0\r\n\r\n", 200),
            (f"GET {JWKS} HTTP/1.0\r\nConnection: close\r\n\r\n", 200),
            ("GET /nothing HTTP/1.0\r\n\r\n", 404),
            ("PUT /auth HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", 405),
            ("POST /auth HTTP/1.0\r\n\r\n", 200),
            ("OPTIONS /auth HTTP/1.0\r\n\r\n", 204),
        ):
            with self.subTest(octets=octets):
                wire = self.connect()
                wire.send(octets.encode())
                self.assertEqual(wire.read(octets.split(" ")[0]).status, status)
                self.assertEqual(wire.rest(), b"")

    def test_close_is_heeded_wherever_it_stands(self) -> None:
        """RFC 9112 §9.6: after a request with the option close the server must close."""
        for fields in (
            ("Connection: close",),
            ("Connection: Close",),
            ("Connection: keep-alive, close",),
            ("Connection: close, TE",),
            ("Connection: close,TE",),
            ("Connection: TE", "Connection: close"),
        ):
            with self.subTest(fields=fields):
                octets = message("GET /nothing", *fields) + message(f"GET {JWKS}")
                self.assert_refused(octets, 404)

    def test_a_client_that_has_sent_all_gets_its_answer(self) -> None:
        """Closing the sending half, as ``nc -N`` does, is no loss of interest in the document."""
        for _ in range(10):
            wire = self.connect()
            wire.send(message(f"GET {JWKS}"))
            wire.no_more()
            self.assertEqual(wire.read().status, 200)
            self.assertEqual(wire.rest(), b"")

    def test_a_client_that_resets_its_connection_is_no_fault(self) -> None:
        """Before, within and after its request: nothing is logged as a failure."""
        post = message("POST /auth", f"Content-Type: {FORM}", body="x=1")
        for octets in (b"", post[:40], post[:-1], post, post * 3, message(f"GET {JWKS}") * 100):
            for _ in range(3):
                wire = self.connect()
                wire.send(octets)
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                wire.close()

    def test_an_expectation_is_met_before_the_body(self) -> None:
        """RFC 9110 §10.1.1: 100 comes as soon as the head has, and the answer after the body."""
        for expectation in ("100-continue", "100-Continue"):
            with self.subTest(expectation=expectation):
                wire = self.connect()
                fields = f"Expect: {expectation}", f"Content-Type: {FORM}", "Content-Length: 3"
                wire.send(message("POST /auth", *fields))
                self.assertEqual(wire.read().status, 100)
                wire.send(b"x=1")
                self.assertEqual(wire.read().status, 200)

    def test_http_1_0_never_gets_100_continue(self) -> None:
        """RFC 9110 §10.1.1: an expectation in an HTTP/1.0 request must be ignored."""
        wire = self.connect()
        wire.send(b"POST /auth HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nx=1")
        self.assertEqual(wire.read().status, 415)


class AuthTests(RawTestCase):
    def post(self, content_type: str | bytes, body: str | bytes, query: str = "") -> Answer:
        field = b"Content-Type: " + encoded(content_type)
        return self.ask(f"POST /auth{query}", field, body=body)

    def part(self, name: str, value: str) -> str:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'

    def test_every_plain_client_gets_a_token(self) -> None:
        """Without a body, with a form of either kind, with credentials of either kind."""
        basic = b64encode(b"username:password").decode()
        form = ("username=u&password=p", f"Content-Type: {FORM}")
        parts = self.part("username", "u") + self.part("password", "p") + "--b--\r\n"
        for fields, body in (
            ((), None),
            ((), ""),
            ((f"Content-Type: {JSON}",), ""),
            ((f"Content-Type: {JSON}",), "{}"),
            ((form[1],), form[0]),
            ((form[1] + "; charset=UTF-8",), form[0]),
            (("Content-Type: multipart/form-data; boundary=b",), parts),
            (('Content-Type: multipart/form-data; boundary="b"',), parts),
            ((f"Authorization: Basic {basic}",), None),
            ((f"Authorization: Basic {basic}", form[1]), form[0]),
            (("Authorization: Basic %%% not base64",), ""),
            (("Authorization: Basic",), ""),
            (("Authorization: Bearer x.y.z", "Cookie: a; =b; c=d=e"), ""),
        ):
            with self.subTest(fields=fields, body=body):
                self.assert_token(self.ask("POST /auth", *fields, body=body))

    def test_unknown_names_in_query_and_form_are_ignored(self) -> None:
        """However often they come, and with whatever values."""
        parts = self.part("scope", "a") + self.part("scope", "b") + "--b--\r\n"
        for content_type, body, query in (
            (FORM, "scope=a&scope=b&password=%C3%A9", ""),
            (FORM, "x=1", "?scope=a&scope=b&scope"),
            ("multipart/form-data; boundary=b", parts, ""),
        ):
            with self.subTest(content_type=content_type):
                self.assert_token(self.post(content_type, body, query))

    def test_unknown_values_are_ignored_whatever_their_octets(self) -> None:
        """A password in Latin-1, or a file beside it, is no reason to refuse the token."""
        file = self.part("avatar", "\xff\xd8\xff").encode("latin-1") + b"--b--\r\n"
        for content_type, body, query in (
            (FORM, "username=u&password=%E9", ""),
            (FORM, b"username=u&password=\xe9", ""),
            (FORM, "x=1", "?password=%E9"),
            ("multipart/form-data; boundary=b", file, ""),
        ):
            with self.subTest(content_type=content_type, body=body, query=query):
                self.assert_token(self.post(content_type, body, query))

    def test_an_expired_token_is_had_in_every_way(self) -> None:
        """It expired an hour ago, and its key is on no document."""
        parts = self.part("expired", "true") + "--b--\r\n"
        for fields, body in (
            ((f"Content-Type: {JSON}",), '{"expired": true}'),
            ((f"Content-Type: {JSON}",), '{"expired": true, "expired": true}'),
            ((f"Content-Type: {FORM}",), "expired=true&username=u"),
            (("Content-Type: multipart/form-data; boundary=b",), parts),
        ):
            with self.subTest(fields=fields, body=body):
                minted = self.mint(*fields, body=body)
                self.assertAlmostEqual(minted["exp"], time() - 3600, delta=10)
                self.assert_unpublished(minted)

    def test_a_json_body_is_refused_by_its_fault(self) -> None:
        """Each fault is 400 with a detail that names it; no octets of a body lead elsewhere."""
        for body, named in (
            ('{"expierd": true}', '"expierd"'),
            ('{"login": "u", "pass": "p"}', '"login", "pass"'),
            ('{"\\ud800": 1}', "ud800"),
            ("[]", "object"),
            ('["expired"]', "object"),
            ("true", "object"),
            ("null", "object"),
            ('"expired"', "object"),
            ("{", "JSON"),
            ("{}{}", "JSON"),
            (" ", "JSON"),
            ("{'expired': true}", "JSON"),
            ("expired=true", "JSON"),
            (b"\xef\xbb\xbf\xef\xbb\xbf{}", "JSON"),
            ('{"claims": {"n": 1e400}}', "1e400"),
            (b"\x00", "JSON"),
            ('{"expired": NaN}', "NaN"),
            ('{"expired": -Infinity}', "Infinity"),
            ('{"expired": 1' + "0" * 5_000 + "}", ""),
            (b'{"expired": "\xff"}', "UTF-8"),
            ('{"expired": true}'.encode("utf-16"), "UTF-8"),
            ("[" * 60_000, "deep"),
            ('{"a":' * 12_000, "deep"),
            ("[" * 30_000 + "]" * 30_000, "deep"),
            ('{"expired": true, "expired": false}', "expired"),
            ('{"expired": "true", "expired": true}', "expired"),
        ):
            with self.subTest(body=body[:40]):
                answer = self.post(JSON, body)
                self.assertEqual(answer.status, 400)
                self.assertIn(named, answer.json["detail"])

    def test_100_000_levels_of_json_are_too_large(self) -> None:
        """Its depth is never looked at."""
        self.assertEqual(self.post(JSON, "[" * 100_000).status, 413)

    def test_any_other_value_of_expired_is_400(self) -> None:
        """Wherever it stands, the detail names the parameter."""
        for value in ("1", "0", "1.0", "[null]", '""', '"TRUE"', '"maybe"', "[true]", '{"a": {}}'):
            with self.subTest(json=value):
                answer = self.post(JSON, f'{{"expired": {value}}}')
                self.assertEqual(answer.status, 400)
                self.assertIn("expired", answer.json["detail"])
        for value in ("expired=maybe", "expired=", "expired", "expired=True", "expired=%00"):
            for answer in (self.ask(f"POST /auth?{value}"), self.post(FORM, value)):
                with self.subTest(urlencoded=value):
                    self.assertEqual(answer.status, 400)
                    self.assertIn("expired", answer.json["detail"])

    def test_expired_twice_with_different_values_is_400(self) -> None:
        """In one place or in two; once more the same value is no fault."""
        parts = self.part("expired", "true") + self.part("expired", "false") + "--b--\r\n"
        for content_type, body, query in (
            (FORM, "", "?expired=true&expired=false"),
            (FORM, "expired=false&expired=true", ""),
            (FORM, "expired=false", "?expired=true"),
            (FORM, "expired=false", "?expired="),
            (JSON, '{"expired": false}', "?expired=true"),
            ("multipart/form-data; boundary=b", parts, ""),
        ):
            with self.subTest(body=body, query=query):
                answer = self.post(content_type, body, query)
                self.assertEqual(answer.status, 400)
                self.assertIn("expired is given twice", answer.json["detail"])
        self.assert_token(self.post(FORM, "expired=false&expired=false", "?expired=false"))

    def test_a_number_is_not_the_boolean_that_it_equals(self) -> None:
        """JSON's 1 and true are different values, in whichever order they are given."""
        for first, second in (("1", "true"), ("true", "1"), ("0", "false"), ("0.0", "false")):
            with self.subTest(first=first, second=second):
                body = f'{{"expired": {first}, "expired": {second}}}'
                self.assertEqual(self.post(JSON, body).status, 400)

    def test_a_malformed_multipart_body_is_400(self) -> None:
        """Without a boundary, with a wrong one, cut short, or nothing of the kind."""
        good = self.part("x", "1") + "--b--\r\n"
        for parameters, body in (
            ("", good),
            ("; boundary=", good),
            ("; boundary=c", good),
            ("; boundary=\xff", good),
            ("; boundary=b", good[:-6]),
            ("; boundary=b", "x"),
            ("; boundary=b", good.replace("\r\n", "\n")),
            ("; boundary=b", good.replace("form-data", "attachment")),
            ("; boundary=b", self.part("x", "1") * 101 + "--b--\r\n"),
        ):
            with self.subTest(parameters=parameters, body=body[:60]):
                self.assertEqual(self.post(f"multipart/form-data{parameters}", body).status, 400)

    def test_a_content_type_of_backslashes_is_read_at_once(self) -> None:
        """One that parsers have needed exponential time for does not keep the server."""
        for count in (44, 8_000):
            with self.subTest(count=count):
                content_type = 'multipart/form-data; a="' + "\\" * count + "x"
                self.assertEqual(self.post(content_type, "x").status, 400)

    def test_a_body_of_another_type_is_415(self) -> None:
        """No body is passed over in silence, and no octets of Content-Type lead elsewhere."""
        for content_type in (
            "text/plain",
            "text/html",
            "application/xml",
            "application/jsonx",
            "application/merge-patch+json",
            "multipart/mixed; boundary=b",
            "",
            ";",
            "json",
            b"text/\xc3\xa9",
            b"text/\xff",
            b"\xff",
        ):
            with self.subTest(content_type=content_type):
                self.assertEqual(self.post(content_type, "expired=true").status, 415)
        self.assertEqual(self.ask("POST /auth", body="expired=true").status, 415)

    def test_minting_allows_no_foreign_origin(self) -> None:
        """Neither the token nor the answers around it can be read across origins."""
        origin = "Origin: https://evil.example"
        preflight = "Access-Control-Request-Method: POST"
        for answer in (
            self.ask("POST /auth", origin, body=""),
            self.ask("POST /auth?expired=maybe", origin, body=""),
            self.ask("OPTIONS /auth", origin, preflight),
            self.ask("GET /auth", origin),
        ):
            with self.subTest(status=answer.status):
                names = [name.lower() for name, _ in answer.fields]
                self.assertFalse([name for name in names if name.startswith("access-control")])

    def test_a_token_is_never_stored(self) -> None:
        """Cache-Control is no-store in either form."""
        for accept in (JSON, JWT):
            with self.subTest(accept=accept):
                answer = self.ask("POST /auth", f"Accept: {accept}")
                self.assertEqual(answer["Cache-Control"], "no-store")

    def test_accept_chooses_between_jwt_and_json(self) -> None:
        """JSON goes to who prefers it, the JWT to all others, and nobody gets 406."""
        for fields, media_type in (
            ((), JWT),
            (("Accept: */*",), JWT),
            (("Accept:",), JWT),
            (("Accept: text/html",), JWT),
            ((f"Accept: {JWT}, {JSON};q=0.9",), JWT),
            ((f"Accept: {JSON};q=0",), JWT),
            (("Accept: \xff",), JWT),
            ((f"Accept: {JSON}",), JSON),
            (("Accept: Application/JSON",), JSON),
            ((f"Accept: {JSON}, */*;q=0.5",), JSON),
            ((f"Accept: {JWT};q=0.5, {JSON}",), JSON),
        ):
            with self.subTest(fields=fields):
                answer = self.ask("POST /auth", *fields)
                self.assertEqual((answer.status, answer["Content-Type"]), (200, media_type))
                self.assertIn(answer["Vary"], ("Accept", "Accept, Origin"))
                if media_type == JSON:
                    self.assertEqual(set(answer.json), {"token", "kid", "alg", "iat", "exp"})

    def test_several_accept_lines_are_one_list(self) -> None:
        """RFC 9110 §5.3: lines of one name are joined by commas, in their order."""
        for lines in ((JSON, "text/html"), ("text/html", JSON)):
            with self.subTest(lines=lines):
                answer = self.ask("POST /auth", *[f"Accept: {line}" for line in lines])
                self.assertEqual(answer["Content-Type"], JSON)


class DevTests(RawTestCase):
    def test_post_resets_the_keys(self) -> None:
        """It says how many there were; the set is empty then, and its keys are unknown."""
        kid, count = self.mint()["kid"], len(self.keys())
        answer = self.ask("POST /dev?action=resetkeys")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json, {"action": "resetkeys", "removed": count})
        self.assertEqual(self.ask(f"GET {JWKS}").body, b'{"keys":[]}')
        self.assertEqual(self.ask(f"GET /.well-known/{kid}.json").status, 404)
        self.assertEqual(self.ask("GET /dev").json["keys"], 0)

    def test_get_changes_nothing(self) -> None:
        """An action by GET or HEAD is 400: following a link must be safe."""
        self.mint()
        before = self.keys()
        for method in ("GET", "HEAD"):
            with self.subTest(method=method):
                self.assertEqual(self.ask(f"{method} /dev?action=resetkeys").status, 400)
        self.assertEqual(self.keys(), before)

    def test_an_action_that_is_not_known_is_400(self) -> None:
        """None, an empty one, another one, or two; the detail names the parameter."""
        self.mint()
        before = self.keys()
        for start, body in (
            ("POST /dev", ""),
            ("POST /dev?action", ""),
            ("POST /dev?action=", ""),
            ("POST /dev?action=RESETKEYS", ""),
            ("POST /dev?action=x&action=resetkeys", ""),
            ("POST /dev", '{"action": ["resetkeys"]}'),
            ("POST /dev", '{"action": {}}'),
            ("POST /dev", '{"action": null}'),
        ):
            with self.subTest(start=start, body=body):
                answer = self.ask(start, f"Content-Type: {JSON}", body=body)
                self.assertEqual(answer.status, 400)
                self.assertIn("action", answer.json["detail"])
        self.assertEqual(self.keys(), before)


class WithoutDevTests(RawTestCase):
    """A daemon without --dev, and with room for one key, which all of these tests share."""

    options = ("--max-keys", "1")

    def setUp(self) -> None:
        super().setUp()
        if not self.keys():
            self.mint()

    def test_past_the_bound_of_keys_minting_is_503(self) -> None:
        """It says when to try again; a token that needs no room is still made."""
        answer = self.ask("POST /auth")
        self.assertEqual(answer.status, 503)
        self.assertRegex(answer["Retry-After"] or "", "^[1-9][0-9]*$")
        self.assert_unpublished(self.mint(f"Content-Type: {JSON}", body='{"expired": true}'))
        self.assertEqual(len(self.keys()), 1)

    def test_dev_is_no_path(self) -> None:
        """Every method on it is 404, as on any other unknown path, and no key is lost."""
        for method in METHODS:
            for target in ("/dev", "/dev?action=resetkeys", "/dev/"):
                with self.subTest(method=method, target=target):
                    self.assertEqual(self.ask(f"{method} {target}", body="").status, 404)
        self.assertEqual(len(self.keys()), 1)


class DocumentTests(RawTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.kid = self.mint()["kid"]
        self.documents = JWKS, f"/.well-known/{self.kid}.json"

    def test_a_document_holds_public_members_alone(self) -> None:
        """And is readable from any origin, to be asked about each time."""
        for path in self.documents:
            with self.subTest(path=path):
                answer = self.ask(f"GET {path}", "Origin: https://a.example")
                self.assertEqual(set(answer.json), {"keys"})
                self.assertIn(self.kid, [key["kid"] for key in answer.json["keys"]])
                for key in answer.json["keys"]:
                    self.assertEqual(set(key), {"kty", "use", "alg", "kid", "n", "e"})
                self.assertEqual(answer["Access-Control-Allow-Origin"], "*")
                self.assertEqual(answer["Cache-Control"], "no-cache")
                self.assertRegex(answer["ETag"] or "", r'^"[\x21\x23-\x7e]+"$')

    def test_accept_chooses_the_media_type(self) -> None:
        """The JWK Set type goes to who names it and likes JSON no better; nobody gets 406."""
        for fields, media_type in (
            ((), JSON),
            (("Accept:",), JSON),
            (("Accept: */*",), JSON),
            (("Accept: application/*",), JSON),
            (("Accept: text/html",), JSON),
            ((f"Accept: {JSON}",), JSON),
            ((f"Accept: {JWK_SET};q=0",), JSON),
            ((f"Accept: {JWK_SET};q=0.5, {JSON}",), JSON),
            ((f"Accept: {JWK_SET};q=0.5, */*",), JSON),
            (("Accept: ,;=,/,\xff",), JSON),
            ((f"Accept: {JWK_SET}",), JWK_SET),
            (("Accept: APPLICATION/JWK-SET+JSON",), JWK_SET),
            ((f"Accept: {JWK_SET}, {JSON}",), JWK_SET),
            ((f"Accept: {JWK_SET}, {JSON};q=0.9, */*;q=0.1",), JWK_SET),
            ((f"Accept: {JWK_SET};q=0.1, {JSON};q=0",), JWK_SET),
        ):
            for path in self.documents:
                with self.subTest(fields=fields, path=path):
                    answer = self.ask(f"GET {path}", *fields)
                    self.assertEqual((answer.status, answer["Content-Type"]), (200, media_type))
                    self.assertIn(answer["Vary"], ("Accept", "Accept, Origin"))

    def test_several_accept_lines_are_one_list(self) -> None:
        """RFC 9110 §5.3: lines of one name are joined by commas, in their order."""
        for lines in ((JWK_SET, "text/html"), ("text/html", JWK_SET), (JWK_SET, f"{JSON};q=0.5")):
            with self.subTest(lines=lines):
                answer = self.ask(f"GET {JWKS}", *[f"Accept: {line}" for line in lines])
                self.assertEqual(answer["Content-Type"], JWK_SET)

    def test_a_tag_that_matches_is_304(self) -> None:
        """Alone, weak, in a list, on several lines, or any: as RFC 9110 §13.1.2 has it."""
        for path in self.documents:
            full = self.ask(f"GET {path}")
            etag = full["ETag"]
            for values in (
                (etag,),
                (f"W/{etag}",),
                ("*",),
                (f'"x", {etag}',),
                (f'"x",{etag},"y"',),
                (f'W/"x,y" , W/{etag}',),
                ('"x"', etag),
                (etag, '"x"'),
            ):
                for method in ("GET", "HEAD"):
                    with self.subTest(path=path, values=values, method=method):
                        fields = [f"If-None-Match: {value}" for value in values]
                        answer = self.ask(f"{method} {path}", *fields)
                        self.assertEqual((answer.status, answer.body), (304, b""))
                        self.assertEqual(
                            {name for name in full.steady if name in answer.steady},
                            set(full.steady) - {"Content-Type", "Content-Length"},
                        )
                        self.assertEqual(answer["ETag"], etag)

    def test_a_tag_that_does_not_match_is_200(self) -> None:
        """Another, an empty one, or what is no tag at all."""
        etag = self.ask(f"GET {JWKS}")["ETag"] or ""
        bare = etag.strip('"')
        for value in (
            '"x"',
            '""',
            "",
            ",",
            bare,
            f'"{bare}',
            f'"{bare}x"',
            f'"{bare.upper()}"',
            f"'{bare}'",
            "W/",
            '"',
            "garbage",
            "\xff",
            '"*"',
            "**",
        ):
            with self.subTest(value=value):
                answer = self.ask(f"GET {JWKS}", f"If-None-Match: {value}")
                self.assertEqual((answer.status, answer["ETag"]), (200, etag))

    def test_a_tag_matters_to_nothing_else(self) -> None:
        """RFC 9110 §13.2.1: what is not 200 without the condition is the same with it."""
        for start, status in (
            ("GET /nothing", 404),
            (f"GET /.well-known/{UNKNOWN_KID}.json", 404),
            (f"PUT {JWKS}", 405),
            (f"OPTIONS {JWKS}", 204),
        ):
            with self.subTest(start=start):
                self.assertEqual(self.ask(start, "If-None-Match: *").status, status)

    def test_the_tag_changes_with_the_keys(self) -> None:
        """With a new token the tag of the set is new, and the old one gets the new set."""
        etag = self.ask(f"GET {JWKS}")["ETag"]
        self.mint()
        answer = self.ask(f"GET {JWKS}", f"If-None-Match: {etag}")
        self.assertEqual(answer.status, 200)
        self.assertNotEqual(answer["ETag"], etag)

    def test_a_preflight_is_answered_on_documents(self) -> None:
        """Scripts of any origin may send If-None-Match with their GET."""
        answer = self.ask(f"OPTIONS {JWKS}", "Origin: https://a.example")
        self.assertEqual(answer.status, 204)
        self.assertEqual(answer["Access-Control-Allow-Origin"], "*")
        self.assertIn("GET", answer["Access-Control-Allow-Methods"] or "")


FRAGMENTS = [
    *(b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"/auth", b"/.well-known/", b"jwks.json", b"/dev"),
    *(b"*", b"http://", b"?expired=", b"%00", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\n"),
    *(b"Host: localhost\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n"),
    *(
        b"Content-Type: ",
        JSON.encode(),
        FORM.encode(),
        b"Accept: ",
        b"If-None-Match: ",
        b'"',
        b"W/",
    ),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"0", b"5", b"0\r\n\r\n", b"{", b"}"),
]
OCTETS = st.binary(max_size=300) | st.lists(
    st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=24
).map(b"".join)

TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abzABZ", min_size=1, max_size=12)
TARGETS = st.sampled_from(["/auth", "/auth?expired=", JWKS, "/.well-known/", "/dev?", "/", "*"])
PRINTABLE = st.text([chr(octet) for octet in range(0x21, 0x7F)], max_size=30)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Accept",
                "Authorization",
                "Content-Type",
                "Cookie",
                "Expect",
                "If-None-Match",
                "Origin",
            ]
        ),
        st.sampled_from([JSON.encode(), FORM.encode(), b"multipart/form-data; boundary=b", b"*"])
        | st.binary(max_size=40).map(lambda octets: octets.translate(None, b"\0\r\n")),
    ),
    max_size=6,
)


class PropertyTests(RawTestCase):
    """What no table thought of."""

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(OCTETS)
    def test_no_octets_break_the_server(self, octets: bytes) -> None:
        """Any bytes at all: no fault, no HTML, and an end once the client has sent all."""
        wire = self.connect()
        wire.send(octets)
        wire.no_more()
        received = wire.rest()
        for status in map(int, _ANY_STATUS.findall(received)):
            self.assertTrue(status < 500 or status == 503, received)
        self.assertIsNone(HTML.search(received), received)
        self.assertNotIn(b"Traceback", received)
        wire.close()

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        st.sampled_from(METHODS) | TOKENS,
        st.builds("{}{}".format, TARGETS, PRINTABLE),
        FIELDS,
        st.binary(max_size=200),
    )
    def test_every_request_is_answered_once(
        self, method: str, target: str, fields: list[tuple[str, bytes]], body: bytes
    ) -> None:
        """Whatever its method, target, fields and body: one answer, right in form, and the end."""
        lines = [encoded(name) + b": " + value for name, value in fields]
        wire = self.connect()
        wire.send(message(f"{method} {target}", *lines, "Connection: close", body=body))
        answer = wire.read(method)
        while answer.status == 100:
            answer = wire.read(method)
        self.assertEqual(wire.rest(), b"")
        wire.close()
