"""The channel: a connection of twisted.web that answers bad requests, and ends in order.

The laws of the channel, beside those of the flow:
1. Bytes that are no request are answered with a problem document, then the connection is closed.
2. ``drain`` lets a request that has begun finish; then the connection is closed.
3. What another server, or a proxy before this one, may read differently is refused.
"""

import re
from http import HTTPStatus
from string import ascii_letters, digits
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import datetimeToString
from zope.interface import implementer

from jwksd.errors import (
    HeadTooLarge,
    JwksdError,
    MalformedRequest,
    RequestTimeout,
)
from jwksd.web.http.admission import Admission
from jwksd.web.http.deadlines import BODY, BODY_GRACE, BODY_RATE, HEAD_SECONDS, Deadlines
from jwksd.web.http.resource import header, problem, problem_headers

_LONGEST_LENGTH = 15
"""Digits of the longest Content-Length; longer bodies would never end."""

_LARGEST_CHUNK = 2**32
"""Octets; larger chunks would never end either."""

_REFUSAL_SECONDS = 10
"""How long a connection that is refused may take to end."""

_BARE = re.compile(rb"[\0\r\n]")
"""Octets that no field line has (RFC 9110 §5.5); other parsers may end the line at one."""

_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*")
"""A trailer field (RFC 9110 §5.1, §6.5.1)."""

_TLS_HANDSHAKE = b"\x16"
"""The first octet of a client that speaks TLS (RFC 8446 §5.1)."""

_FIRST_OCTETS = b"!#$%&'*+-.^_`|~" + ascii_letters.encode() + digits.encode()
"""With which a method begins (RFC 9110 §9.1)."""

_log = Logger()


