"""An endpoint that several processes can listen on: the kernel shares connections among them.

Each binds a socket of its own to the same address with SO_REUSEPORT; a process that ends takes its
share with it, and nobody needs to hand sockets on.
"""

import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorSocket,
    IStreamServerEndpoint,
)
from zope.interface import implementer


@implementer(IStreamServerEndpoint)
class ReusePortEndpoint:
    """A TCP port of an IPv4 or IPv6 address, shared with other processes that bind it this way."""

    def __init__(self, reactor: IReactorSocket, port: int, interface: str, backlog: int) -> None:
        self._reactor = reactor
        self._port = port
        self._interface = interface
        self._backlog = backlog

    def listen(self, protocolFactory: Any) -> "Deferred[IListeningPort]":  # noqa: N803  # its API
        family = socket.AF_INET6 if ":" in self._interface else socket.AF_INET
        try:
            bound = self._bind(family)
        except OSError as error:
            return fail(CannotListenError(self._interface, self._port, error))
        with bound:  # the reactor has a duplicate of it
            port: Any = self._reactor.adoptStreamPort(bound.fileno(), family, protocolFactory)
        return succeed(port)

    def _bind(self, family: socket.AddressFamily) -> socket.socket:
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.setblocking(False)
            bound.bind((self._interface, self._port))
            bound.listen(self._backlog)
        except OSError:
            bound.close()
            raise
        return bound
