"""The fast path: a request that twisted.web has answered once is answered again without it.

The *ordinary path* is twisted.web's parser with the resource tree. The laws of the fast path:
1. It decides nothing. It recognizes a request by all of its octets: the same request came before,
   alone, on a connection that was idle, and the ordinary path answered it. So status, header
   fields, limits and errors are decided in one place only.
2. It repeats an answer only if the handler said how (``Repeat``), and it asks each time what the
   body is now. The Date is that of the repetition. In every other case the ordinary path answers.
3. What it remembers is bounded in number and in octets.
4. There are more keys than requests worth remembering. So requests that differ in nothing but the
   kid share one answer (``AnswerToKind``), into which body, length and ETag of the key are filled.
"""

from collections.abc import Sequence
from socket import socket
from time import time

from twisted.internet.tcp import Server
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.http_headers import Headers

from jwksd.web.http.answers import (
    END_OF_HEAD,
    AnswerToKind,
    AnswerToRequest,
    Message,
    RememberedAnswer,
    can_be_repeated,
    can_serve_kind,
)
from jwksd.web.http.channel import Channel
from jwksd.web.http.deadlines import IDLE
from jwksd.web.http.repeat import Repeat
from jwksd.web.http.request import Request, request_summary
from jwksd.web.http.slices import SLICE
from jwksd.web.http.transport import SmallReads

MAX_HEAD = 2048
"""Octets of a request that is remembered."""

MAX_ANSWERS = 4096
MAX_OCTETS = 8 * 2**20
MAX_KINDS = 64

MAX_SENT = 2**18
"""Octets of a body that are sent at once, after the first time. To copy them takes some 50 µs."""

_MAX_HOLES = 4
"""Different places of holes. Under one path there are two: behind GET and behind HEAD."""


class FastPath:
    """The remembered answers of a site; the oldest give way."""

    def __init__(self) -> None:
        self.answers: dict[bytes, AnswerToRequest] = {}
        """By the whole request."""
        self.kinds: dict[bytes, AnswerToKind] = {}
        """By the request without the octets in its hole."""
        self._holes: dict[int, int] = {}
        """Where holes end, by where they start."""
        self._octets = 0
        self._date = b""
        self._date_ends = 0.0

    @property
    def octets(self) -> int:
        """How many octets are remembered, of requests and answers together."""
        return self._octets

    def date(self) -> bytes:
        """Return the Date field of this second; the same object for all of the second."""
        now = time()
        if not self._date_ends - 1 <= now < self._date_ends:
            self._date_ends = int(now) + 1.0
            self._date = datetimeToString(now)
        return self._date

    def find(self, request: bytes) -> RememberedAnswer | None:
        """Return the answer to a request, if the same or one of its kind was answered before."""
        return self.answers.get(request) or self.find_kind(request)

    def find_kind(self, request: bytes) -> AnswerToKind | None:
        """Return the answer to the kind of a request, with its ``hole`` set for this request.

        None if the last request of the kind was this very one: then it is likely to come again,
        and the ordinary path answers it, so that it is remembered by all of its octets.
        """
        for start, end in self._holes.items():
            kind = self.kinds.get(request[:start] + request[end:])
            if kind is not None and kind.start == start:
                hole = request[start:end]
                if hole == kind.hole:
                    return None
                kind.hole = hole
                return kind
        return None

    def learn(
        self, request: bytes, answer: bytes, repeat: Repeat, summary: str, *, bodiless: bool
    ) -> None:
        """Remember the answer to a request and to its kind, as far as they can be repeated."""
        if not can_be_repeated(answer):
            return
        self._remember(request, AnswerToRequest(answer, repeat, summary, bodiless=bodiless))
        hole, same_kind = repeat.hole, repeat.same_kind
        if same_kind is None or not can_serve_kind(answer):
            return
        if request.count(hole) != 1 or summary.count(hole.decode("ascii")) != 1:
            return
        start = request.index(hole)
        kind = AnswerToKind(answer, hole, start, same_kind, summary, bodiless=bodiless)
        self._remember_kind(request, kind)

    def _remember(self, request: bytes, answer: AnswerToRequest) -> None:
        self.forget(request)
        if len(request) + answer.size > MAX_OCTETS:
            return  # all others would give way to it, and then it would not fit
        self.answers[request] = answer
        self._octets += len(request) + answer.size
        while len(self.answers) > MAX_ANSWERS or self._octets > MAX_OCTETS:
            self.forget(next(iter(self.answers)))

    def _remember_kind(self, request: bytes, kind: AnswerToKind) -> None:
        start, end = kind.start, kind.start + len(kind.hole)
        if start not in self._holes and len(self._holes) >= _MAX_HOLES:
            return
        self._holes[start] = end
        if len(self.kinds) >= MAX_KINDS:
            del self.kinds[next(iter(self.kinds))]
        self.kinds[request[:start] + request[end:]] = kind

    def forget(self, request: bytes) -> None:
        """Forget the answer to a request, if there is one."""
        answer = self.answers.pop(request, None)
        if answer is not None:
            self._octets -= len(request) + answer.size


