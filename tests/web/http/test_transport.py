"""The transport that reads little: what it hands on, and what it says when there is nothing."""

import socket
from typing import Any

from twisted.internet import main, tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.web.http.transport import READ, SmallReads, read_little


class Receiver(Protocol):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)


class SmallReadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(ours.close)
        self.addCleanup(self.peer.close)
        self.receiver = Receiver()
        reactor: Any = MemoryReactorClock()
        self.transport = SmallReads(ours, self.receiver, ("127.0.0.1", 1), None, 0, reactor)

    def test_what_is_longer_comes_in_pieces(self) -> None:
        """As many octets at once as it reads, in order, and none is lost."""
        octets = bytes(range(250)) * 80
        self.peer.sendall(octets)
        for _ in range(3):
            self.assertIsNone(self.transport.doRead())
        self.assertEqual([len(piece) for piece in self.receiver.pieces[:2]], [READ, READ])
        self.assertEqual(b"".join(self.receiver.pieces), octets)

    def test_where_there_is_nothing_it_waits(self) -> None:
        """A wake-up in vain is no end."""
        self.assertIsNone(self.transport.doRead())
        self.assertEqual(self.receiver.pieces, [])

    def test_an_end_differs_from_a_loss(self) -> None:
        """As Twisted's own does."""
        self.peer.shutdown(socket.SHUT_WR)
        self.assertIs(self.transport.doRead(), main.CONNECTION_DONE)
        self.transport.socket.send(b"never read")
        self.peer.close()  # which resets a connection with octets left unread
        self.assertIs(self.transport.doRead(), main.CONNECTION_LOST)

    def test_slow_clients_are_noticed_as_before(self) -> None:
        """How much may wait to be sent has nothing to do with how much is read."""
        self.assertEqual(self.transport.bufferSize, tcp.Server.bufferSize)

    def test_only_plain_ports_are_changed(self) -> None:
        """What speaks TLS, or is no TCP, has transports of its own."""
        reactor: Any = MemoryReactorClock()
        plain: Any = tcp.Port(0, Factory(), reactor=reactor)
        other: Any = type("TLSPort", (tcp.Port,), {})(0, Factory(), reactor=reactor)
        for port in (plain, other):
            read_little(port)
        self.assertEqual((plain.transport, other.transport), (SmallReads, tcp.Server))
