"""Flow control: requests in turns, and why reading stops and goes on."""

import re
from typing import Any

from jwksd.web.http.channel import Channel
from jwksd.web.http.fastpath import FastPathChannel
from jwksd.web.http.flow import _CHUNKED, _FIELDS
from jwksd.web.http.site import Site
from jwksd.web.http.turns import REQUESTS
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.fastpath import FastPathTestCase
from tests.support.http import JWKS, Connection, get, masked
from tests.support.keys import NOW, key_pair
from tests.support.raw import chunked
from tests.web.http.test_site import Gate

HEALTH = get("/healthz")
FORM = "Content-Type: application/x-www-form-urlencoded"
KINDS = {
    "known": get(JWKS),
    "ordinary": HEALTH,
    "unknown path": get("/nothing"),
    "token": get("/auth", "Content-Length: 0", method="POST"),
    "body": get("/auth", FORM, "Content-Length: 10", method="POST") + b"lifetime=5",
    "chunks": get("/auth", FORM, "Transfer-Encoding: chunked", method="POST")
    + chunked(b"lifetime", b"=", b"5"),
}
MANY = 5 * REQUESTS // 2


def steady(answers: bytes) -> bytes:
    """Return answers without what differs each time; a token may be an octet longer."""
    return re.sub(rb"Content-Length: \d+(\r\n\r\nTOKEN)", rb"\1", masked(answers))


class TurnTestCase(FastPathTestCase):
    """Counts the answers of each turn."""

    def answers(self, connection: Connection | None = None) -> int:
        return (connection or self.connection).received.count(b"\r\nServer: jwksd\r\n")

    def turn(self, connection: Connection | None = None) -> int:
        """Let a turn pass; return how many answers it brought to a connection."""
        before = self.answers(connection)
        self.site.turns.take()
        return self.answers(connection) - before

    def is_read(self, connection: Connection | None = None) -> bool:
        return (connection or self.connection).transport.producerState == "producing"

    def assert_nothing_is_due(self) -> None:
        """No turn will come."""
        due = [call for call in self.clock.getDelayedCalls() if call.getTime() <= NOW]
        self.assertEqual(due, [])

    def turns(self, connection: Connection | None = None) -> list[int]:
        """The answers of each turn, until the connection is read again."""
        found: list[int] = []
        while not self.is_read(connection):
            found.append(self.turn(connection))
            assert len(found) < 1_000, "reading never goes on"
        return found


