"""Endpoints: what they are asked for, and that the kernel keeps enough connections for us."""

from typing import Any

from twisted.internet import reactor as running_reactor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.web.endpoints.addresses import BACKLOG, described, tcp

reactor: Any = running_reactor


class BacklogTests(SynchronousTestCase):
    def test_every_port_has_our_backlog(self) -> None:
        """Of --port and of descriptions that name none; one that names its own has that."""
        for endpoints, backlog in (
            (tcp(reactor, "127.0.0.1", 0, reuse_port=False), BACKLOG),
            (tcp(reactor, "::1", 0, reuse_port=False), BACKLOG),
            (described(reactor, ["tcp:0:interface=127.0.0.1"]), BACKLOG),
            (described(reactor, ["tcp6:0"]), BACKLOG),
            (described(reactor, ["tcp:0:backlog=7"]), 7),
        ):
            memory: Any = MemoryReactorClock()
            with self.subTest(name=endpoints[0][0]):
                endpoint: Any = endpoints[0][1]
                endpoint._reactor = memory
                endpoint.listen(object())
                self.assertEqual(memory.tcpServers[0][2], backlog)

    def test_a_unix_socket_has_it_too(self) -> None:
        """A proxy on this machine may come with many at once."""
        memory: Any = MemoryReactorClock()
        ((_, endpoint),) = described(memory, ["unix:/nowhere/socket"])
        endpoint.listen(object())  # type: ignore[arg-type]
        self.assertEqual(memory.unixServers[0][2], BACKLOG)
