"""The lane: what the ordinary way has answered once is answered again on the spot.

The law of the lane: it decides nothing. It knows a request by all of its bytes, as one that came
before, alone and at the same point of a connection, and that twisted.web with the resource tree has
answered. It repeats this answer with the date of today, if whoever gave it says what its body is
now; in every other case the request takes the ordinary way. So status, headers, limits and errors
are decided in one place only. What it remembers is bounded in entries and in octets.

There are more keys than requests worth remembering. Where whoever answered says that a request has
siblings, which have another kid in its place and differ in nothing else, it is known without its
kid too: a sibling gets the same answer with the body, the length and the tag of its own document.
"""

import re
from socket import socket
from time import time

from twisted.internet.tcp import Server
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from jwksd.web.endpoints.transport import SmallReads
from jwksd.web.http.channel import Channel
from jwksd.web.http.repeat import Repeat, Sibling
from jwksd.web.http.request import Request, told

END = b"\r\n\r\n"
MAX_HEAD = 2048
"""Octets of a request that is remembered."""

MAX_ENTRIES = 4096
MAX_OCTETS = 8 * 2**20

_WORTH_KEEPING = 16_384
"""Octets of a body up to which the whole answer is kept in one piece."""

_STATUSES = (b"HTTP/1.1 200 ", b"HTTP/1.1 304 ")

_IN_ORDER = re.compile(rb"\r\nDate: .*\r\nETag: .*\r\nContent-Length: ", re.DOTALL)
"""The fields in which siblings differ, as a template takes them."""

MAX_TEMPLATES = 64

_PLACES = 4
"""Where slots may be in a request. Under one path they are in two: after GET and after HEAD."""

Message = tuple[bytes, ...]
"""An answer in as few pieces as is sensible."""


def _head_of(answer: bytes) -> bytes:
    return answer[: answer.index(END) + len(END)]


