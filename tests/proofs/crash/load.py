"""The load: clients that mint tokens without a pause until the server is gone.

A token counts as acknowledged when its answer was received to the last byte.
"""

import asyncio
import re
from asyncio import IncompleteReadError, StreamReader, StreamWriter, Task
from dataclasses import dataclass, field

_MINT = b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CLIENTS = 8
_PAUSE = 0.02
"""Seconds that a client waits after a refusal."""


@dataclass
class Haul:
    """What one connection was answered, in order."""

    tokens: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    told: int = 0

    def fresh(self) -> list[str]:
        """The tokens since last time."""
        fresh = self.tokens[self.told :]
        self.told += len(fresh)
        return fresh


class Load:
    """Clients at work on one server."""

    def __init__(self) -> None:
        self.hauls: list[Haul] = []
        self._tasks: list[Task[None]] = []

    @property
    def tokens(self) -> int:
        """How many were acknowledged so far."""
        return sum(len(haul.tokens) for haul in self.hauls)

    @property
    def refusals(self) -> list[str]:
        """Every answer that was no token."""
        return [refusal for haul in self.hauls for refusal in haul.refusals]

    def fresh(self) -> list[str]:
        """Tokens that were acknowledged since last time."""
        return [token for haul in self.hauls for token in haul.fresh()]

    async def begin(self, port: int) -> None:
        """Connect, and mint from now on."""
        for _ in range(_CLIENTS):
            streams = await asyncio.open_connection("127.0.0.1", port)
            haul = Haul()
            self.hauls.append(haul)
            self._tasks.append(asyncio.create_task(_mint_until_cut_off(*streams, haul)))

    async def ended(self) -> None:
        """Wait until every connection is gone, which takes the death of the server."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), 30)


async def _mint_until_cut_off(reader: StreamReader, writer: StreamWriter, haul: Haul) -> None:
    try:
        while True:
            writer.write(_MINT)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            assert length is not None, head
            body = (await reader.readexactly(int(length[1]))).decode()
            if head.startswith(b"HTTP/1.1 200 "):
                haul.tokens.append(body)
            else:
                haul.refusals.append(body)
                await asyncio.sleep(_PAUSE)
    except (OSError, IncompleteReadError):
        pass
    finally:
        writer.close()
