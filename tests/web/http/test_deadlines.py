"""Deadlines: a request that has begun is here in time, or it is answered with 408 and cut off."""

from jwksd.web.http.deadlines import BODY_GRACE, BODY_RATE, HEAD_SECONDS
from jwksd.web.http.turns import REQUESTS, Turns
from tests.support.http import Connection
from tests.support.keys import KeysInOrder
from tests.web.http.test_site import GET, SiteTestCase

JSON = b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class HeadTests(SiteTestCase):
    def test_octets_that_come_one_by_one_gain_no_time(self) -> None:
        """A head that trickles is cut off as long after its first octet as one that stops."""
        connection = Connection(self.site)
        for second in range(HEAD_SECONDS):
            self.assertFalse(connection.closing, second)
            connection.send(b"GET / HTTP/1.1\r\nA"[second : second + 1])
            self.clock.advance(1)
        self.assert_problem(connection, 408)
        connection.lose()

    def test_lines_that_come_one_by_one_gain_no_time(self) -> None:
        """Nor do whole header fields."""
        connection = Connection(self.site)
        connection.send(b"GET / HTTP/1.1\r\n")
        for _ in range(HEAD_SECONDS - 1):
            self.clock.advance(1)
            connection.send(b"A: b\r\n")
        self.assertFalse(connection.closing)
        self.clock.advance(1)
        self.assertIn("head", self.assert_problem(connection, 408)["detail"])
        connection.lose()

    def test_a_head_in_time_is_answered_and_the_connection_lives_on(self) -> None:
        """After a slow request the connection may be idle as long as after a quick one."""
        connection = Connection(self.site)
        for octet in GET[:-1]:
            connection.send(bytes([octet]))
        self.clock.advance(HEAD_SECONDS - 1)
        connection.send(GET[-1:])
        self.assertIn(b" 200 OK", connection.received)
        self.clock.advance(59)
        self.assertFalse(connection.closing)
        self.clock.advance(1)
        self.assertTrue(connection.closing)
        connection.lose()

    def test_answers_of_the_fast_path_lend_a_slow_head_no_time(self) -> None:
        """A head that follows a repeated answer has its own time."""
        connection = Connection(self.site)
        for _ in range(3):
            connection.send(GET)
        connection.send(GET[:20])
        self.clock.advance(HEAD_SECONDS)
        self.assertIn(b" 408 ", connection.received)
        connection.lose()

    def test_each_request_has_its_own_time(self) -> None:
        """A second head begins with its own first octet, also behind a whole request."""
        connection = Connection(self.site)
        self.clock.advance(30)
        connection.send(GET + GET[:20])
        self.clock.advance(HEAD_SECONDS - 1)
        connection.send(GET[20:] + GET[:20])
        self.clock.advance(HEAD_SECONDS - 1)
        self.assertFalse(connection.closing)
        self.clock.advance(1)
        self.assertTrue(connection.closing)
        connection.lose()

    def test_a_head_that_was_refused_is_not_late_as_well(self) -> None:
        """A client that does not leave at once gets one answer, and is cut off."""
        connection = Connection(self.site)
        connection.send(GET[:20])
        connection.send(b"\r\n folded\r\n")
        self.clock.pump([HEAD_SECONDS, 60, 15])
        self.assertEqual(connection.received.count(b"HTTP/1.1 4"), 1)
        self.assert_problem(connection, 400)
        self.assertTrue(connection.lost)


class ManyTests(SiteTestCase):
    def test_a_bounded_number_is_ended_in_a_turn(self) -> None:
        """However many are late at the same moment, others are served between them."""
        late = [Connection(self.site) for _ in range(3 * REQUESTS)]
        for connection in late:
            connection.send(GET[:20])
        ended: list[int] = []

        def take() -> None:
            ended.append(sum(connection.closing for connection in late))
            Turns.take(self.site.turns)

        self.patch(self.site.turns, "take", take)
        self.clock.advance(HEAD_SECONDS)
        self.assertEqual(ended, [0, REQUESTS, 2 * REQUESTS])
        for connection in late:
            self.assert_problem(connection, 408)
            connection.lose()

    def test_one_that_leaves_before_its_turn_is_forgotten(self) -> None:
        """Nothing is left of it in the reactor."""
        connection = Connection(self.site)
        connection.send(GET[:20])

        def take() -> None:
            connection.lose()
            Turns.take(self.site.turns)

        self.patch(self.site.turns, "take", take)
        self.clock.advance(HEAD_SECONDS)
        self.assertTrue(connection.lost)
        self.assertEqual(connection.received, b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_keeps_its_end_open_is_cut_off(self) -> None:
        """A quarter of a minute after it was told."""
        connection = Connection(self.site)
        connection.send(GET[:20])
        self.clock.advance(HEAD_SECONDS)
        self.clock.advance(0)
        self.assertFalse(connection.lost)
        self.clock.advance(15)
        self.assertTrue(connection.lost)


class BodyTests(SiteTestCase):
    def begin(self, framing: bytes) -> Connection:
        connection = Connection(self.site)
        connection.send(JSON + framing + b"\r\n\r\n")
        return connection

    def test_a_body_that_trickles_is_cut_off(self) -> None:
        """An octet a second is too slow, with a length and in chunks."""
        for framing, octet in (
            (b"Content-Length: 900", b" "),
            (b"Transfer-Encoding: chunked", b"1\r\n \r\n"),
        ):
            with self.subTest(framing=framing):
                connection = self.begin(framing)
                for _ in range(BODY_GRACE - 1):
                    self.clock.advance(1)
                    connection.send(octet)
                self.assertFalse(connection.closing)
                self.clock.advance(2)
                self.assertIn("body", self.assert_problem(connection, 408)["detail"])
                connection.lose()

    def test_a_body_that_keeps_the_rate_is_read_however_long_it_takes(self) -> None:
        """At the least rate the time grows as the body does; then it is answered."""
        connection = self.begin(b"Content-Length: %d" % (60 * BODY_RATE))
        for _ in range(60):
            self.clock.advance(1)
            connection.send(b" " * BODY_RATE)
            self.assertNotIn(b" 408 ", connection.received)
        self.assertIn(b" 400 ", connection.received)
        connection.lose()

    def test_a_body_that_falls_behind_the_rate_is_cut_off(self) -> None:
        """What came earlier buys time, and no more than its octets are worth."""
        connection = self.begin(b"Content-Length: 60000")
        connection.send(b" " * 5 * BODY_RATE)
        self.clock.advance(BODY_GRACE)
        self.clock.advance(4.9)
        self.assertFalse(connection.closing)
        self.clock.advance(0.2)
        self.assert_problem(connection, 408)
        connection.lose()

    def test_while_we_make_the_answer_nothing_runs(self) -> None:
        """A client that waits for its key is not cut off, though it has sent a next request."""
        self.site = self.make_site(self.gate)
        connection = Connection(self.site)
        connection.send(JSON + b"Content-Length: 2\r\n\r\n{}" + GET[:10])
        self.clock.advance(50)
        self.assertFalse(connection.closing)
        self.gate.waiter.callback(KeysInOrder().take_now("RS256"))
        self.assertIn(b" 200 OK", connection.received)
        self.clock.advance(0)  # the next turn, in which that request is looked at
        self.clock.advance(HEAD_SECONDS)
        self.assertIn(b" 408 ", connection.received)
        connection.lose()
