"""Connections: kept alive and pipelined for well-formed requests, one each for raw octets."""

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from struct import pack

from tests.proofs.fuzz.case import Case
from tests.proofs.fuzz.framing import pieces
from tests.proofs.fuzz.oracle import Wrong, demand
from tests.support.raw import Answer

PATIENCE = 20
"""Seconds without an answer after which the server is taken to hang."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) [\t\x20-\x7e]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)")
_BODILESS = frozenset({204, 304})


def read_head(head: bytes) -> tuple[Answer, int]:
    """An answer without its body, and how long the body is (RFC 9112 §6.3).

    Raises:
        Wrong: this is no head of an answer.
    """
    status_line, *lines = head.split(b"\r\n")
    matched = _STATUS_LINE.fullmatch(status_line)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if matched is None or not all(fields):
        raise Wrong(f"no head of an answer: {head[:300]!r}")
    pairs = tuple((str(field[1], "ascii"), str(field[2], "ascii")) for field in fields if field)
    answer = Answer(int(matched[1]), pairs, b"")
    length = next((value for name, value in pairs if name.lower() == "content-length"), None)
    if answer.status < 200 or answer.status in _BODILESS:
        demand(length is None, f"a length with status {answer.status}")
        return answer, 0
    demand(length is not None and length.isdecimal(), "no Content-Length")
    return answer, int(length or 0)


class Connection:
    """One that is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.open = True

    @classmethod
    async def connect(cls, port: int) -> "Connection":
        """Raises ``OSError`` where there is no server."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, cases: Sequence[Case]) -> None:
        """All of them at once."""
        self._writer.write(b"".join(case.octets for case in cases))

    async def read(self, method: str) -> Answer | None:
        """The next answer, or None where the connection ends before it.

        Raises:
            Wrong: it is no answer, or none comes.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._read(method)
        except TimeoutError:
            raise Wrong(f"no answer in {PATIENCE} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            answer = None
        if answer is None or answer["Connection"] == "close":
            self.close()
        return answer

    async def _read(self, method: str) -> Answer:
        head = await self._reader.readuntil(b"\r\n\r\n")
        answer, length = read_head(head[:-4])
        if method == "HEAD" or not length:
            return answer
        return Answer(answer.status, answer.fields, await self._reader.readexactly(length))

    def close(self) -> None:
        """Leave."""
        self.open = False
        self._writer.close()


async def exchange_raw(port: int, case: Case, cuts: Sequence[bytes]) -> tuple[bytes, bool]:
    """Send what is perhaps no request; all that comes back, and whether it was reset.

    Raises:
        Wrong: the server neither answers nor closes, though nothing more will come.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, reset = bytearray(), False
    try:
        async with asyncio.timeout(PATIENCE):
            for piece in cuts:
                writer.write(piece)
                await asyncio.sleep(0)
            if case.end == "half-close":
                writer.write_eof()
                while octets := await reader.read(65_536):
                    received += octets
    except TimeoutError:
        raise Wrong(f"not closed in {PATIENCE} s; so far {bytes(received[-500:])!r}") from None
    except OSError:
        reset = True
    finally:
        _leave(writer, case.end == "reset")
    return bytes(received), reset


def cuts_of(case: Case, seed: str) -> list[bytes]:
    """What a raw case sends, in its pieces."""
    from random import Random

    return pieces(Random(seed), case.octets, case.pieces) if case.pieces > 1 else [case.octets]


def _leave(writer: asyncio.StreamWriter, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            handle = writer.get_extra_info("socket")
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


def answers_in(received: bytes, sent: bytes, *, reset: bool = False) -> Iterator[Answer]:
    """The answers in all that came back until the connection was closed.

    A body may be missing where HEAD may have been asked for.

    Raises:
        Wrong: it is not a series of answers; the last may be cut off by a reset.
    """
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        if not end and reset:
            return
        demand(end, f"cut off in a head: {received[:300]!r}")
        answer, length = read_head(head)
        if b"HEAD" in sent and (not rest or rest.startswith(b"HTTP/1.")):
            length = 0
        if length > len(rest):
            demand(reset, f"a body is cut off: {received[:300]!r}")
            return
        yield Answer(answer.status, answer.fields, rest[:length])
        received = rest[length:]
