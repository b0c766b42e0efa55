"""Large bodies: sent in slices of the one document, however slowly clients take them."""

from typing import Any
from unittest.mock import patch

from twisted.internet import main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from jwksd.jose.keysets import Document
from jwksd.web.http.channel import Channel
from jwksd.web.http.fastpath import MAX_HEAD, FastPathChannel
from jwksd.web.http.site import GRACE
from jwksd.web.http.slices import SLICE
from tests.support.fastpath import FastPathTestCase
from tests.support.http import JWKS, Connection, get, masked

LARGE = 20 * SLICE + 7
HEAD = 1_000
"""Octets that the head of an answer has at most."""


class Pipe(FileDescriptor):
    """A transport of Twisted, as a Unix socket has, whose client takes what it is let take."""

    def __init__(self, channel: Any) -> None:
        self.reactor_in_memory: Any = MemoryReactorClock()
        super().__init__(self.reactor_in_memory)
        self.connected = 1
        self.room, self.most, self.lost = 0, 0, False
        self.taken = bytearray()
        self.channel = channel
        channel.makeConnection(self)

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer

    def fileno(self) -> int:
        return 1

    def writeSomeData(self, data: bytes) -> int:
        part = bytes(data[: self.room])
        self.room -= len(part)
        self.taken += part
        return len(part)

    def held(self) -> int:
        """Octets that wait in the transport."""
        held = len(self.dataBuffer) - self.offset + self._tempDataLen
        self.most = max(self.most, held)
        return held

    def take(self, octets: int = 1 << 30) -> bytes:
        """Let the client take so many octets more; return them."""
        self.room, before = octets, len(self.taken)
        while self.room and self in self.reactor_in_memory.writers and not self.lost:
            self.held()
            if self.doWrite() is not None:
                self.lose()
        self.held()
        self.room = 0
        return bytes(self.taken[before:])

    def abortConnection(self) -> None:
        self.lose()

    def lose(self) -> None:
        self.lost = True
        reason = Failure(main.CONNECTION_DONE)
        super().connectionLost(reason)
        self.channel.connectionLost(reason)


class SliceTestCase(FastPathTestCase):
    """A site whose key set is large."""

    def setUp(self) -> None:
        super().setUp()
        self.document = self.make_document(b"a")
        keys = self.issuer.policy.keys
        self.patch(keys, "key_set", lambda: self.document)

    def make_document(self, octet: bytes) -> Document:
        body = b'{"keys":[],"x":"' + octet * LARGE + b'"}'
        return self.issuer.policy.keys.key_set()._replace(body=body, etag=b'"%b"' % octet)

    def pipe(self, channel: type[Channel] = FastPathChannel) -> Pipe:
        self.site.protocol = channel  # type: ignore[assignment]
        return Pipe(self.site.buildProtocol(None))

    def whole(self, request: bytes) -> bytes:
        """The answer as it is where all is taken at once."""
        return Connection(self.make_site()).send(request)

    def turn(self, pipe: Pipe) -> None:
        while pipe.channel.awaits_turn:
            self.site.turns.take()


