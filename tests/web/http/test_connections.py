"""Connections: the bounds, and which connection gives way to a new one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from jwksd.web.http import connections
from jwksd.web.http.connections import MAX_CONNECTIONS, Connections, client_of
from tests.support.http import Connection
from tests.web.http.test_site import GET, POST, SiteTestCase

LOCAL = IPv4Address("TCP", "127.0.0.1", 1)


class Fake:
    """A connection whose state the test sets."""

    def __init__(self, idle_since: float | None) -> None:
        self.idle_since = idle_since
        self.closed = False

    def loseConnection(self) -> None:
        self.closed = True


class BoundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connections: Connections[Fake] = Connections()
        self.connections.bound = 3

    def add(self, idle_since: float | None, now: float, host: str | None = None) -> Fake:
        connection = Fake(idle_since)
        self.connections.add(connection, host, now)
        return connection

    def test_the_one_that_has_been_idle_longest_gives_way(self) -> None:
        """It is closed and counted no more; the others stay."""
        first, second, third = (self.add(now, now) for now in (1.0, 2.0, 3.0))
        first.idle_since = 4.0
        self.assertTrue(self.connections.have_room(None, 5.0))
        self.assertEqual([fake.closed for fake in (first, second, third)], [False, True, False])
        self.assertEqual(len(self.connections), 2)
        self.assertTrue(self.connections.have_room(None, 5.0))
        self.assertFalse(first.closed or third.closed)

    def test_who_has_been_used_since_gives_way_all_the_same(self) -> None:
        """Where every one has been used since it was looked at, the first new one is let in too.

        So has every one, if only since it was made, which takes a moment.
        """
        fakes = [self.add(since, 1.0) for since in (2.5, 1.5, 2.0)]
        self.assertTrue(self.connections.have_room(None, 3.0))
        self.assertEqual([fake.closed for fake in fakes], [False, True, False])

    def test_one_that_is_busy_never_gives_way(self) -> None:
        """Where all are busy the new one is refused; once one is idle it gives way."""
        fakes = [self.add(None, 1.0) for _ in range(3)]
        self.assertFalse(self.connections.have_room(None, 2.0))
        self.assertFalse(any(fake.closed for fake in fakes))
        fakes[1].idle_since = 2.0
        self.assertTrue(self.connections.have_room(None, 3.0))
        self.assertEqual([fake.closed for fake in fakes], [False, True, False])

    def test_a_bounded_number_is_looked_at(self) -> None:
        """However many there are, and where all are busy, each in its turn."""
        looked_at: list[int] = []

        class Busy:
            def __init__(self, number: int) -> None:
                self.number = number

            @property
            def idle_since(self) -> None:
                looked_at.append(self.number)

            def loseConnection(self) -> None:
                raise AssertionError("it is busy")

        connections: Connections[Busy] = Connections()
        connections.bound = 1000
        for number in range(1000):
            connections.add(Busy(number), None, 1.0)
        for _ in range(16):
            self.assertFalse(connections.have_room(None, 2.0))
        self.assertEqual(looked_at, [number % 1000 for number in range(16 * 64)])

    def test_what_a_refusal_costs_is_bounded(self) -> None:
        """At most 64 connections are looked at; one that is idle behind them is found later."""
        for busy, found in ((63, [True]), (64, [False, True]), (128, [False, False, True])):
            self.connections = Connections()
            self.connections.bound = busy + 1
            for _ in range(busy):
                self.add(None, 1.0)
            idle = self.add(1.0, 1.0)
            with self.subTest(busy=busy):
                rooms = [self.connections.have_room(None, 2.0) for _ in found]
                self.assertEqual((rooms, idle.closed), (found, True))

    def test_a_removed_connection_leaves_its_place(self) -> None:
        """And removing it twice changes nothing."""
        fakes = [self.add(None, 1.0, "10.0.0.1") for _ in range(3)]
        for _ in range(2):
            self.connections.remove(fakes[0])
            self.assertEqual(len(self.connections), 2)
        self.assertTrue(self.connections.have_room("10.0.0.1", 2.0))

    def test_one_client_never_has_every_place(self) -> None:
        """At its bound a client's own idle connection gives way, or its new one is refused."""
        self.patch(connections, "PER_CLIENT", 2)
        self.connections.bound = 100
        idle, busy = self.add(1.0, 1.0, "10.0.0.1"), self.add(None, 1.0, "10.0.0.1")
        other = self.add(0.0, 0.0, "10.0.0.2")
        self.assertTrue(self.connections.have_room("10.0.0.1", 2.0))
        self.assertEqual([idle.closed, busy.closed, other.closed], [True, False, False])
        self.add(None, 3.0, "10.0.0.1")
        self.assertFalse(self.connections.have_room("10.0.0.1", 4.0))
        self.assertTrue(self.connections.have_room("10.0.0.2", 4.0))
        for local in ("127.0.0.1", "::1", None):
            for _ in range(5):
                self.add(None, 5.0, local)
            self.assertTrue(self.connections.have_room(local, 6.0))

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
    def test_the_bound_holds_and_no_busy_one_is_closed(self, steps: list[tuple[bool, int]]) -> None:
        """Whatever comes and goes, there are never more than allowed."""
        self.connections = Connections()
        self.connections.bound = 4
        open_: list[Fake] = []
        for now, (comes, which) in enumerate(steps):
            if comes and self.connections.have_room("10.0.0.1", now):
                open_.append(self.add(None if which % 2 else float(now), now, "10.0.0.1"))
            elif not comes and open_:
                self.connections.remove(open_.pop(which % len(open_)))
            self.assertFalse(any(fake.closed and fake.idle_since is None for fake in open_))
            open_ = [fake for fake in open_ if not fake.closed]
            self.assertEqual(len(self.connections), len(open_))
            self.assertLessEqual(len(open_), 4)

    def test_a_client_is_an_address_or_a_network_of_64_bits(self) -> None:
        """IPv4 within IPv6 is IPv4; this machine, Unix sockets and what is no address are none."""
        self.assertEqual(client_of("10.0.0.1"), client_of("::ffff:10.0.0.1"))
        self.assertNotEqual(client_of("10.0.0.1"), client_of("10.0.0.2"))
        self.assertEqual(client_of("2001:db8::1"), client_of("2001:db8::ffff%eth0"))
        self.assertNotEqual(client_of("2001:db8::1"), client_of("2001:db8:0:1::1"))
        for host in (None, "", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "a.example"):
            with self.subTest(host=host):
                self.assertIsNone(client_of(host))