class ShareTests(TurnTestCase):
    def test_no_connection_gets_more_than_its_share_of_a_turn(self) -> None:
        """Whatever it asks for, on either path; all are answered, in order, as one by one."""
        for channel in (FastPathChannel, Channel):
            for kind, request in KINDS.items():
                with self.subTest(channel=channel, kind=kind):
                    self.site = self.make_site()
                    self.site.protocol = channel  # type: ignore[assignment]
                    client, polite = Connection(self.site), Connection(self.site)
                    client.send(request * MANY)
                    self.assertLessEqual(self.answers(client), REQUESTS)
                    self.assertGreater(self.answers(client), REQUESTS // 5)
                    found = self.turns(client)
                    self.assertLessEqual(max(found), REQUESTS)
                    self.assertEqual(found[-1], 0)  # then reading goes on, and not before
                    each = [polite.send(request) for _ in range(MANY)]
                    self.assertEqual(steady(client.received), steady(b"".join(each)))

    def test_mixed_requests_are_answered_in_order(self) -> None:
        """The fast path and the ordinary one in turn."""
        requests = [*KINDS.values()] * 30
        self.connection.send(b"".join(requests))
        self.assertLessEqual(max(self.turns()), REQUESTS)
        polite = Connection(self.site)
        each = b"".join(map(polite.send, requests))
        self.assertEqual(steady(self.connection.received), steady(each))

    def test_of_many_each_gets_one_answer_a_turn(self) -> None:
        """Half of them in this turn, half in the next; who asks politely is answered at once."""
        clients = [Connection(self.site) for _ in range(2 * REQUESTS)]
        for client in clients:
            client.send(HEALTH * (10 * REQUESTS))
        before = sum(map(self.answers, clients))
        self.assertLess(before, 5 * REQUESTS + len(clients))
        for _ in range(3):
            counts = [self.answers(client) for client in clients]
            self.site.turns.take()
            self.site.turns.take()
            gained = {
                self.answers(client) - count for client, count in zip(clients, counts, strict=True)
            }
            self.assertEqual(gained, {1})
            for request in (HEALTH, get(JWKS)):
                self.assertIn(b" 200 OK", self.connection.send(request))
            self.assertTrue(self.is_read())

    def test_what_is_left_over_stops_reading_until_it_is_answered(self) -> None:
        """So that no more waits than was read at once; a turn later reading goes on."""
        self.connection.send(HEALTH * (REQUESTS + 1))
        self.assertFalse(self.is_read())
        self.assertEqual([self.turn(), self.is_read()], [1, False])
        self.assertEqual([self.turn(), self.is_read()], [0, True])
        self.assert_nothing_is_due()
        self.assertTrue(self.is_repeated(get(JWKS)))

    def test_what_comes_all_the_same_is_answered_after_that(self) -> None:
        """TLS hands on all that was in a record."""
        self.connection.send(HEALTH * (REQUESTS + 1))
        for _ in range(2):
            self.connection.send(HEALTH)
            self.turn()
        self.turns()
        self.assertEqual(self.answers(), REQUESTS + 3)

    def test_who_is_polite_waits_for_no_turn(self) -> None:
        """As many as a share in one piece, or each by itself, or the last one in part."""
        for octets in (HEALTH * (REQUESTS - 1), HEALTH * REQUESTS, HEALTH, HEALTH[:40]):
            self.connection.send(octets)
            self.assertTrue(self.is_read())
            self.assertFalse(self.connection.channel.awaits_turn)

    def test_many_fields_count_as_several_requests(self) -> None:
        """To read them takes as long."""
        request = get("/healthz", *["A: b"] * (4 * _FIELDS))
        for channel in (FastPathChannel, Channel):
            self.site.protocol = channel  # type: ignore[assignment]
            client = Connection(self.site)
            client.send(request * REQUESTS)
            self.assertLessEqual(self.answers(client), REQUESTS // 5 + 1)
            self.assertLessEqual(max(self.turns(client)), REQUESTS // 5 + 1)
            self.assertEqual(self.answers(client), REQUESTS)

    def test_every_32_fields_count_as_a_request(self) -> None:
        """Host is one of them; who sends a field less is answered as if there were none."""
        for fields, answers in ((30, REQUESTS), (31, REQUESTS // 2), (62, REQUESTS // 2)):
            client = Connection(self.site)
            client.send(get("/healthz", *["A: b"] * fields) * REQUESTS)
            with self.subTest(fields=fields):
                self.assertEqual(self.answers(client), answers)

    def test_tiny_chunks_are_parsed_in_turns(self) -> None:
        """Each costs time; what is left of a body waits like a request."""
        head = get("/auth", "Transfer-Encoding: chunked", method="POST")
        body = chunked(*[b"x"] * 8_000)
        self.connection.send(head + body)
        left = [len(self.connection.channel._buffer)]
        while not self.is_read():
            self.turn()
            left.append(len(self.connection.channel._buffer))
        parsed = [a - b for a, b in zip([len(body), *left], left, strict=False)]
        self.assertEqual(max(parsed), REQUESTS * _CHUNKED)
        self.assertEqual(self.answers(), 1)

    def test_a_chunk_that_is_wrong_is_refused_once(self) -> None:
        """And nothing after it is taken for a request."""
        head = get("/auth", "Transfer-Encoding: chunked", method="POST")
        self.connection.send(head + b"zz\r\n" + HEALTH * 100)
        self.assertEqual(self.connection.received.count(b"HTTP/1.1 400 "), 1)
        self.assertEqual(self.answers(), 1)
        self.assertTrue(self.connection.closing)

    def test_what_follows_the_last_request_is_not_answered(self) -> None:
        """It waits for no turn either."""
        for last in (get("/healthz", "Connection: close"), b"GARBAGE\r\n\r\n"):
            client = Connection(self.site)
            client.send(HEALTH * (REQUESTS - 1) + last + HEALTH * MANY)
            self.assertEqual(self.answers(client), REQUESTS)
            self.assertFalse(client.channel.awaits_turn)
            self.assertEqual(client.send(HEALTH), b"")


class PauseTests(TurnTestCase):
    """Reading stops for two reasons, and goes on when neither is left."""

    def leave_over(self) -> Any:
        self.connection.send(HEALTH * (3 * REQUESTS))
        return self.connection.channel

    def test_a_turn_does_not_end_the_wait_for_the_client(self) -> None:
        """Nothing is answered while nobody takes it, though there are turns."""
        channel = self.leave_over()
        channel.pauseProducing()
        for _ in range(3):
            self.assertEqual([self.turn(), self.is_read()], [0, False])
        channel.resumeProducing()
        self.assertEqual(self.answers(), REQUESTS)
        self.assertEqual(self.turns(), [REQUESTS, REQUESTS, 0])

    def test_the_client_does_not_end_the_wait_for_a_turn(self) -> None:
        """It takes answers again before its turn has come."""
        channel = self.leave_over()
        channel.pauseProducing()
        channel.resumeProducing()
        self.assertEqual([self.answers(), self.is_read()], [REQUESTS, False])
        self.assertEqual(self.turns(), [REQUESTS, REQUESTS, 0])

    def test_who_takes_nothing_takes_no_turn_from_others(self) -> None:
        """Its share is theirs."""
        self.leave_over().pauseProducing()
        self.site.turns.take()
        self.assertEqual(self.site.turns.share, REQUESTS)

    def test_a_pause_in_the_last_turn_is_no_end(self) -> None:
        """Of all moments this is the one when nothing is left over, and nothing is read yet."""
        channel = self.leave_over()
        self.turn()
        self.turn()
        channel.pauseProducing()
        self.assertEqual([self.turn(), self.is_read()], [0, False])
        channel.resumeProducing()
        self.assertTrue(self.is_read())
        self.connection.send(HEALTH * (2 * REQUESTS))
        self.assertEqual(self.turns(), [REQUESTS, 0])


class WaitTests(TurnTestCase):
    """Requests behind one that is answered later."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = Gate()
        self.site = Site(make_root(make_issuer(self.clock, self.gate)), self.clock)
        self.connection = Connection(self.site)

    def test_they_are_answered_in_turns_after_it(self) -> None:
        """However many there are, none is before its turn."""
        request = KINDS["token"]
        self.connection.send(request + HEALTH * (REQUESTS + 1))
        self.assertEqual(self.answers(), 0)
        self.gate.waiter.callback(key_pair())
        self.assertEqual(self.answers(), 1)
        self.assertEqual(self.turns(), [REQUESTS, 1, 0])
        self.assertTrue(self.is_repeated(HEALTH) or self.is_read())

    def test_they_stay_in_order_where_the_turn_ends_with_it(self) -> None:
        """What came in one piece with the end of its body, and what waits behind that."""
        paths = [f"/{number}" for number in range(100)]
        waited = get("/auth", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n"
        self.connection.send(
            HEALTH * (REQUESTS - 1) + waited + b"".join(get(path) for path in paths)
        )
        self.turn()
        self.turn()
        self.assertEqual(self.answers(), REQUESTS - 1)
        self.gate.waiter.callback(key_pair())
        self.turns()
        found = [path for path in paths if f"at {path};".encode() in self.connection.received]
        self.assertEqual((found, self.answers()), (paths, REQUESTS + 100))
        places = [self.connection.received.index(f"at {path};".encode()) for path in paths]
        self.assertEqual(places, sorted(places))

    def test_a_polite_client_is_read_at_once(self) -> None:
        """It waits for no turn after its token."""
        self.connection.send(KINDS["token"])
        self.gate.waiter.callback(key_pair())
        self.assertFalse(self.connection.channel.awaits_turn)
        self.assertIn(b" 200 OK", self.connection.send(HEALTH))


class EndTests(TurnTestCase):
    """Requests that wait for their turn when the connection ends."""

    def setUp(self) -> None:
        super().setUp()
        self.connection.send(HEALTH * (REQUESTS + 2))

    def test_a_server_that_stops_answers_one_more_and_says_so(self) -> None:
        """Then it closes: the client asks again elsewhere for what is not answered."""
        drained = self.site.drain()
        self.assertFalse(self.connection.closing)
        self.assertEqual(self.turn(), 1)
        self.assertIn(b"Connection: close\r\n", self.connection.received)
        self.assertTrue(self.connection.closing)
        self.connection.lose()
        self.successResultOf(drained)
        self.assertEqual(self.turn(), 0)

    def test_a_server_that_stops_waits_for_nothing_that_is_answered(self) -> None:
        """Between the last answer and the next read."""
        self.turn()
        self.site.drain()
        self.assertTrue(self.connection.closing)
        self.connection.lose()

    def test_a_client_that_sends_no_more_gets_all_answers(self) -> None:
        """Then the connection is closed."""
        self.connection.channel.readConnectionLost()
        self.assertFalse(self.connection.closing)
        self.assertEqual(self.turns(), [2, 0])
        self.assertTrue(self.connection.closing)

    def test_nothing_is_answered_to_a_client_that_has_left(self) -> None:
        """Its turn does not come."""
        self.connection.lose()
        self.assertEqual(self.turn(), 0)
        self.assert_nothing_is_due()

    def test_time_that_the_server_takes_is_not_the_clients(self) -> None:
        """However long a turn was, no time-out closes a connection that waits for its next."""
        self.clock.rightNow += 3_600
        self.connection.channel.timeoutConnection()
        self.assertFalse(self.connection.closing)
        self.assertEqual(self.turns(), [2, 0])
        self.clock.advance(60)
        self.assertTrue(self.connection.closing)
        self.connection.lose()
