"""Crowds of clients, each crowd a process of its own that shares no code with the server.

A client is a socket and a habit: what it sends when, and what it reads. All sockets of a crowd are
served by one epoll. A client that is disconnected connects again, so that a crowd keeps its size.
"""

import os
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection

NICENESS = 10
"""A crowd gives way to whoever measures beside it on the same core."""

PIPELINE = 2**16
"""Octets of requests that a pipelining client offers to its socket at once."""

DRIP = 5.0
"""Seconds between two pieces of a slow request."""

OPENED_AT_ONCE = 50
"""Connections between two looks at the other sockets: fewer than any listen backlog."""

_BUFFER = bytearray(2**18)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


def get(path: str) -> bytes:
    """The head of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def answer_size(port: int, request: bytes) -> int:
    """How many octets the whole answer to a GET has; raises RuntimeError unless it is a 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request)
        read = b""
        while b"\r\n\r\n" not in read:
            read += client.recv(2**16)
        head = read.partition(b"\r\n\r\n")[0]
        length = _LENGTH.search(head)
        if length is None or not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"no 200 with a length: {head!r}")
        size = len(head) + 4 + int(length[1])
        left = size - len(read)
        while left > 0:
            left -= client.recv_into(_BUFFER)
        return size


@dataclass
class Client:
    """A connection that asks for something and reads nothing of the answer."""

    port: int
    request: bytes
    size: int = 0
    """Of the answer to the request, in octets; 0 where answers are not counted."""

    events = select.EPOLLRDHUP
    connection: socket.socket = field(init=False)

    def connect(self) -> None:
        """Open the connection and send what comes first."""
        self.connection = socket.socket()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.prepare()
        self.connection.connect(("127.0.0.1", self.port))
        self.connection.setblocking(False)
        self.begin()

    def prepare(self) -> None:
        """Take as little as can be of an answer into the socket's own buffer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def begin(self) -> None:
        """Send what comes first."""
        self.connection.send(self.request)

    def tick(self) -> None:
        """Send what is due by now."""

    def serve(self, events: int) -> int:
        """Read or write what the socket is ready for; return the octets of answers read.

        Raises:
            OSError: the server has closed the connection.
        """
        raise ConnectionResetError(f"closed: {events}")


class Slow(Client):
    """One that begins a request and goes on with a piece of it now and then."""

    piece = b"a: b\r\n"

    def prepare(self) -> None:
        """Keep the socket as it is."""

    def tick(self) -> None:
        """Send the next piece."""
        self.connection.send(self.piece)


class SlowHead(Slow):
    """Sends a head that does not end, a header field at a time."""


class SlowBody(Slow):
    """Sends a body that does not end, an octet at a time."""

    piece = b"b"


class Polite(Client):
    """One that asks, reads the whole answer, and asks again."""

    events = select.EPOLLIN
    left = 0

    def prepare(self) -> None:
        """Keep the socket as it is."""

    def begin(self) -> None:
        """Send the next request."""
        self.left = self.size
        self.connection.send(self.request)

    def serve(self, events: int) -> int:
        """Read; send the next request when the answer is complete."""
        read = _read(self.connection)
        self.left -= read
        if self.left < 0:
            raise RuntimeError(f"an answer is not of {self.size} octets")
        if self.left == 0:
            self.begin()
        return read


class Pipelining(Client):
    """One that writes requests without a pause, and reads their answers."""

    events = select.EPOLLIN | select.EPOLLOUT
    sent = 0

    def prepare(self) -> None:
        """Keep the socket as it is."""

    def begin(self) -> None:
        """Have as many requests ready as a socket takes at once."""
        self.sent = 0
        self.offered = memoryview(self.request * (PIPELINE // len(self.request)))

    def serve(self, events: int) -> int:
        """Write if there is room, read if there is something."""
        with suppress(BlockingIOError):
            if events & select.EPOLLOUT:
                self.sent += self.connection.send(self.offered[self.sent :])
                self.sent %= len(self.offered)
        return _read(self.connection) if events & ~select.EPOLLOUT else 0


def _read(client: socket.socket) -> int:
    read = client.recv_into(_BUFFER)
    if read == 0:
        raise ConnectionResetError("closed by the server")
    return read


@dataclass(frozen=True)
class Group:
    """So many clients of a habit, with the same request."""

    habit: type[Client]
    count: int
    request: bytes
    size: int = 0


@dataclass
class Crowd:
    """All clients of a process, on one epoll."""

    port: int
    epoll: select.epoll = field(default_factory=select.epoll)
    clients: dict[int, Client] = field(default_factory=dict)
    octets: Counter[int] = field(default_factory=Counter)
    """Octets read, by the size of an answer."""
    closed: int = 0

    def gather(self, groups: Sequence[Group]) -> None:
        """Connect everybody; those who are there are served meanwhile."""
        for group in groups:
            for number in range(group.count):
                self._connect(group.habit(self.port, group.request, group.size))
                if number % OPENED_AT_ONCE == 0:
                    self.turn(0.0)

    def turn(self, timeout: float) -> None:
        """Serve every socket that is ready within a time in seconds."""
        for number, events in self.epoll.poll(timeout):
            client = self.clients.get(number)
            if client is not None:
                self._serve(client, events)

    def tick(self) -> None:
        """Let everybody send what is due."""
        for client in list(self.clients.values()):
            with suppress(OSError):
                client.tick()

    def _serve(self, client: Client, events: int) -> None:
        try:
            self.octets[client.size] += client.serve(events)
        except OSError:
            self.closed += 1
            del self.clients[client.connection.fileno()]
            client.connection.close()
            self._connect(client)

    def _connect(self, client: Client) -> None:
        client.connect()
        self.clients[client.connection.fileno()] = client
        self.epoll.register(client.connection, client.events)


@dataclass
class Result:
    """What a crowd got."""

    answers: float = 0.0
    """Answers a second, all clients together."""
    closed: int = 0
    """How often the server closed a connection."""


def live(control: Connection, port: int, groups: Sequence[Group], core: int) -> None:
    """Gather a crowd, say so, and let it go on until a word comes; then answer a Result."""
    os.sched_setaffinity(0, {core})
    os.nice(NICENESS)
    crowd = Crowd(port)
    crowd.gather(groups)
    control.send(None)
    begun, due = time.monotonic(), time.monotonic() + DRIP
    before = crowd.octets.copy()
    while not control.poll():
        crowd.turn(0.1)
        if time.monotonic() > due:
            due += DRIP
            crowd.tick()
    seconds = time.monotonic() - begun
    answers = sum((n - before[size]) / size for size, n in crowd.octets.items() if size)
    control.send(Result(answers / seconds, crowd.closed))


def call(control: Connection, core: int, function: Callable[..., object], *given: object) -> None:
    """Call a function on a core of its own, and send what it returns."""
    os.sched_setaffinity(0, {core})
    control.send(function(*given))


@contextmanager
def child(target: Callable[..., None], *given: object) -> Iterator[Connection]:
    """A process that is called with one end of a pipe, whose other end this yields."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *given), daemon=True)
    process.start()
    theirs.close()  # or its end would not be noticed
    try:
        yield ours
    finally:
        ours.close()
        process.join(20)
        process.kill()
        process.join()


@contextmanager
def crowd(port: int, core: int, *groups: Group) -> Iterator[Result]:
    """A crowd in a process of its own, complete at the beginning; the Result is there at the end.

    Raises:
        EOFError: the crowd's process failed; what it wrote on stderr says why.
    """
    result = Result()
    with child(live, port, groups, core) as control:
        control.recv()
        yield result
        control.send(None)
        got: Result = control.recv()
        result.answers, result.closed = got.answers, got.closed
