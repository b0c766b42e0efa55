"""The channel: a connection of twisted.web that answers bad requests, and ends in order.

The laws of the channel, beside those of the flow:
1. Bytes that are no request are answered with a problem document, then the connection is closed.
2. ``drain`` lets a request that has begun finish; then the connection is closed.
"""

import re
from http import HTTPStatus

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
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
from jwksd.web.http.flow import FlowControl
from jwksd.web.http.resource import header, problem, problem_headers

_LONGEST_LENGTH = 15
"""Digits of the longest Content-Length; longer bodies would never end."""

_BARE = re.compile(rb"[\0\r\n]")
"""Octets that no field line has (RFC 9110 §5.5); other parsers may end the line at one."""


@implementer(IHalfCloseableProtocol)
class Channel(FlowControl):
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
        self.site.connection_closed(self)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._write_problem(
            HeadTooLarge(f"a line of the head is longer than {self.MAX_LENGTH} octets")
        )
        self.loseConnection()

    def timeoutConnection(self) -> None:
        if self.awaits_turn:  # it is we who are slow
            self.setTimeout(self.timeOut)
            return
        if self.requests and self._body_rest is None:
            self._write_problem(RequestTimeout(f"no more of the request came for {self.timeOut} s"))
        super().timeoutConnection()

    def drain(self) -> None:
        """Close the connection now, or after the request that has begun."""
        if self.requests:
            self.persistent = 0
        elif not (self.awaits_turn and self._buffer):  # else the next request is the last
            self.loseConnection()

    def headerReceived(self, line: bytes) -> bool:
        # Twisted below 26.10 takes CR and LF in a value.
        if _BARE.search(line):
            self._respondToBadRequestAndDisconnect()
            return False
        taken: bool = super().headerReceived(line)
        return taken

    def _finishRequestBody(self, data: bytes) -> None:
        # twisted.web drops the trailer fields of a chunked body (RFC 9112 §7.1.2) unseen.
        trailers = getattr(self._transferDecoder, "_trailerHeaders", ())
        if any(_BARE.search(line) for line in trailers):
            raise http._MalformedChunkedDataError("an octet ends no line, and is in no field")
        super()._finishRequestBody(data)

    def _maybeChooseTransferDecoder(self, name: bytes, value: bytes) -> bool:
        # twisted.web accepts the coding "identity", which RFC 9112 §7 removed, and passes a length
        # of thousands of digits to int(), which raises.
        unknown_coding = name == b"Transfer-Encoding" and value.lower() != b"chunked"
        if unknown_coding or (name == b"Content-Length" and len(value) > _LONGEST_LENGTH):
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
        is_head = getattr(self, "_command", b"") == b"HEAD"
        self.transport.write(head + b"\r\n" + (b"" if is_head else body))