def _around(head: bytes, name: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the value of a field that is there."""
    start = head.index(b"\r\n%b: " % name) + len(name) + 4
    return head[:start], head[head.index(b"\r\n", start) :]


def _joined(head: bytes, body: bytes, bodiless: bool) -> Message:
    if bodiless:
        return (head,)
    return (head, body) if len(body) > _WORTH_KEEPING else (head + body,)


class Entry:
    """An answer that can be repeated.

    Args:
        answer: all octets of it, as they were sent.
        repeat: how.
        told: what the access log says of it between time stamp and length.
        bodiless: whether the body itself is not sent (HEAD).
    """

    __slots__ = (
        "_after_date",
        "_after_length",
        "_again",
        "_before_date",
        "_body",
        "_date",
        "_message",
        "bodiless",
        "size",
        "told",
    )

    def __init__(self, answer: bytes, repeat: Repeat, told: str, *, bodiless: bool) -> None:
        self._before_date, self._after_date = _around(_head_of(answer), b"Date")
        self._after_length: bytes | None = None
        if b"\r\nContent-Length: " in self._after_date:
            self._after_date, self._after_length = _around(self._after_date, b"Content-Length")
        self._again = repeat.again
        self._body: bytes | None = None
        self._date = b""
        self._message: Message = ()
        self.told = told
        self.bodiless = bodiless
        self.size = 2 * max(len(answer), repeat.keeps)

    def message(self, date: bytes) -> Message | None:
        """The answer of this date, or None for: ask anew."""
        body = self._again()
        if body is None:
            return None
        if body is not self._body or date is not self._date:
            self._body, self._date = body, date
            head = self._before_date + date + self._after_date
            if self._after_length is not None:
                head += b"%d" % len(body) + self._after_length
            self._message = _joined(head, body, self.bodiless)
        return self._message

    @property
    def length(self) -> int:
        """Octets of the body that was sent."""
        return 0 if self.bodiless or self._body is None else len(self._body)


class Template:
    """The answers to a request and all its siblings. ``slot`` says which one is next.

    Args:
        sibling: what they are answered with.
        answer, slot, told, bodiless: of the one that was answered.
        start: where the slot is in the request.
    """

    __slots__ = (
        "_after_date",
        "_after_length",
        "_after_tag",
        "_before_date",
        "_before_tag",
        "_behind_tag",
        "_date",
        "_octets",
        "_sibling",
        "_told",
        "bodiless",
        "slot",
        "start",
    )

    def __init__(
        self, answer: bytes, slot: bytes, start: int, sibling: Sibling, told: str, *, bodiless: bool
    ) -> None:
        self._before_date, rest = _around(_head_of(answer), b"Date")
        self._after_date, rest = _around(rest, b"ETag")
        self._after_tag, self._after_length = _around(rest, b"Content-Length")
        self._date = self._before_tag = self._behind_tag = b""
        self._octets = -1
        self._sibling = sibling
        self._told = told.split(slot.decode("ascii"))
        self.bodiless = bodiless
        self.slot, self.start = slot, start

    def message(self, date: bytes) -> Message | None:
        """The answer of this date, or None for: ask anew."""
        found = self._sibling(self.slot)
        if found is None:
            return None
        body, tag = found
        if date is not self._date:
            self._date, self._before_tag = date, self._before_date + date + self._after_date
        if len(body) != self._octets:  # of the keys of one algorithm most are as long
            self._octets = len(body)
            self._behind_tag = self._after_tag + b"%d" % len(body) + self._after_length
        if self.bodiless or len(body) > _WORTH_KEEPING:
            head = self._before_tag + tag + self._behind_tag
            return (head,) if self.bodiless else (head, body)
        return (b"".join((self._before_tag, tag, self._behind_tag, body)),)

    @property
    def length(self) -> int:
        """Octets of the body that was sent."""
        return 0 if self.bodiless else self._octets

    @property
    def told(self) -> str:
        """What the access log says of it between time stamp and length."""
        return self.slot.decode("ascii").join(self._told)


class Lane:
    """The answers that can be repeated, by the whole request; the oldest give way."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.templates: dict[bytes, Template] = {}
        """By the request without its slot."""
        self._places: dict[int, int] = {}
        self._octets = 0
        self._date = b""
        self._date_ends = 0.0

    @property
    def octets(self) -> int:
        """How much is remembered."""
        return self._octets

    def date(self) -> bytes:
        """The Date field of this second; the same object for all of it."""
        now = time()
        if not self._date_ends - 1 <= now < self._date_ends:
            self._date_ends = int(now) + 1.0
            self._date = datetimeToString(now)
        return self._date

    def find(self, request: bytes) -> Entry | Template | None:
        """How a request is answered, if it or a sibling was before."""
        return self.entries.get(request) or self.find_sibling(request)

    def find_sibling(self, request: bytes) -> Template | None:
        """How a request is answered of which a sibling was, unless it has been asked just now.

        Then it is worth being known by all of its bytes.
        """
        for start, end in self._places.items():
            template = self.templates.get(request[:start] + request[end:])
            if template is not None and template.start == start:
                slot = request[start:end]
                if slot == template.slot:
                    return None
                template.slot = slot
                return template
        return None

    def learn(
        self, request: bytes, answer: bytes, repeat: Repeat, told: str, *, bodiless: bool
    ) -> None:
        """Remember how a request was answered, if such an answer can be repeated."""
        if not answer.startswith(_STATUSES) or _head_of(answer).count(b"\r\nDate: ") != 1:
            return
        self._remember(request, Entry(answer, repeat, told, bodiless=bodiless))
        slot, sibling = repeat.slot, repeat.sibling
        if sibling is None or request.count(slot) != 1 or told.count(slot.decode("ascii")) != 1:
            return
        if not _IN_ORDER.search(_head_of(answer)):
            return
        start = request.index(slot)
        if start in self._places or len(self._places) < _PLACES:
            self._places[start] = start + len(slot)
            if len(self.templates) >= MAX_TEMPLATES:
                del self.templates[next(iter(self.templates))]
            rest = request[:start] + request[start + len(slot) :]
            template = Template(answer, slot, start, sibling, told, bodiless=bodiless)
            self.templates[rest] = template

    def _remember(self, request: bytes, entry: Entry) -> None:
        self.forget(request)
        if len(request) + entry.size > MAX_OCTETS:
            return  # all others would give way to it, and then it would not fit
        self.entries[request] = entry
        self._octets += len(request) + entry.size
        while len(self.entries) > MAX_ENTRIES or self._octets > MAX_OCTETS:
            self.forget(next(iter(self.entries)))

    def forget(self, request: bytes) -> None:
        """Know it no more."""
        entry = self.entries.pop(request, None)
        if entry is not None:
            self._octets -= len(request) + entry.size


class LaneChannel(Channel):
    """A connection that the lane answers on, between two requests and nowhere else."""

    _HTTPChannel__first_line: int

    lane: Lane
    """Of the connections on which the same requests are let in."""

    _at_rest = False
    """Whether nothing of a request is here, in part or whole, read or answered."""

    _answered_at = 0.0
    _socket: socket | None = None
    _recorded: list[bytes] | None = None
    _done: Request | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        if type(self.transport) in (Server, SmallReads):  # whose octets nothing else touches
            self._socket = self.transport.socket
        self._at_rest = not self.site.draining

    def dataReceived(self, data: bytes) -> None:
        if self._at_rest:
            entry = self.lane.find(data)
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
            entry = self.lane.find(head)
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
        self.lane.learn(head, recorded, request.repeat, told(request), bodiless=bodiless)

    def _repeat(self, head: bytes, entry: Entry | Template) -> bool:
        """Whether the request was answered as it was before."""
        if self.transport.disconnecting:  # nobody would see the answer, nor use its token
            return False
        message = entry.message(self.lane.date())
        if message is None:
            self.lane.forget(head)
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

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._at_rest = False

    def timeoutConnection(self) -> None:
        rest = self._answered_at + (self.timeOut or 0) - self.site.reactor.seconds()
        if not self.requests and rest > 0 and self.timeOut:
            # What the lane answers moves no timer; the time that it would have given is given now.
            period = self.timeOut
            self.setTimeout(rest)
            self.timeOut = period
            return
        super().timeoutConnection()

    def drain(self) -> None:
        self._at_rest = False
        super().drain()