class FastPathChannel(Channel):
    """A connection that uses the fast path between two requests and nowhere else."""

    _HTTPChannel__first_line: int

    fast_path: FastPath
    """Shared with the connections on which the same requests are let in."""

    _idle = False
    """Whether no request is here, in part or whole, unread or unanswered."""

    _socket: socket | None = None
    _recorded: list[bytes] | None = None
    """The answer that is being learned, without its body if that is large."""

    _recorded_octets = 0
    _done: Request | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        if type(self.transport) in (Server, SmallReads):  # whose octets nothing else touches
            self._socket = self.transport.socket
        self._idle = not self.site.draining

    def dataReceived(self, data: bytes) -> None:
        if self._idle:
            answer = self.fast_path.find(data)
            if answer is not None and self._repeat(data, answer):
                return
            end = len(data) - len(END_OF_HEAD)
            if data.find(END_OF_HEAD, 0, MAX_HEAD) == end >= 0:  # one whole request, and a new one
                self._left = self.site.turns.share
                self._learn(data)
                self._end_turn()
                return
        super().dataReceived(data)

    def _take(self, data: bytes) -> None:
        if not data or (data := self._one_by_one(data)):
            super()._take(data)

    def _one_by_one(self, data: bytes) -> bytes:
        """Answer the whole requests, each by itself; return what is left, for the parser."""
        while self._idle and self._left > 0:
            end = data.find(END_OF_HEAD, 0, MAX_HEAD) + len(END_OF_HEAD)
            if end < len(END_OF_HEAD):
                break
            head, data = data[:end], data[end:]
            answer = self.fast_path.find(head)
            if answer is not None and self._repeat(head, answer):
                self._spend()
            else:
                self._learn(head)
        # What follows a request after which the connection ends is never read.
        return b"" if self._is_ending() else data

    def _learn(self, head: bytes) -> None:
        """Answer a request on the ordinary path, and remember the answer if it can be repeated."""
        self._recorded, self._recorded_octets, self._done = [], 0, None
        if not self._refuses(head):
            HTTPChannel.dataReceived(self, head)
        self._idle = self._is_idle()
        recorded, request = b"".join(self._recorded), self._done
        self._recorded = self._done = None
        # A long answer may wait for the client to take it; it is whole all the same.
        if request is None or request.repeat is None or not self._is_between_requests():
            return
        octets = max(request.repeat.octets_kept, self._recorded_octets)
        repeat = request.repeat._replace(octets_kept=octets)
        bodiless = request.method == b"HEAD"
        self.fast_path.learn(head, recorded, repeat, request_summary(request), bodiless=bodiless)

    def _repeat(self, head: bytes, answer: RememberedAnswer) -> bool:
        """Answer a request as it was answered before; return whether that was possible."""
        if self.transport.disconnecting:  # nobody would see the answer, nor use its token
            return False
        message = answer.message(self.fast_path.date())
        if message is None:
            self.fast_path.forget(head)
            return False
        self._answered_at = self.site.reactor.seconds()
        self._send(message)
        if self.site.access_log:
            self.site.log_repeated(self, answer)
        return True

    def _send(self, message: Message) -> None:
        """Send what the socket takes, if nothing waits before it; the reactor sends the rest."""
        sent = self._send_now(message)
        for piece in message:
            if sent < len(piece):
                self._write_from(piece, sent)
            sent = max(0, sent - len(piece))

    def _send_now(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Return how many octets the socket has taken."""
        sock, transport = self._socket, self.transport
        if sock is None or transport.dataBuffer or transport._tempDataBuffer:
            return 0
        try:
            return sock.send(pieces[0]) if len(pieces) == 1 else sock.sendmsg(pieces)
        except OSError:  # would block, or is lost: the transport finds out which
            return 0

    def _send_slice(self, body: memoryview) -> int:
        """Send a part of a body straight from its octets; nothing of it is held."""
        if self._socket is None:
            return super()._send_slice(body)
        sent = self._send_now((body[:MAX_SENT],))
        if sent < len(body):
            self._await_room()
        return sent

    def _is_idle(self) -> bool:
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

    def _end_turn(self) -> None:
        super()._end_turn()
        self._idle = self._is_idle()

    def _stop_reading(self) -> None:
        super()._stop_reading()
        self._idle = False

    def _unpause(self) -> None:
        super()._unpause()
        self._idle = self._is_idle()

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
            self._recorded_octets += len(data)
            if len(data) <= SLICE:  # a large document is not copied to be counted
                self._recorded.append(data)
        super().write(data)

    def _send100Continue(self) -> None:
        # It bypasses ``write``; an answer with an interim one before it is not repeated.
        if self._recorded is not None:
            self._recorded.append(b"HTTP/1.1 100 Continue\r\n\r\n")
        super()._send100Continue()

    def timeoutConnection(self) -> None:
        """Close the connection, unless the fast path has answered since the timer was set.

        The fast path moves no timer, which would cost more than the answer; the time that moving
        it would have given is given here.
        """
        rest = self._answered_at + (self.timeOut or 0) - self.site.reactor.seconds()
        if self._part is IDLE and not self.requests and rest > 0 and self.timeOut:
            period = self.timeOut
            self.setTimeout(rest)
            self.timeOut = period
            return
        super().timeoutConnection()

    def drain(self) -> None:
        self._idle = False
        super().drain()
