"""A strict HTTP client in raw bytes, for what no well-behaved client would ever send.

It has no fallback: an answer that is framed wrongly, is no JSON problem where it should be one, or
shows anything private fails whichever test received it.
"""

import json
import re
import socket
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.keys import PRIVATE_MEMBERS

JWT = "application/jwt"
UNKNOWN_KID = "A" * 43
TIMEOUT = 10
"""Seconds without a byte after which the server is taken to hang."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) [\t\x20-\x7e]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)")
HTML = re.compile(rb"<html|content-type: *text/html", re.IGNORECASE)


def encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def message(start: str | bytes, *fields: str | bytes, body: str | bytes | None = None) -> bytes:
    """A request that begins with this method and target, with Host and, for a body, its length."""
    lines = [encoded(start) + b" HTTP/1.1", b"Host: localhost", *map(encoded, fields)]
    content = b"" if body is None else encoded(body)
    if body is not None:
        lines.append(b"Content-Length: %d" % len(content))
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def chunked(*chunks: bytes) -> bytes:
    """A body in the chunked transfer coding (RFC 9112 §7.1)."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def names_in(value: Any) -> Iterator[str]:
    """Every member name in a JSON value, however deep."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from names_in(item)


@dataclass(frozen=True)
class Answer:
    """One answer, as it came."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        """The value of a header field, None where there is none; twice is a mistake."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def steady(self) -> dict[str, str]:
        """The header fields that two answers to the same question share."""
        return {name: value for name, value in self.fields if name != "Date"}


def check(answer: Answer, method: str) -> None:
    """What holds for every answer of the server, whatever it was asked."""
    status, body, media_type = answer.status, answer.body, answer["Content-Type"]
    assert status < 500 or status == 503, answer
    assert answer["X-Content-Type-Options"] == "nosniff", answer
    assert not (media_type or "").startswith("text/html"), answer
    assert HTML.search(body) is None, answer
    assert b"Traceback" not in body, answer
    assert status != 405 or answer["Allow"], answer
    assert status != 503 or answer["Retry-After"], answer
    if status >= 400:
        assert media_type == "application/problem+json", answer
        if method != "HEAD":
            check_problem(answer)
    if body and media_type is not None and media_type.endswith("json"):
        assert not PRIVATE_MEMBERS & set(names_in(answer.json)), answer
    if media_type == JWT:
        for part in body.split(b".")[:2]:
            assert not PRIVATE_MEMBERS & set(names_in(json.loads(decoded(part)))), answer


def check_problem(answer: Answer) -> None:
    """The body is a problem document of this status, and says something (RFC 9457 §3)."""
    problem = answer.json
    assert set(problem) == {"type", "title", "status", "detail"}, answer
    assert problem["status"] == answer.status, answer
    assert all(problem[name] for name in ("type", "title", "detail")), answer


def decoded(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


class Wire:
    """One connection, and a client that believes only what is framed exactly (RFC 9112 §6)."""

    def __init__(self, port: int, *, small: bool = False) -> None:
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(("127.0.0.1", port))
        self._received = bytearray()

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def no_more(self) -> None:
        """Close our half of the connection."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def read(self, method: str = "GET") -> Answer:
        """The next answer, checked; an interim one (100) is an answer too."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        matched = _STATUS_LINE.fullmatch(status_line)
        assert matched is not None, head
        fields = [_FIELD.fullmatch(line) for line in lines]
        assert all(fields), head
        pairs = tuple((str(f[1], "ascii"), str(f[2], "ascii")) for f in fields if f)
        bare = Answer(int(matched[1]), pairs, b"")
        answer = Answer(bare.status, pairs, self._exactly(self._length(bare, method)))
        if answer.status >= 200:
            check(answer, method)
        return answer

    def rest(self) -> bytes:
        """All that is received until the server closes its half of the connection too."""
        with suppress(ConnectionResetError):
            while self._receive():
                pass
        rest = bytes(self._received)
        self._received.clear()
        return rest

    @staticmethod
    def _length(bare: Answer, method: str) -> int:
        assert bare["Transfer-Encoding"] is None, bare
        length = bare["Content-Length"]
        if bare.status < 200 or bare.status in (204, 304):
            assert length is None, bare
            assert bare["Content-Type"] is None, bare
            return 0
        assert length is not None, bare
        assert re.fullmatch("[0-9]+", length), bare
        return 0 if method == "HEAD" else int(length)

    def _receive(self) -> int:
        octets = self.socket.recv(65_536)
        self._received += octets
        return len(octets)

    def _until(self, end: bytes) -> bytes:
        while (index := self._received.find(end)) < 0:
            assert self._receive(), f"closed in the middle of a head: {bytes(self._received)!r}"
        head = bytes(self._received[:index])
        del self._received[: index + len(end)]
        return head

    def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            assert self._receive(), f"closed {length - len(self._received)} octets too early"
        body = bytes(self._received[:length])
        del self._received[:length]
        return body
