"""The site: twisted.web's, with limits on what it reads, errors in JSON, and an orderly end.

The laws of the site:
1. A body is never kept beyond ``MAX_BODY`` octets. What exceeds it is read and dropped, so that the
   client gets to see the answer.
2. Bytes that are no request are answered with a problem document, then the connection is closed.
3. ``drain`` lets every request that has begun finish; nothing new is accepted after it.
4. The access log never holds a query: clients put passwords there.
5. The lane answers only between two requests of a connection, and only what it was told that way.
"""

import re
from http import HTTPStatus
from io import BytesIO
from socket import socket
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from zope.interface import implementer

from jwksd.errors import (
    HeadTooLarge,
    JwksdError,
    MalformedRequest,
    RequestTimeout,
)
from jwksd.web.base import error_of, header, problem, problem_headers, respond_problem
from jwksd.web.lane import END, MAX_HEAD, Entry, Lane, Message, Repeat, Template
from jwksd.web.parameters import MAX_BODY

_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")

_LONGEST_LENGTH = 15
"""Digits of a Content-Length; a body of that many octets has no end."""

_READ = 8192
"""Octets that are read at once. Twisted's 64 KiB are more than requests have, and to make so much
room and give it back takes as long as to read a small one."""

GRACE = 30
"""Seconds that requests in flight get to finish when the server stops."""