class SiteTests(SiteTestCase):
    def connect(self, address: Any = LOCAL) -> Connection:
        connection = Connection(self.site, address)
        self.addCleanup(connection.lose)
        return connection

    def test_past_the_bound_a_client_gets_503(self) -> None:
        """Before it has asked, with Retry-After, and a place that becomes free is given again."""
        self.site.connections.bound = 2
        busy = [self.connect() for _ in range(2)]
        for connection in busy:
            connection.send(GET[:20])
        refused = self.connect()
        self.assertIn(b" 503 Service Unavailable\r\n", refused.received)
        self.assertIn(b"\r\nRetry-After: 1\r\n", refused.received)
        slug = self.assert_problem(refused, 503)["type"]
        self.assertEqual(slug, "urn:jwksd:problem:too-many-connections")
        busy[0].lose()
        self.assertEqual(self.connect().send(GET)[:15], b"HTTP/1.1 200 OK")

    def test_a_client_that_was_refused_and_stays_is_cut_off(self) -> None:
        """Such connections are in no count, so that nothing else would end them."""
        self.site.connections.bound = 0
        refused, leaving = self.connect(), self.connect()
        leaving.lose()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(10)
        self.assertTrue(refused.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_connection_that_was_used_last_stays(self) -> None:
        """By the ordinary path and by the fast path alike."""
        self.site.connections.bound = 3
        for used in range(3):
            with self.subTest(used=used):
                connections = [self.connect() for _ in range(3)]
                for connection in connections:
                    connection.send(GET)
                for request in (GET, POST):
                    self.clock.advance(1)
                    connections[used].send(request)
                for _ in range(2):
                    self.connect().send(GET[:9])
                self.assertEqual(
                    [connection.closing for connection in connections],
                    [number != used for number in range(3)],
                )
                for connection in connections:
                    connection.lose()
                self.site.connections = Connections()
                self.site.connections.bound = 3

    def test_one_that_waits_for_its_answer_stays(self) -> None:
        """A request in flight is not idle, and neither is one that is half here."""
        self.site = self.make_site(self.gate)
        self.site.connections.bound = 2
        waiting, half = self.connect(), self.connect()
        waiting.send(POST)
        half.send(GET[:9])
        self.assertIn(b" 503 ", self.connect().received)
        self.assertFalse(waiting.closing or half.closing)

    def test_addresses_of_every_kind_are_counted(self) -> None:
        """IPv6, Unix sockets, and transports that tell no address."""
        for address in (IPv6Address("TCP", "2001:db8::1", 1), UNIXAddress("/x"), None):
            with self.subTest(address=address):
                connection = self.connect(address)
                self.assertEqual(len(self.site.connections), 1)
                connection.lose()
                self.assertEqual(len(self.site.connections), 0)

    def test_a_refusal_tells_which_bound_it_was(self) -> None:
        """That of all connections, or that of one client; both are told with their numbers."""
        self.patch(connections, "PER_CLIENT", 2)
        warned: list[Any] = []
        self.patch(
            self.site, "_log", type("Log", (), {"warn": lambda _, *a, **k: warned.append(k)})()
        )
        client = IPv4Address("TCP", "192.0.2.1", 1)
        for address in (client, client, LOCAL, client):
            self.connect(address).send(GET[:9])
        told = {name: warned[0][name] for name in ("count", "bound", "own", "host")}
        right = {"count": 3, "bound": MAX_CONNECTIONS, "own": 2, "host": "192.0.2.1"}
        self.assertEqual(told, right)

    def test_refusals_are_told_once_a_minute(self) -> None:
        """With their number, so that a flood of them does not fill the log."""
        warned: list[Any] = []
        self.patch(
            self.site, "_log", type("Log", (), {"warn": lambda _, *a, **k: warned.append(k)})()
        )
        self.site.connections.bound = 1
        self.connect().send(GET[:9])
        for _ in range(5):
            self.connect()
        self.clock.advance(9)
        self.connect()
        self.assertEqual([line["refused"] for line in warned], [1])
        self.site.connections.bound = 0
        self.clock.advance(60)
        self.connect()
        self.assertEqual([line["refused"] for line in warned], [1, 6])
