"""bench/crowd.py: its clients do what their names say, or its figures would say nothing."""

import socket
import sys
from contextlib import closing
from unittest import TestCase

from tests.support.processes import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "bench"))
try:
    import clients
finally:
    sys.path.pop(0)

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REQUEST = clients.get("/healthz")


class CrowdTests(TestCase):
    """A crowd beside a listening socket, whose other ends the test holds."""

    def setUp(self) -> None:
        """Listen; nobody has come."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.crowd = clients.Crowd(self.listener.getsockname()[1])
        self.addCleanup(self.leave)

    def leave(self) -> None:
        """Close what the crowd has open."""
        for client in self.crowd.clients.values():
            client.connection.close()
        self.crowd.epoll.close()

    def gather(self, habit: type[clients.Client], request: bytes = REQUEST) -> socket.socket:
        """One client of a habit; the server's end of its connection."""
        self.crowd.gather([clients.Group(habit, 1, request, len(ANSWER))])
        return self.accept()

    def accept(self) -> socket.socket:
        """The server's end of the next connection."""
        server, _ = self.listener.accept()
        server.settimeout(10)
        self.addCleanup(server.close)
        return server

    def test_a_polite_client_has_one_request_in_flight(self) -> None:
        """It sends the next request when the whole answer is there, and no earlier."""
        server = self.gather(clients.Polite)
        self.assertEqual(server.recv(1000), REQUEST)
        server.send(ANSWER[:-1])
        self.crowd.turn(10)
        server.setblocking(False)
        self.assertRaises(BlockingIOError, server.recv, 1000)
        server.send(ANSWER[-1:])
        self.crowd.turn(10)
        self.assertEqual(server.recv(1000), REQUEST)
        self.assertEqual(self.crowd.octets, {len(ANSWER): len(ANSWER)})

    def test_a_polite_client_takes_no_answer_of_another_length(self) -> None:
        """A server that answers with an error would look fast."""
        server = self.gather(clients.Polite)
        server.send(ANSWER + b"more")
        self.assertRaises(RuntimeError, self.crowd.turn, 10)

    def test_a_pipelining_client_waits_for_no_answer(self) -> None:
        """It writes whole requests, one behind another, and goes on where the socket stopped it."""
        server = self.gather(clients.Pipelining)
        received = b""
        while len(received) < 3 * clients.PIPELINE:
            self.crowd.turn(10)
            received += server.recv(2**18)
        count = len(received) // len(REQUEST) + 1
        self.assertEqual(received, (REQUEST * count)[: len(received)])

    def test_a_slow_client_sends_a_piece_when_it_is_due(self) -> None:
        """And nothing between: neither its head nor its body ends."""
        for habit, piece in ((clients.SlowHead, b"a: b\r\n"), (clients.SlowBody, b"b")):
            with self.subTest(habit.__name__):
                server = self.gather(habit)
                self.assertEqual(server.recv(1000), REQUEST)
                self.crowd.tick()
                self.crowd.turn(0)
                self.assertEqual(server.recv(1000), piece)

    def test_the_reader_of_nothing_lets_its_answer_wait(self) -> None:
        """What the sockets do not take stays with the server."""
        server = self.gather(clients.Client)
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = server.send(bytes(2_000_000))
        self.crowd.turn(0)
        self.assertLess(sent, 200_000)
        self.assertEqual(self.crowd.octets, {})

    def test_whoever_is_disconnected_comes_again(self) -> None:
        """The crowd keeps its size, and counts."""
        for habit in (clients.Client, clients.SlowHead, clients.Polite, clients.Pipelining):
            with self.subTest(habit.__name__):
                server, closed = self.gather(habit), self.crowd.closed
                server.close()
                while self.crowd.closed == closed:
                    self.crowd.turn(10)
                self.accept()
                self.assertEqual(self.crowd.closed, closed + 1)

    def test_the_size_of_an_answer_is_that_of_a_200_with_a_length(self) -> None:
        """Anything else ends the measurement."""
        for answer, right in ((ANSWER, True), (ANSWER.replace(b"200", b"503"), False)):
            with self.subTest(answer), clients.child(respond, answer) as port:
                ask = (port.recv(), REQUEST)
                if right:
                    self.assertEqual(clients.answer_size(*ask), len(ANSWER))
                else:
                    self.assertRaises(RuntimeError, clients.answer_size, *ask)


def respond(control: clients.Connection, answer: bytes) -> None:
    """Tell the port, and answer the first request on it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        control.send(listener.getsockname()[1])
        server, _ = listener.accept()
        with server:
            server.recv(1000)
            server.send(answer)
