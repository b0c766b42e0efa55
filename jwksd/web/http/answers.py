"""The answers that the fast path remembers: to one request, or to all requests of a kind.

Both are made from an answer as it was sent. The header fields that change are cut out of its head
once, so that the next answer is put together by joining octets.
"""

import re

from jwksd.web.http.repeat import BodyAndTag, Repeat

END_OF_HEAD = b"\r\n\r\n"

_ONE_PIECE = 16_384
"""Octets of a body up to which it is copied behind its head, to be sent in one piece."""

_STATUSES = (b"HTTP/1.1 200 ", b"HTTP/1.1 304 ")

_FIELDS_IN_ORDER = re.compile(rb"\r\nDate: .*\r\nETag: .*\r\nContent-Length: ", re.DOTALL)
"""The fields that ``AnswerToKind`` replaces, in the order in which it expects them."""

Message = tuple[bytes, ...]
"""An answer, in as few pieces as is sensible."""


def can_be_repeated(answer: bytes) -> bool:
    """Return whether an answer may be remembered: it is 200 or 304, and has one Date field."""
    return answer.startswith(_STATUSES) and _head_of(answer).count(b"\r\nDate: ") == 1


def can_serve_kind(answer: bytes) -> bool:
    """Return whether the head of an answer has all the fields that ``AnswerToKind`` replaces."""
    return _FIELDS_IN_ORDER.search(_head_of(answer)) is not None


def _head_of(answer: bytes) -> bytes:
    return answer[: answer.index(END_OF_HEAD) + len(END_OF_HEAD)]


def _cut_out(head: bytes, name: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and after the value of a field, which must be there."""
    start = head.index(b"\r\n%b: " % name) + len(name) + 4
    return head[:start], head[head.index(b"\r\n", start) :]


class AnswerToRequest:
    """The answer to one request, known by all of its octets.

    Args:
        answer: all octets of the answer, as they were sent.
        repeat: how to answer from now on.
        summary: what the access log says of it between time stamp and length.
        bodiless: whether the body itself is not sent (HEAD).
    """

    __slots__ = (
        "_after_date",
        "_after_length",
        "_before_date",
        "_body",
        "_current_body",
        "_date",
        "_message",
        "bodiless",
        "size",
        "summary",
    )

    def __init__(self, answer: bytes, repeat: Repeat, summary: str, *, bodiless: bool) -> None:
        self._before_date, self._after_date = _cut_out(_head_of(answer), b"Date")
        self._after_length: bytes | None = None
        if b"\r\nContent-Length: " in self._after_date:
            self._after_date, self._after_length = _cut_out(self._after_date, b"Content-Length")
        self._current_body = repeat.body
        self._body: bytes | None = None
        self._date = b""
        self._message: Message = ()
        self.summary = summary
        self.bodiless = bodiless
        self.size = 2 * max(len(answer), repeat.octets_kept)
        """Octets of memory that this answer is counted as."""

    def message(self, date: bytes) -> Message | None:
        """Return the answer with this Date, or None if the handler must be asked again."""
        body = self._current_body()
        if body is None:
            return None
        if body is not self._body or date is not self._date:
            self._body, self._date = body, date
            self._message = self._join(date, body)
        return self._message

    def _join(self, date: bytes, body: bytes) -> Message:
        head = self._before_date + date + self._after_date
        if self._after_length is not None:
            head += b"%d" % len(body) + self._after_length
        if self.bodiless:
            return (head,)
        return (head, body) if len(body) > _ONE_PIECE else (head + body,)

    @property
    def length(self) -> int:
        """Octets of the body that was sent."""
        return 0 if self.bodiless or self._body is None else len(self._body)


class AnswerToKind:
    """The answer to all requests of a kind. ``hole`` says which of them is answered next.

    Args:
        answer, hole, summary, bodiless: those of the request that was answered.
        start: where the hole begins in the request.
        same_kind: the body and the tag for the octets in the hole.
    """

    __slots__ = (
        "_after_date",
        "_after_length",
        "_after_tag",
        "_before_date",
        "_before_tag",
        "_behind_tag",
        "_body_and_tag",
        "_date",
        "_octets",
        "_summary",
        "bodiless",
        "hole",
        "start",
    )

    def __init__(
        self,
        answer: bytes,
        hole: bytes,
        start: int,
        same_kind: BodyAndTag,
        summary: str,
        *,
        bodiless: bool,
    ) -> None:
        self._before_date, rest = _cut_out(_head_of(answer), b"Date")
        self._after_date, rest = _cut_out(rest, b"ETag")
        self._after_tag, self._after_length = _cut_out(rest, b"Content-Length")
        self._date = self._before_tag = self._behind_tag = b""
        self._octets = -1
        self._body_and_tag = same_kind
        self._summary = summary.split(hole.decode("ascii"))
        self.bodiless = bodiless
        self.hole, self.start = hole, start

    def message(self, date: bytes) -> Message | None:
        """Return the answer with this Date, or None if the handler must be asked again."""
        found = self._body_and_tag(self.hole)
        if found is None:
            return None
        body, tag = found
        if date is not self._date:
            self._date, self._before_tag = date, self._before_date + date + self._after_date
        if len(body) != self._octets:  # the documents of one algorithm are mostly as long
            self._octets = len(body)
            self._behind_tag = self._after_tag + b"%d" % len(body) + self._after_length
        if self.bodiless or len(body) > _ONE_PIECE:
            head = self._before_tag + tag + self._behind_tag
            return (head,) if self.bodiless else (head, body)
        return (b"".join((self._before_tag, tag, self._behind_tag, body)),)

    @property
    def length(self) -> int:
        """Octets of the body that was sent."""
        return 0 if self.bodiless else self._octets

    @property
    def summary(self) -> str:
        """What the access log says of it between time stamp and length."""
        return self.hole.decode("ascii").join(self._summary)


RememberedAnswer = AnswerToRequest | AnswerToKind
