"""The transport of a connection: Twisted's, that reads no more at once than requests have."""

from errno import EWOULDBLOCK
from typing import Any

from twisted.internet import main, tcp
from twisted.internet.interfaces import IListeningPort

from jwksd.web.http.twistednames import SMALL_READS, missing

READ = 8192
"""Octets. To allocate Twisted's 64 KiB and free them takes as long as to read a request."""


class SmallReads(tcp.Server):
    """A connection that reads ``READ`` octets at once.

    Twisted's ``bufferSize`` is not made smaller, for it also says when a client is slow to read.
    """

    def doRead(self) -> Any:
        try:
            data = self.socket.recv(READ)
        except OSError as error:
            return None if error.errno == EWOULDBLOCK else main.CONNECTION_LOST
        return self._dataReceived(data)


def read_little(port: IListeningPort) -> None:
    """Have the connections of a plain TCP port be ``SmallReads``."""
    if type(port) is tcp.Port and not missing(SMALL_READS):
        port.transport = SmallReads
