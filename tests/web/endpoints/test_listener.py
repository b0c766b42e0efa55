"""Listener: what it binds, how its connections read, and when it refuses to start."""

from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.errors import StartUpRefused
from jwksd.web.endpoints.listener import Listener, base_url, is_loopback
from jwksd.web.http.transport import SmallReads


class Endpoint:
    """Gives the result that the test wants when it is asked to listen."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def listen(self, factory: Any) -> Any:
        return self.result


class Port:
    """A port in memory."""

    released = 0

    def __init__(self, host: str | None = "127.0.0.1", port: int | None = 8080) -> None:
        self.host, self.port = host, port

    def getHost(self) -> Any:
        return self

    def stopListening(self) -> None:
        self.released += 1


class ListenerTests(SynchronousTestCase):
    def listener(self, *results: Any, local_only: str = "") -> Listener:
        endpoints: Any = [(f"number {place}", Endpoint(each)) for place, each in enumerate(results)]
        site: Any = Factory()
        return Listener(endpoints, site, local_only=local_only)

    def refusal(self, listener: Listener) -> str:
        with self.assertRaises(StartUpRefused) as caught:
            listener.privilegedStartService()
        return str(caught.exception)

    def test_every_endpoint_is_bound_in_order(self) -> None:
        """Once, though the service is started after; and all are released."""
        ports = [Port(), Port("::1"), Port(None, None)]
        listener = self.listener(*map(succeed, ports))
        listener.privilegedStartService()
        listener.startService()
        self.assertEqual(listener.addresses, ports)
        self.successResultOf(listener.release())
        self.assertEqual([port.released for port in ports], [1, 1, 1])
        self.assertEqual(listener.addresses, [])

    def test_the_connections_of_every_plain_port_read_little(self) -> None:
        """Of the second as of the first."""
        reactor: Any = MemoryReactorClock()
        ports: Any = [tcp.Port(0, Factory(), reactor=reactor) for _ in range(2)]
        for port in ports:
            port.getHost = Port
        self.listener(*map(succeed, ports)).startService()
        self.assertEqual([port.transport for port in ports], [SmallReads, SmallReads])

    def test_what_cannot_be_had_ends_the_start(self) -> None:
        """The line names the endpoint and the reason."""
        taken = CannotListenError("", 80, OSError(98, "Address already in use"))
        for result, said in (
            (fail(taken), "cannot listen on number 1: Address already in use"),
            (fail(ValueError("no such thing")), "cannot listen on number 1: no such thing"),
            (Deferred(), "number 1 does not listen at once"),
        ):
            with self.subTest(said=said):
                self.assertIn(said, self.refusal(self.listener(succeed(Port()), result)))

    def test_what_others_can_reach_is_refused_where_it_may_not_be(self) -> None:
        """By the explanation that was given; without one any address is fine."""
        for host, local in (("127.0.0.1", True), ("::1", True), (None, True), ("192.0.2.1", False)):
            ports = succeed(Port()), succeed(Port(host))  # the last one decides
            listener = self.listener(*ports, local_only="because")
            with self.subTest(host=host):
                if local:
                    listener.startService()
                else:
                    self.assertIn("because", self.refusal(listener))
                    self.listener(succeed(Port(host))).startService()


class AddressTests(SynchronousTestCase):
    def test_which_addresses_only_this_machine_reaches(self) -> None:
        """The whole of 127/8, ::1 and localhost; no other name, whatever it means."""
        for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
            self.assertTrue(is_loopback(host), host)
        for host in ("0.0.0.0", "::", "192.0.2.1", "fe80::1%lo", "", "localhost.example"):
            self.assertFalse(is_loopback(host), host)

    def test_the_url_of_an_address(self) -> None:
        """IPv6 in brackets; none where there is no host or no port."""
        for port, url in (
            (Port("127.0.0.1", 80), "http://127.0.0.1:80"),
            (Port("::1", 8080), "http://[::1]:8080"),
            (Port(None), None),
            (Port("127.0.0.1", None), None),
        ):
            address: Any = port
            self.assertEqual(base_url(address), url)
