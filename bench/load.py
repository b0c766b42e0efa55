"""The load: clients on asyncio, which share no code with the server that they measure."""

import asyncio
import re
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MINT = b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
FETCH = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_BUFFER = 8 * 2**20


class Connection:
    """One connection that is kept alive."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """Send a request and answer the body of its 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        body = await self._reader.readexactly(int(length[1]))
        assert head.startswith(b"HTTP/1.1 200 "), (head, body)
        return body

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections to a daemon."""
    connections = [
        Connection(*await asyncio.open_connection("127.0.0.1", port, limit=_BUFFER))
        for _ in range(count)
    ]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


@asynccontextmanager
async def storm(port: int, connections: int, minted: Callable[[], None]) -> AsyncIterator[None]:
    """Mint tokens on so many connections without a pause; ``minted`` is called for each token."""

    async def mint_on(connection: Connection) -> None:
        while True:
            await connection.ask(MINT)
            minted()

    async with connected(port, connections) as clients, asyncio.TaskGroup() as group:
        tasks = [group.create_task(mint_on(client)) for client in clients]
        yield
        for task in tasks:
            task.cancel()


async def mint(port: int, connections: int, tokens: int) -> None:
    """Have so many tokens signed."""
    left = iter(range(tokens))

    async def mint_on(connection: Connection) -> None:
        for _ in left:
            await connection.ask(MINT)

    async with connected(port, connections) as clients, asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(mint_on(client))


async def time_tokens(port: int, connections: int, skip: int, count: int) -> float:
    """Seconds that ``count`` tokens take, after the first ``skip``, in a storm."""
    times: list[float] = []
    enough = asyncio.Event()

    def minted() -> None:
        times.append(time.perf_counter())
        if len(times) == skip + count:
            enough.set()

    async with storm(port, connections, minted):
        await enough.wait()
    return times[skip + count - 1] - times[skip - 1]


async def paced_fetches(port: int, rate: float, count: int, request: bytes = FETCH) -> list[float]:
    """Latencies of a GET in seconds, of jwks.json by default, sent ``rate`` times a second.

    Each is measured from the moment that the request was due, whether or not those before it have
    been answered: a server that stalls cannot hide the requests that it kept from being sent.
    """
    latencies: list[float] = []

    async def fetch(due: float) -> None:
        client = await idle.get()
        await client.ask(request)
        latencies.append(time.perf_counter() - due)
        idle.put_nowait(client)

    idle: asyncio.Queue[Connection] = asyncio.Queue()
    async with connected(port, 16) as clients:
        for client in clients:
            idle.put_nowait(client)
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                due = start + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(fetch(due))
    return latencies


async def paced_latencies(
    port: int, connections: int, skip: int, rate: float, count: int
) -> list[float]:
    """What ``paced_fetches`` answers, after the first ``skip`` tokens of a storm that goes on."""
    begun = asyncio.Event()
    tokens = 0

    def minted() -> None:
        nonlocal tokens
        tokens += 1
        if tokens == skip:
            begun.set()

    async with storm(port, connections, minted):
        await begun.wait()
        return await paced_fetches(port, rate, count)
