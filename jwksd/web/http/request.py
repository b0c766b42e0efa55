"""The request: that of twisted.web, with a bounded body, problem documents, and a log line.

The laws of the request:
1. A body is never kept beyond ``MAX_LONG_BODY`` octets. The rest is read and dropped, so that the
   client sees the answer.
2. The access log never holds a query: clients put passwords there. Nor can a client forge a line.
3. No resource sees a request that is not let in.
"""

import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.http import datetimeToString

from jwksd.errors import JwksdError, MalformedRequest
from jwksd.web.http.admission import judge
from jwksd.web.http.bodies import MAX_LONG_BODY
from jwksd.web.http.escaping import escaped
from jwksd.web.http.repeat import Repeat
from jwksd.web.http.resource import error_of, respond_problem

_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")


class Request(server.Request):
    """A request whose body is bounded, and whose failures are problem documents."""

    defaultContentType = None

    channel: Any
    content: BytesIO
    received = 0
    """How many octets of the body have come."""

    repeat: Repeat | None = None
    listed_origin: bytes | None = None
    """The origin of the page that asks, if --cors-origin lists it."""

    some_listed = False
    """Whether --cors-origin lists any."""

    _target_host: tuple[bytes, ...] = ()

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        # One octet more is kept, so that read_body sees that the body is too large.
        self.content.write(data[: MAX_LONG_BODY + 1 - self.content.tell()])

    def process(self) -> None:
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        origins = self.requestHeaders.getRawHeaders(b"origin") or ()
        self.listed_origin = self.channel.admission.listed(origins)
        self.some_listed = bool(self.channel.admission.cors_origins)
        if not self.path.startswith(b"/") and self.path != b"*":
            self._accept_absolute_form()
        if not self._is_well_formed():
            self.setHeader(b"Connection", b"close")
            self.channel.persistent = 0
            self._refuse(
                MalformedRequest("an HTTP/1.1 request has one Host, and a path that begins with /")
            )
            return
        error = self._judge(origins)
        if error is None:
            super().process()
        else:
            self._refuse(error)

    def _judge(self, origins: Sequence[bytes]) -> JwksdError | None:
        """Return the error that refuses the request, or None."""
        lines = self.requestHeaders.getRawHeaders
        return judge(
            self.channel.admission,
            self.method,
            hosts=(*self._target_host, *(lines(b"host") or ())),
            origins=origins,
            sites=lines(b"sec-fetch-site") or (),
        )

    def _refuse(self, error: JwksdError) -> None:
        """Answer with an error where twisted.web has not begun to."""
        self.setHeader(b"Date", datetimeToString())
        respond_problem(self, error)

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
        """Take ``GET http://host/path`` for ``GET /path``, as a server must (RFC 9112 §3.2.2)."""
        try:
            target = urlsplit(self.uri)
        except ValueError:
            return
        if target.scheme in (b"http", b"https") and b"#" not in self.uri:
            self.path = target.path or b"/"
            self._target_host = (target.netloc,)


def access_log_line(timestamp: str, request: http.Request) -> str:
    """Return the line of the access log about a request: common log format, without the query."""
    return log_line(
        request.getClientAddress(), timestamp, request_summary(request), request.sentLength
    )


def log_line(address: IAddress, timestamp: str | None, summary: str, length: int) -> str:
    """Return the line of the access log about an answer whose body has so many octets."""
    return f"{getattr(address, 'host', None) or '-'} - - {timestamp} {summary} {length or '-'}"


def request_summary(request: http.Request) -> str:
    """Return request line and status, which the access log has between time stamp and length."""
    method, path = escaped(request.method, 20), escaped(request.uri.partition(b"?")[0])
    return f'"{method} {path} {escaped(request.clientproto, 20)}" {request.code}'
