"""The log and the greeting, on streams that never block.

The laws of a stream:
1. It never waits: not for the reader of a pipe or of a socket, nor for a terminal that Ctrl-S has
   stopped. It writes on the thread that logs, so there is no other to wait for at the end.
2. What has begun is ended before anything else is written.
3. What is not taken is dropped and counted. One line tells the count as soon as lines are taken
   again.
4. Nothing but a line feed ends a line or moves the cursor of a terminal.

O_NONBLOCK belongs to the open file, which other processes may share, so it is not set on one that
was handed to us. A pipe or terminal is opened anew, and the new one does not block; a socket is
asked not to, for each call; what cannot be opened anew is written when it says that it is ready,
and no more than it then takes.
"""

import os
import re
import select
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EAGAIN
from functools import partial
from io import TextIOBase
from threading import RLock
from time import gmtime, strftime
from typing import Any, TextIO, cast

from twisted.logger import globalLogBeginner, textFileLogObserver

_AT_ONCE: int = getattr(select, "PIPE_BUF", 512)
"""Octets that a pipe takes whole when it says that it is ready (POSIX)."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_RETRY = 1.0
"""Seconds until a stream is tried again, though nothing more is logged."""

Write = Callable[[bytes | memoryview], int]
"""Returns how many octets were taken, without a wait; raises OSError if none was."""

CallLater = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds. It may be called on any thread."""


def begin_logging(reactor: Any) -> None:
    """Log on standard error from now on, and never wait for standard output or error again."""
    sys.stdout = unblocked(sys.stdout, reactor)
    sys.stderr = unblocked(sys.stderr, reactor)
    # Python has none where the descriptor was closed.
    observers = [textFileLogObserver(sys.stderr)] if sys.stderr is not None else []
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)


def unblocked(file: TextIO, reactor: Any) -> TextIO:
    """Return a stream in place of a file; the file itself if there is no descriptor behind it."""
    if isinstance(file, Stream):
        return file
    try:
        stream = Stream(file, partial(reactor.callFromThread, reactor.callLater))
    except (AttributeError, OSError, ValueError):
        return file
    return cast(TextIO, stream)


class Stream(TextIOBase):
    """Writes to the descriptor of a file, and never blocks nor raises.

    Args:
        file: whose descriptor it is; it must stay open.
        call_later: by which the count is told although nothing more is logged.
    """

    def __init__(self, file: TextIO, call_later: CallLater) -> None:
        self._file = file
        self._call_later = call_later
        self._descriptor = file.fileno()
        self._write: Write | None = None
        self._lock = RLock()
        self._rest: bytes | memoryview = b""
        self._dropped = 0
        self._retries = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a variable
        return self._file.encoding or "utf-8"

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return self._file.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Write a text of one or more lines, or drop it."""
        with self._lock:
            if not self._is_taken(text):
                self._dropped += bool(text)
                self._retry_later()
        return len(text)

    def _is_taken(self, text: str) -> bool:
        """Write what is left from before, then the count and the text; say if they are taken."""
        self._rest = self._push(self._rest)
        if self._rest:
            return False
        octets = (self._count() + _printable(text)).encode(self.encoding, "backslashreplace")
        left = self._push(octets)
        if octets and len(left) == len(octets):
            return False
        self._rest, self._dropped = left, 0
        if left:
            self._retry_later()
        return True

    def _count(self) -> str:
        """Return a line that tells how many were dropped, if any were."""
        if not self._dropped:
            return ""
        now = strftime("%Y-%m-%dT%H:%M:%S+0000", gmtime())
        return f"{now} [jwksd.logs#warn] log lines dropped, for nobody took them: {self._dropped}\n"

    def _push(self, octets: bytes | memoryview) -> bytes | memoryview:
        """Write as much as is taken; return what is left."""
        left = memoryview(octets)
        with suppress(OSError):
            # Not before it is needed: twistd may fork before, and a pipe that is open has no end.
            write = self._write = self._write or _writer(self._descriptor)
            while left:
                left = left[write(left[:_AT_ONCE]) :]
        return left

    def _retry_later(self) -> None:
        if not self._retries:
            self._retries = True
            self._call_later(_RETRY, self._retry)

    def _retry(self) -> None:
        with self._lock:
            self._retries = False
        self.write("")


def _printable(text: str) -> str:
    """Return a text with all controls escaped but line feed and tab."""
    if text.rstrip("\n").isprintable():
        return text
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02X}", text)


def _writer(descriptor: int) -> Write:
    """Return what writes to a descriptor without a wait."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda octets: sock.send(octets, socket.MSG_DONTWAIT)
    if stat.S_ISREG(mode) or not hasattr(select, "poll"):
        return partial(os.write, descriptor)
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
    with suppress(OSError):
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            return partial(os.write, os.open(f"/proc/self/fd/{descriptor}", flags))
    return partial(_write_if_ready, descriptor)


def _write_if_ready(descriptor: int, octets: bytes | memoryview) -> int:
    """Write at most ``_AT_ONCE`` octets.

    Two that write to one pipe could still wait for each other, if both find it ready at once.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError(EAGAIN, "not ready")
    return os.write(descriptor, octets)