class SliceTests(SliceTestCase):
    def test_no_more_than_a_slice_is_held(self) -> None:
        """Of the first answer and of those of the fast path; whatever is taken, all comes."""
        for channel in (FastPathChannel, Channel):
            for step in (1_000, SLICE, 3 * SLICE + 1, 1 << 30):
                pipe = self.pipe(channel)
                for request in (get(JWKS), get(JWKS), get(JWKS, "Accept: x")):
                    pipe.channel.dataReceived(request)
                    answer = b""
                    while part := pipe.take(step):
                        answer += part
                    self.assertEqual(masked(answer), masked(self.whole(request)))
                self.assertLessEqual(pipe.most, SLICE + HEAD)
                self.assertIn(pipe, pipe.reactor_in_memory.readers)

    def test_who_takes_nothing_holds_nothing_of_the_document(self) -> None:
        """But for the first slice; and nothing more is read."""
        pipe = self.pipe()
        pipe.channel.dataReceived(get(JWKS))
        self.assertLessEqual(pipe.held(), SLICE + HEAD)
        self.assertNotIn(pipe, pipe.reactor_in_memory.readers)
        self.assertIs(pipe.channel._body_rest.obj, self.document.body)

    def test_a_document_that_changes_is_sent_as_it_was(self) -> None:
        """Whole; the next answer has the new one."""
        for _ in range(2):
            pipe, expected = self.pipe(), self.whole(get(JWKS))
            pipe.channel.dataReceived(get(JWKS) * 2)
            answer = pipe.take(5 * SLICE)
            self.document = self.make_document(b"b")
            answer += pipe.take(len(expected) - len(answer))
            self.assertEqual(masked(answer), masked(expected))
            self.turn(pipe)
            self.assertEqual(masked(pipe.take()), masked(self.whole(get(JWKS))))
            self.document = self.make_document(b"a")

    def test_requests_behind_a_large_answer_wait_until_it_is_sent(self) -> None:
        """And are then answered in order, in turns."""
        for channel in (FastPathChannel, Channel):
            pipe = self.pipe(channel)
            requests = [get("/healthz"), get(JWKS), get("/nothing"), get(JWKS), get("/healthz")]
            pipe.channel.dataReceived(b"".join(requests))
            for _ in range(200):
                pipe.take(SLICE)
                self.turn(pipe)
            self.assertEqual(masked(bytes(pipe.taken)), masked(b"".join(map(self.whole, requests))))
            self.assertLessEqual(pipe.most, SLICE + 2 * HEAD)

    def test_what_is_no_request_is_refused_behind_a_large_answer(self) -> None:
        """Never in the middle of it, whoever gave that answer."""
        parsed = get(JWKS, "A: " + "b" * MAX_HEAD)  # the fast path leaves it to the parser
        for request in (parsed, get(JWKS)):
            for channel in (FastPathChannel, Channel):
                for wrong in (b"(no request)\r\n", get("/healthz", "B: c\r\n folded")):
                    with self.subTest(request=request[:50], channel=channel, wrong=wrong[:20]):
                        pipe = self.pipe(channel)
                        pipe.channel.dataReceived(request + wrong)
                        pipe.take()
                        self.turn(pipe)
                        pipe.take()
                        expected = self.whole(request) + self.whole(wrong)
                        self.assertEqual(masked(bytes(pipe.taken)), masked(expected))
                        self.assertTrue(pipe.lost)

    def test_a_head_has_no_body_to_wait_for(self) -> None:
        """HEAD and 304 are answered whole at once."""
        for request in (get(JWKS, method="HEAD"), get(JWKS, "If-None-Match: *")):
            pipe = self.pipe()
            for _ in range(2):
                pipe.channel.dataReceived(request)
                self.assertIsNone(pipe.channel._body_rest)
                self.assertEqual(masked(pipe.take()), masked(self.whole(request)))

    def test_what_is_written_after_a_large_body_follows_it(self) -> None:
        """Whoever writes an answer in parts need not know that one of them is large."""
        pipe = self.pipe()
        for part in (b"a" * LARGE, b"b", b"c" * LARGE):
            pipe.channel.write(part)
        self.assertEqual(pipe.take(), b"a" * LARGE + b"b" + b"c" * LARGE)

    def test_a_transport_that_asks_us_to_stop_is_asked_for_no_more(self) -> None:
        """TLS stops us by itself; so many slices are written, and the rest when it goes on."""
        client = Connection(self.site)
        transport, channel = client.transport, client.channel
        write = transport.write

        def pausing(data: bytes) -> None:
            write(data)
            if len(transport.value()) > 2 * SLICE and not channel._waitingForTransport:
                channel.pauseProducing()

        with patch.object(transport, "write", pausing):
            first = client.send(get(JWKS))
        self.assertLessEqual(len(first), 3 * SLICE + HEAD)
        self.assertEqual(client.send(get("/healthz")), b"")
        channel.resumeProducing()
        self.site.turns.take()
        expected = self.whole(get(JWKS)) + self.whole(get("/healthz"))
        self.assertEqual(masked(client.received), masked(expected))

    def test_the_access_log_has_the_length_of_all(self) -> None:
        """Once for each answer, of either path."""
        written: list[str] = []
        self.site._logFile = type("Log", (), {"write": written.append})
        pipe = self.pipe()
        for _ in range(2):
            pipe.channel.dataReceived(get(JWKS))
            pipe.take()
        self.assertEqual(len(written), 2)
        for line in written:
            self.assertTrue(line.endswith(f'HTTP/1.1" 200 {len(self.document.body)}\n'), line)

    def test_what_is_remembered_of_a_large_answer_is_no_copy(self) -> None:
        """The fast path answers with the very document, and counts it as memory."""
        pipe = self.pipe()
        for _ in range(2):
            pipe.channel.dataReceived(get(JWKS))
            pipe.take()
        answer = self.site.fast_path.answers[get(JWKS)]
        self.assertIs(answer._message[1], self.document.body)
        self.assertGreater(self.site.fast_path.octets, len(self.document.body))
        copies = [
            value
            for name in answer.__slots__
            if isinstance(value := getattr(answer, name), bytes) and value != self.document.body
        ]
        self.assertLess(sum(map(len, copies)), HEAD)

    def test_a_large_token_is_counted_as_memory_too(self) -> None:
        """It is kept with its answer until the next."""
        with patch("jwksd.web.auth._token", lambda token: token.token + b"x" * LARGE):
            pipe = self.pipe()
            pipe.channel.dataReceived(get("/auth", method="POST"))
        self.assertGreater(self.site.fast_path.octets, LARGE)


