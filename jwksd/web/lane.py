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
from collections.abc import Callable
from time import time
from typing import NamedTuple

from twisted.web.http import datetimeToString

Again = Callable[[], bytes | None]
"""The body that the same request is to be answered with now, or None for: ask anew."""

Sibling = Callable[[bytes], tuple[bytes, bytes] | None]
"""Body and tag that the sibling with these octets is to be answered with now, or None."""


class Repeat(NamedTuple):
    """How the same request, octet for octet, is to be answered from now on.

    Args:
        again: as it was, with this body, as long as there is one.
        keeps: octets that ``again`` keeps in memory.
        slot: octets of the request in whose place each of its siblings has others, as many.
        sibling: what these are answered with.
    """

    again: Again
    keeps: int = 0
    slot: bytes = b""
    sibling: Sibling | None = None


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
"""Where slots may be in a request: after GET, after HEAD, each with a host before it or without."""

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
                self.templates.clear()
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
