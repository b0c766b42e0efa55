"""Clients that read nothing, or an octet at a time, or leave in the middle, on real sockets.

On the fast path they cost what they cost on the ordinary path: no more is kept for them, no more is
read of them, and nothing is left of them.
"""

import contextlib
import socket
from struct import pack
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jwksd.issuing.mintrequest import MintRequest
from jwksd.web.http.channel import Channel
from jwksd.web.http.slices import SLICE
from jwksd.web.root import make_root
from tests.proofs.fastpath.sites import (
    CountingChannel,
    CountingSite,
    Numbered,
    OrdinaryChannel,
    errors_logged,
    quick_pair,
)
from tests.support.app import make_issuer
from tests.support.http import JWKS, Connection, get, masked

FEW, MANY = 4, 1_000
"""Keys in a document: under a thousand octets, and more than there is room for below."""

BUFFER = 65_536
"""Octets past which a transport has its producer pause; also what it reads at once."""

SHORT, LONG = get(JWKS), get(JWKS, f"X: {'x' * 1_900}")
"""Two requests that the fast path takes."""


class Client:
    """A socket that never waits, and has little room."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    def reset(self) -> None:
        """Leave at once."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.socket.close()

    def send(self, octets: bytes) -> int:
        """How many of them the socket takes."""
        with contextlib.suppress(BlockingIOError):
            return self.socket.send(octets)
        return 0

    def read(self, most: int = 1 << 20) -> bytes:
        """What there is, at most so many octets."""
        with contextlib.suppress(BlockingIOError):
            return self.socket.recv(most)
        return b""