class EndTests(SliceTestCase):
    """A connection that ends while a large body is sent."""

    def begin(self, request: bytes) -> Pipe:
        pipe = self.pipe()
        pipe.channel.dataReceived(request)
        pipe.take(3 * SLICE)
        return pipe

    def assert_whole_and_closed(self, pipe: Pipe, expected: bytes) -> None:
        self.assertFalse(pipe.lost)
        pipe.take()
        self.assertEqual(masked(bytes(pipe.taken)), masked(expected))
        self.assertTrue(pipe.lost)
        self.assertIsNone(pipe.channel._TimeoutMixin__timeoutCall)

    def test_an_answer_before_the_end_is_whole(self) -> None:
        """HTTP/1.0, and Connection: close; what comes behind is not answered."""
        for request in (
            get(JWKS).replace(b"1.1", b"1.0"),
            get(JWKS, "Connection: close"),
        ):
            for rest in (b"", get("/healthz")):
                self.assert_whole_and_closed(self.begin(request + rest), self.whole(request))

    def test_a_client_that_sends_no_more_gets_all(self) -> None:
        """Its half of the connection is closed, ours is not."""
        pipe = self.begin(get(JWKS))
        pipe.channel.readConnectionLost()
        self.assert_whole_and_closed(pipe, self.whole(get(JWKS)))

    def test_a_server_that_stops_sends_all_of_it(self) -> None:
        """Then the connection is closed."""
        pipe, expected = self.begin(get(JWKS)), self.whole(get(JWKS))
        self.connection.lose()
        drained = self.site.drain()
        self.assertNoResult(drained)
        self.assert_whole_and_closed(pipe, expected)
        self.successResultOf(drained)

    def test_a_server_that_stops_does_not_wait_for_ever(self) -> None:
        """Who takes nothing is cut off after the grace."""
        pipe = self.begin(get(JWKS))
        self.connection.lose()
        drained: Deferred[None] = self.site.drain()
        self.clock.advance(GRACE)
        self.assertTrue(pipe.lost)
        self.successResultOf(drained)

    def test_a_client_that_leaves_leaves_nothing(self) -> None:
        """Neither the document nor a timer."""
        pipe = self.begin(get(JWKS))
        pipe.lose()
        self.assertIsNone(pipe.channel._body_rest)
        self.assertEqual(list(self.site.connections), [self.connection.channel])

    def test_who_takes_nothing_for_a_minute_is_cut_off(self) -> None:
        """Whether its connection would have been kept or not; nothing is added to the answer."""
        for request in (get(JWKS), get(JWKS).replace(b"1.1", b"1.0")):
            pipe = self.begin(request)
            for _ in range(5):
                self.clock.advance(50)
                self.assertGreater(len(pipe.take(SLICE)), 0)
            self.clock.advance(59)
            self.assertFalse(pipe.lost)
            self.clock.advance(1)
            self.clock.advance(15)
            self.assertTrue(pipe.lost)
            self.assertTrue(self.whole(request)[200:].startswith(bytes(pipe.taken[200:])))

    def test_a_last_answer_that_nobody_takes_is_not_kept_for_ever(self) -> None:
        """However small: the connection is cut off, and its place is free."""
        for request in (get("/healthz", "Connection: close"), b"(no request)\r\n"):
            pipe = self.pipe()
            pipe.channel.dataReceived(request)
            self.clock.advance(60)
            self.assertFalse(pipe.lost)
            self.clock.advance(0)
            self.clock.advance(15)
            self.assertTrue(pipe.lost)
            self.assertNotIn(pipe.channel, list(self.site.connections))