@implementer(IHalfCloseableProtocol)
class Channel(Deadlines):
    """One connection."""

    admission = Admission()
    """Which requests are let in on it."""

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        # twisted.web looks for close in the first field line only, and between spaces.
        options = header(request, b"connection").lower().replace(b" ", b"").split(b",")
        if b"close" in options:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent and not self.site.draining

    def writeConnectionLost(self) -> None:
        """Do nothing; never called, because we do not close our half alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._transferDecoder = None  # it refers to us, and only the collector would free both
        self.site.connection_closed(self)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._write_problem(
            HeadTooLarge(f"a line of the head is longer than {self.MAX_LENGTH} octets")
        )
        self.loseConnection()

    def _refuse_late(self, part: str) -> None:
        missing = f"the head was not complete {HEAD_SECONDS} s after its first octet"
        if part is BODY:
            missing = f"the body came more slowly than {BODY_RATE} octets/s after {BODY_GRACE} s"
        self._write_problem(RequestTimeout(missing))

    def drain(self) -> None:
        """Close the connection now, or after the request that has begun."""
        if self.requests:
            self.persistent = 0
        elif not (self.awaits_turn and self._buffer):  # else the next request is the last
            self.loseConnection()

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        if self._busyReceiving:
            self._refuses(b"")

    def _take(self, data: bytes) -> None:
        if not self._refuses(data):
            super()._take(data)

    def _refuses(self, data: bytes) -> bool:
        """Refuse octets that are no part of a head, which twisted.web would wait for or take.

        It joins a folded line to the one before it (RFC 9112 §5.2), others do not. TLS, other
        protocols and clients that end lines with LF alone need not end the line it waits for.
        What comes behind an answer that is not sent yet, or past the share, waits for its turn.
        """
        head = self._buffer + data
        if self.paused or not (head and self.line_mode):
            return False
        start = 2 if head.startswith(b"\r\n") else 0
        if start and self.requests:
            return False  # the head ends here
        allowed = _FIRST_OCTETS if start else b"\r\n" + _FIRST_OCTETS  # one empty line may be first
        wrong = not self.requests and head[start : start + 1] not in allowed
        if wrong or _is_ill_formed(head, start):
            self._refuse_beginning(head)
            return True
        return False

    def _refuse_beginning(self, octets: bytes) -> None:
        if self.requests or not octets.startswith(_TLS_HANDSHAKE):
            self._respondToBadRequestAndDisconnect()
            return
        _log.info(
            "{peer} speaks TLS to a port without it, and is disconnected: use http://",
            peer=getattr(self.transport.getPeer(), "host", "a client"),
        )
        self.loseConnection()

    def headerReceived(self, line: bytes) -> bool:
        # Twisted below 26.10 takes CR and LF in a value.
        if _BARE.search(line):
            self._respondToBadRequestAndDisconnect()
            return False
        taken: bool = super().headerReceived(line)
        return taken

    def rawDataReceived(self, data: bytes) -> None:
        super().rawDataReceived(data)
        # twisted.web takes a chunk of any size, which would never end.
        if getattr(self._transferDecoder, "length", 0) > _LARGEST_CHUNK:
            self._respondToBadRequestAndDisconnect()

    def _finishRequestBody(self, data: bytes) -> None:
        # twisted.web drops the trailer fields of a chunked body (RFC 9112 §7.1.2) unseen.
        trailers = getattr(self._transferDecoder, "_trailerHeaders", ())
        if not all(map(_TRAILER.fullmatch, trailers)):
            raise http._MalformedChunkedDataError("a trailer line is no field")
        super()._finishRequestBody(data)

    def _maybeChooseTransferDecoder(self, name: bytes, value: bytes) -> bool:
        # twisted.web accepts the coding "identity", which RFC 9112 §7 removed, and passes a length
        # of thousands of digits to int(), which raises.
        # HTTP/1.0 knows no codings, so the framing is faulty (RFC 9112 §6.1).
        is_coding = name == b"Transfer-Encoding"
        wrong = is_coding and (value.lower() != b"chunked" or self._version != b"HTTP/1.1")
        if wrong or (name == b"Content-Length" and len(value) > _LONGEST_LENGTH):
            self._respondToBadRequestAndDisconnect()
            self.length = None
            return False
        chosen: bool = super()._maybeChooseTransferDecoder(name, value)
        return chosen

    def _respondToBadRequestAndDisconnect(self) -> None:
        # twisted.web calls this for all that it cannot parse, and would answer without a body.
        if self._receivedHeaderSize > self.totalHeadersSize:
            limit = self.totalHeadersSize
            error: JwksdError = HeadTooLarge(f"the head has more than {limit} octets")
        elif self._receivedHeaderCount > self.maxHeaders:
            error = HeadTooLarge(f"the head has more than {self.maxHeaders} fields")
        else:
            error = MalformedRequest("the request is not well-formed HTTP/1.1 (RFC 9112)")
        self._write_problem(error)
        self.loseConnection()

    def _write_problem(self, error: JwksdError) -> None:
        """Write an error as a problem document, where there is no request to answer."""
        is_head = getattr(self, "_command", b"") == b"HEAD"
        self.transport.write(last_answer(error, with_body=not is_head))


class Refusal(Protocol):
    """A connection that gets an error for an answer before it asks, and is closed.

    With TLS a client can keep it open by never ending its own side, so there is a time for that.
    """

    transport: Any

    def __init__(self, error: JwksdError, reactor: IReactorTime) -> None:
        self._error = error
        self._reactor = reactor

    def connectionMade(self) -> None:
        self._cut_off = self._reactor.callLater(_REFUSAL_SECONDS, self.transport.abortConnection)
        self.transport.write(last_answer(self._error))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._cut_off.active():
            self._cut_off.cancel()


def last_answer(error: JwksdError, *, with_body: bool = True) -> bytes:
    """Return the octets of a problem document after which the connection is closed."""
    body = problem(error)
    reason = HTTPStatus(error.status).phrase.encode("ascii")
    fields = [
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Server", b"jwksd"),
        (b"Date", datetimeToString()),
        (b"Connection", b"close"),
        (b"Content-Length", b"%d" % len(body)),
        *problem_headers(error),
    ]
    head = b"HTTP/1.1 %d %b\r\n" % (error.status, reason)
    head += b"".join(b"%b: %b\r\n" % field for field in fields)
    return head + b"\r\n" + (body if with_body else b"")


def _is_ill_formed(octets: bytes, start: int) -> bool:
    """Return whether the head that begins here has a folded line, or one that LF alone ends."""
    end = octets.find(b"\r\n\r\n", start)
    head = octets[start:] if end < 0 else octets[start:end]
    if head.startswith((b" ", b"\t")) or b"\r\n " in head or b"\r\n\t" in head:
        return True
    return head.count(b"\n") != head.count(b"\r\n")