class Served:
    """A site on a port, its one connection, and the most that was kept for it."""

    def __init__(self, test: TestCase, channel: type[Channel], keys: int) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self.issuer = make_issuer(reactor, Numbered(quick_pair), algorithms=["EdDSA"])
        self.issuer.policy.start()
        test.addCleanup(self.issuer.stop)
        for _ in range(keys):
            self.issuer.mint_now(MintRequest())
        self.site = CountingSite(make_root(self.issuer), reactor, access_log=False)
        self.site.protocol = channel
        port = self._reactor.listenTCP(0, self.site, interface="127.0.0.1")
        test.addCleanup(port.stopListening)
        self.client = Client(port.getHost().port)
        test.addCleanup(self.client.socket.close)
        self.unsent = self.unread = 0

    @property
    def channel(self) -> Any:
        (channel,) = self.site.connections
        return channel

    @property
    def is_read(self) -> bool:
        """Whether the server reads from the client."""
        return self.channel.transport in self._reactor.getReaders()

    async def turn(self, seconds: float = 0) -> None:
        """Let the server work, and see what it keeps."""
        await deferLater(self._reactor, seconds)
        for channel in self.site.connections:
            transport: Any = channel.transport
            waiting = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
            self.unsent = max(self.unsent, waiting)
            unread = len(channel._buffer) + sum(map(len, channel._dataBuffer))
            self.unread = max(self.unread, unread)

    async def send(self, octets: bytes) -> None:
        """Send all of it, and read nothing."""
        while octets:
            octets = octets[self.client.send(octets) :]
            await self.turn()

    async def receive(self, length: int, most: int = 1 << 20) -> bytes:
        """So many octets, read by so many."""
        received = bytearray()
        while len(received) < length:
            received += self.client.read(min(most, length - len(received)))
            await self.turn()
        return bytes(received)

    async def first_answer(self, request: bytes) -> bytes:
        """The fast path knows the request from a connection whose transport never fills.

        The connection here has little room, so that large answers are sent in parts.
        """
        teacher = Connection(self.site)
        teacher.send(request)
        teacher.lose()
        while not self.site.connections:
            await self.turn()
        self.channel.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        await self.send(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.client.read()
            await self.turn()
        end = answer.index(b"\r\n\r\n") + 4
        return answer + await self.receive(
            end + len(self.issuer.policy.keys.key_set().body) - len(answer)
        )

    async def stuff(self, request: bytes) -> int:
        """Send it over and over until the server takes no more; return how many octets it took."""
        sent = still = 0
        many = request * (1_000_000 // len(request))
        while still < 30:
            taken = self.client.send(many[sent % len(request) :])
            sent, still = sent + taken, 0 if taken else still + 1
            await self.turn(0.001)
            assert sent < 20_000_000, "the server reads on and on"
        return sent

    async def gone(self) -> None:
        """Until no connection is left."""
        while self.site.connections:
            await self.turn()


class MisbehavingTests(TestCase):
    """Each on both paths; trial sees what either of them leaves in the reactor."""

    async def stuffed(self, channel: type[Channel], keys: int, request: bytes) -> Served:
        """A client that read nothing, until the server read no more; then it reads all."""
        served = Served(self, channel, keys)
        answer = await served.first_answer(request)
        served.unsent = served.unread = 0
        sent = await served.stuff(request)
        self.assertFalse(served.is_read)
        self.assertTrue(served.channel.paused)
        # At most one answer is begun past the bound of the transport, and none is copied at once.
        self.assertLessEqual(served.unsent, BUFFER + min(len(answer), SLICE))
        self.assertLessEqual(served.unread, BUFFER)
        await self.take_all(served, answer, sent, request)
        return served

    async def take_all(self, served: Served, answer: bytes, sent: int, request: bytes) -> None:
        """Nothing is missing, and the connection serves the next request."""
        served.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        count = sent // len(request)
        for _ in range(count):
            self.assertEqual(masked(await served.receive(len(answer))), masked(answer))
        await served.send(request[sent % len(request) :])
        self.assertEqual(masked(await served.receive(len(answer))), masked(answer))
        self.assertTrue(served.is_read)
        served.client.socket.close()
        await served.gone()

    async def test_a_client_that_reads_nothing_costs_no_more(self) -> None:
        """Neither octets that wait for it, nor octets of it that wait; none is lost."""
        for keys, request in ((FEW, SHORT), (FEW, LONG), (MANY, LONG)):
            fast = await self.stuffed(CountingChannel, keys, request)
            await self.stuffed(OrdinaryChannel, keys, request)
            self.assertGreater(fast.site.repeated, 1)

    async def test_a_client_that_reads_octet_by_octet_gets_all(self) -> None:
        """The same answer each time, while the fast path sends what the socket takes."""
        for channel in (CountingChannel, OrdinaryChannel):
            served = Served(self, channel, FEW)
            answer = await served.first_answer(SHORT)
            for _ in range(5):
                await served.send(SHORT)
                self.assertEqual(masked(await served.receive(len(answer), 1)), masked(answer))
            self.assertEqual(served.site.repeated, 6 if channel is CountingChannel else 0)
            served.client.socket.close()
            await served.gone()

    async def test_a_large_document_is_sent_in_parts(self) -> None:
        """What the socket does not take at once follows, in order."""
        for channel in (CountingChannel, OrdinaryChannel):
            served = Served(self, channel, MANY)
            answer = await served.first_answer(SHORT)
            self.assertGreater(len(answer), 2 * BUFFER)
            self.assertEqual(served.site.repeated, channel is CountingChannel)
            for most in (1_000, 1 << 20):
                await served.send(SHORT * 3)
                self.assertEqual(
                    masked(await served.receive(3 * len(answer), most)), masked(answer) * 3
                )
            served.client.socket.close()
            await served.gone()

    async def test_nothing_is_left_of_a_client_that_leaves_in_the_middle(self) -> None:
        """With a reset or in order, while a large answer is sent or waits: no error is logged."""
        for channel in (CountingChannel, OrdinaryChannel):
            for leave in (Client.reset, lambda client: client.socket.close()):
                for pipelined in (1, 200):
                    served = Served(self, channel, MANY)
                    with errors_logged() as errors:
                        await self.leave(served, pipelined, leave)
                    self.assertEqual(errors, [])

    async def leave(self, served: Served, pipelined: int, leave: Any) -> None:
        await served.first_answer(SHORT)
        await served.send(SHORT * pipelined)
        await served.turn(0.005)
        self.assertIsNotNone(served.channel._body_rest)
        served.client.read(1_000)
        leave(served.client)
        await served.gone()

    async def test_a_client_that_leaves_between_octets_of_a_request(self) -> None:
        """Wherever it stops, and however: nothing is logged, and nothing is left."""
        for channel in (CountingChannel, OrdinaryChannel):
            for at in range(0, len(SHORT), 7):
                served = Served(self, channel, FEW)
                with errors_logged() as errors:
                    await served.first_answer(SHORT)
                    await served.send(SHORT + SHORT[:at])
                    served.client.reset()
                    await served.gone()
                self.assertEqual(errors, [])