class Request(server.Request):
    """A request whose body is bounded, and whose failures are problem documents."""

    defaultContentType = None

    channel: "Channel"
    content: BytesIO
    repeat: Repeat | None = None

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        # One octet too many is kept, by which read_body sees that there were more.
        self.content.write(data[: MAX_BODY + 1 - self.content.tell()])

    def process(self) -> None:
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        if not self.path.startswith(b"/") and self.path != b"*":
            self._accept_absolute_form()
        if self._is_well_formed():
            super().process()
        else:
            self.setHeader(b"Date", datetimeToString())
            self.setHeader(b"Connection", b"close")
            self.channel.persistent = 0
            respond_problem(
                self,
                MalformedRequest("an HTTP/1.1 request has one Host, and a path that begins with /"),
            )

    def _is_well_formed(self) -> bool:
        """RFC 9112 §3.2: one valid Host field, from HTTP/1.1 on, and a target that we can serve."""
        if self.path == b"*":
            return self.method == b"OPTIONS"
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            return False
        return self.path.startswith(b"/") and (bool(hosts) or self.clientproto != b"HTTP/1.1")

    def write(self, data: bytes) -> None:
        if not self.startedWriting:
            self.setHeader(b"Server", b"jwksd")
            if self.channel.site.dev:
                self.setHeader(b"Jwksd-Dev", b"on")
            if self.channel.site.draining:
                self.setHeader(b"Connection", b"close")
        super().write(data)

    def processingFailed(self, reason: Failure) -> Failure:
        respond_problem(self, error_of(self, reason))
        return reason

    def _accept_absolute_form(self) -> None:
        """``GET http://host/path``: a server must accept it (RFC 9112 §3.2.2)."""
        try:
            target = urlsplit(self.uri)
        except ValueError:
            return
        if target.scheme in (b"http", b"https"):
            self.path = target.path or b"/"


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """One connection."""

    site: "Site"
    transport: Any
    _HTTPChannel__first_line: int

    _at_rest = False
    """Whether nothing of a request is here, in part or whole, read or answered."""

    _answered_at = 0.0
    _socket: socket | None = None
    _recorded: list[bytes] | None = None
    _done: Request | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        if type(self.transport) is Server:  # plain TCP, whose octets nothing else touches
            self._socket = self.transport.socket
            self.transport.bufferSize = _READ
        self._at_rest = not self.site.draining

    def dataReceived(self, data: bytes) -> None:
        if self._at_rest:
            lane = self.site.lane
            entry = lane.entries.get(data) or lane.find_sibling(data)
            if entry is not None and self._repeat(data, entry):
                return
            data = self._one_by_one(data)
            if not data:
                return
        super().dataReceived(data)
        self._at_rest = self._is_at_rest()

    def _one_by_one(self, data: bytes) -> bytes:
        """Answer whole requests, known or new, each by itself; what is left is for the parser."""
        while self._at_rest:
            end = data.find(END, 0, MAX_HEAD) + len(END)
            if end < len(END):
                break
            head, data = data[:end], data[end:]
            lane = self.site.lane
            entry = lane.entries.get(head) or lane.find_sibling(head)
            if entry is None or not self._repeat(head, entry):
                self._learn(head)
        # What follows a request after which the connection ends is nobody's.
        return b"" if self.transport.disconnecting else data

    def _learn(self, head: bytes) -> None:
        """Answer a request in the ordinary way, and remember how, if it can be repeated."""
        self._recorded, self._done = [], None
        super().dataReceived(head)
        self._at_rest = self._is_at_rest()
        recorded, request = b"".join(self._recorded), self._done
        self._recorded = self._done = None
        # A long answer may wait to be taken; it is whole all the same.
        if request is None or request.repeat is None or not self._is_between_requests():
            return
        bodiless = request.method == b"HEAD"
        self.site.lane.learn(head, recorded, request.repeat, told(request), bodiless=bodiless)

    def _repeat(self, head: bytes, entry: Entry | Template) -> bool:
        """Whether the request was answered as it was before."""
        if self.transport.disconnecting:  # nobody would see the answer, nor use its token
            return False
        message = entry.message(self.site.lane.date())
        if message is None:
            self.site.lane.forget(head)
            return False
        self._answered_at = self.site.reactor.seconds()
        self._send(message)
        if self.site.access_log:
            self.site.log_repeated(self, entry)
        return True

    def _send(self, message: Message) -> None:
        """Send at once what the socket takes, if nothing waits; leave the rest to the reactor."""
        sock, transport = self._socket, self.transport
        if sock is None or transport.dataBuffer or transport._tempDataBuffer:
            for piece in message:
                transport.write(piece)
            return
        try:
            sent = sock.send(message[0]) if len(message) == 1 else sock.sendmsg(message)
        except OSError:  # would block, or is lost: the transport finds out which
            sent = 0
        for piece in message:
            if sent < len(piece):
                transport.write(piece[sent:])
            sent = max(0, sent - len(piece))

    def _is_at_rest(self) -> bool:
        return self._is_between_requests() and not self.paused and not self._waitingForTransport

    def _is_between_requests(self) -> bool:
        return (
            not self.requests
            and not self._buffer
            and not self._handlingRequest
            and bool(self.line_mode)
            and bool(self.persistent)
            and self._HTTPChannel__first_line == 1  # 2: after the one empty line that is allowed
            and not self.transport.disconnecting
            and not self.site.draining
        )

    def requestDone(self, request: Request) -> None:
        if self._recorded is not None:
            self._done = request
        super().requestDone(request)
        if not self._busyReceiving:
            self._at_rest = self._is_at_rest()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        if self._recorded is not None:
            fields = [
                b"%b: %b\r\n" % (name, value)
                for name, values in headers.getAllRawHeaders()
                for value in values
            ]
            self._recorded += [b"%b %b %b\r\n" % (version, code, reason), *fields, b"\r\n"]
        super().writeHeaders(version, code, reason, headers)

    def write(self, data: bytes) -> None:
        if self._recorded is not None:
            self._recorded.append(data)
        super().write(data)

    def _send100Continue(self) -> None:
        # It goes past ``write``; an answer that has it before itself is not repeated.
        if self._recorded is not None:
            self._recorded.append(b"HTTP/1.1 100 Continue\r\n\r\n")
        super()._send100Continue()

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        # twisted.web looks for close in the first field line only, and between spaces.
        options = header(request, b"connection").lower().replace(b" ", b"").split(b",")
        if b"close" in options:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent and not self.site.draining

    def pauseProducing(self) -> None:
        """The client takes no more answers for now: read no more requests of it.

        twisted.web goes on with requests that it has read already, and goes on reading when it is
        told so from within a request; then answers that nobody takes would fill the memory.
        """
        super().pauseProducing()
        self.paused = True
        self._at_rest = False
        self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has taken what there was: go on where we stopped."""
        self.paused = False
        super().resumeProducing()
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")

    def readConnectionLost(self) -> None:
        """The client sends no more: write what is written already, and give up the rest."""
        self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never called: we do not close our half alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.connection_closed(self)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._tell(HeadTooLarge(f"a line of the head is longer than {self.MAX_LENGTH} octets"))
        self.loseConnection()

    def timeoutConnection(self) -> None:
        rest = self._answered_at + (self.timeOut or 0) - self.site.reactor.seconds()
        if not self.requests and rest > 0 and self.timeOut:
            # What the lane answers moves no timer; the time that it would have given is given now.
            period = self.timeOut
            self.setTimeout(rest)
            self.timeOut = period
            return
        if self.requests:
            self._tell(RequestTimeout(f"no more of the request came for {self.timeOut} s"))
        super().timeoutConnection()

    def drain(self) -> None:
        """Close now if no request has begun, else after the one that has."""
        self._at_rest = False
        if self.requests:
            self.persistent = 0
        else:
            self.loseConnection()

    def _maybeChooseTransferDecoder(self, name: bytes, value: bytes) -> bool:
        # twisted.web takes the coding "identity", which RFC 9112 §7 took away, and gives a length
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
        self._tell(error)
        self.loseConnection()

    def _tell(self, error: JwksdError) -> None:
        """Write an error where there is no request to answer."""
        body = problem(error)
        reason = HTTPStatus(error.status).phrase.encode("ascii")
        fields = [
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


def access_log_line(timestamp: str, request: http.Request) -> str:
    """A line of the access log: common log format, without the query."""
    return log_line(request.getClientAddress(), timestamp, told(request), request.sentLength)


def log_line(address: IAddress, timestamp: str | None, what: str, length: int) -> str:
    """A line of the access log about an answer with a body of so many octets."""
    return f"{getattr(address, 'host', None) or '-'} - - {timestamp} {what} {length or '-'}"


def told(request: http.Request) -> str:
    """What the access log tells of a request and its answer, client, time and length aside."""
    path = request.uri.partition(b"?")[0][:200].decode("ascii", "backslashreplace")
    method = request.method[:20].decode("ascii", "backslashreplace")
    version = request.clientproto.decode("ascii", "backslashreplace")
    return f'"{method} {path} {version}" {request.code}'


class Site(server.Site):
    """The factory of connections, which knows them all."""

    protocol = Channel  # type: ignore[assignment]  # without the wrapper that may speak HTTP/2
    requestFactory = Request

    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        *,
        dev: bool = False,
        access_log: bool = True,
    ) -> None:
        super().__init__(
            resource,
            reactor=reactor,
            parsePOSTFormSubmission=False,
            logFormatter=access_log_line,
        )
        self.dev = dev
        self.access_log = access_log
        self.lane = Lane()
        self.draining = False
        self._channels: set[Channel] = set()
        self._drained: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # type: ignore[override]
        channel: Channel = super().buildProtocol(addr)
        self._channels.add(channel)
        return channel

    def log(self, request: http.Request) -> None:
        if self.access_log:
            super().log(request)

    def log_repeated(self, channel: Channel, entry: Entry | Template) -> None:
        """The line that ``log`` would write of an answer that was repeated."""
        if self._logFile is not None:
            address = channel.transport.getPeer()
            line = log_line(address, self._logDateTime, entry.told, entry.length)
            self._logFile.write(line + "\n")

    def connection_closed(self, channel: Channel) -> None:
        """Called by a channel when its connection is gone."""
        self._channels.discard(channel)
        if self._drained is not None and not self._channels:
            drained, self._drained = self._drained, None
            if self._deadline.active():
                self._deadline.cancel()
            drained.callback(None)

    def drain(self) -> "Deferred[None]":
        """Let the requests in flight finish, ``GRACE`` seconds at most, and close all connections.

        The Deferred fires when the last one is closed.
        """
        self.draining = True
        for channel in list(self._channels):
            channel.drain()
        if not self._channels:
            return succeed(None)
        self._drained = drained = Deferred[None]()
        self._deadline = self.reactor.callLater(GRACE, self._abort)
        return drained

    def _abort(self) -> None:
        self._log.warn(
            "{count} requests were not done after {grace} s and are cut off",
            count=len(self._channels),
            grace=GRACE,
        )
        for channel in list(self._channels):
            channel.transport.abortConnection()
