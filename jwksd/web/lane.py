"""The lane: what the ordinary way has answered once is answered again on the spot.

The law of the lane: it decides nothing. It knows a request by all of its bytes, as one that came
before, alone and at the same point of a connection, and that twisted.web with the resource tree has
answered. It repeats this answer with the date of today, if whoever gave it says what its body is
now; in every other case the request takes the ordinary way. So status, headers, limits and errors
are decided in one place only. What it remembers is bounded in entries and in octets.
"""

from collections.abc import Callable
from time import time

from twisted.web.http import datetimeToString

Again = Callable[[], bytes | None]
"""The body that the same request is to be answered with now, or None for: ask anew."""

END = b"\r\n\r\n"
MAX_HEAD = 2048
"""Octets of a request that is remembered."""

MAX_ENTRIES = 4096
MAX_OCTETS = 8 * 2**20

_WORTH_KEEPING = 16_384
"""Octets of a body up to which the whole answer is kept in one piece."""

_STATUSES = (b"HTTP/1.1 200 ", b"HTTP/1.1 304 ")
_DATE, _LENGTH = b"\r\nDate: ", b"\r\nContent-Length: "


class Entry:
    """An answer that can be repeated.

    Args:
        answer: all octets of it, as they were sent.
        again: what its body is now.
        told: what the access log says of it between time stamp and length.
        bodiless: whether the body itself is not sent (HEAD).
        keeps: octets that ``again`` keeps in memory, sent or not.
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

    def __init__(
        self, answer: bytes, again: Again, told: str, *, bodiless: bool, keeps: int = 0
    ) -> None:
        head = answer[: answer.index(END) + len(END)]
        date = head.index(_DATE) + len(_DATE)
        self._before_date = head[:date]
        rest = head[head.index(b"\r\n", date) :]
        self._after_date, length, after = rest.partition(_LENGTH)
        self._after_date += length
        self._after_length = after[after.index(b"\r\n") :] if length else None
        self._again = again
        self._body: bytes | None = None
        self._date = b""
        self._message: tuple[bytes, ...] = ()
        self.told = told
        self.bodiless = bodiless
        self.size = 2 * max(len(answer), keeps)

    def message(self, date: bytes) -> tuple[bytes, ...] | None:
        """The answer of this date in as few pieces as is sensible, or None for: ask anew."""
        body = self._again()
        if body is None:
            return None
        if body is not self._body or date is not self._date:
            self._body, self._date = body, date
            self._message = self._joined(body, date)
        return self._message

    @property
    def length(self) -> int:
        """Octets of the body that was sent."""
        return 0 if self.bodiless or self._body is None else len(self._body)

    def _joined(self, body: bytes, date: bytes) -> tuple[bytes, ...]:
        head = self._before_date + date + self._after_date
        if self._after_length is not None:
            head += b"%d" % len(body) + self._after_length
        if self.bodiless:
            return (head,)
        return (head, body) if len(body) > _WORTH_KEEPING else (head + body,)


def entry_of(
    answer: bytes, again: Again, told: str, *, bodiless: bool, keeps: int = 0
) -> Entry | None:
    """An entry for an answer, or None where it is not of the kind that can be repeated."""
    if not answer.startswith(_STATUSES) or answer.count(_DATE, 0, answer.find(END)) != 1:
        return None
    return Entry(answer, again, told, bodiless=bodiless, keeps=keeps)


class Lane:
    """The answers that can be repeated, by the whole request; the oldest give way."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
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

    def remember(self, request: bytes, entry: Entry) -> None:
        """Know this request from now on."""
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
