"""Large bodies are sent in slices of the one document that all connections share.

A connection holds no copy of a large body, but for a slice on its way to the transport. It looks
like one whose client takes no answers, until the last slice is sent.
"""

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

SLICE = 32_768
"""Octets of a body that are handed to the transport at once. What is shorter is no large body."""


class SlicingChannel(http.HTTPChannel):
    """A connection of twisted.web that sends large bodies in slices."""

    site: Any
    transport: Any

    _body_rest: memoryview | None = None
    """What the transport has not taken yet of a large body, whose octets are shared."""

    _closes = False
    """Whether the connection is lost, or will be once the large body is sent."""

    def write(self, data: bytes) -> None:
        self._write_from(data, 0)

    def _write_from(self, data: bytes, start: int) -> None:
        """Send a body, or the rest of one from an octet on; return before it is sent."""
        if self._body_rest is not None:
            self._body_rest = memoryview(b"".join((self._body_rest, data[start:])))
        elif len(data) - start > SLICE:
            self._body_rest = memoryview(data)[start:]
            self._send_slices()
        else:
            self.transport.write(data[start:])

    def _send_slices(self) -> None:
        """Send the large body until the transport takes no more."""
        while self._body_rest is not None and not self._waitingForTransport:
            sent = self._send_slice(self._body_rest)
            self._body_rest = self._body_rest[sent:] if sent < len(self._body_rest) else None

    def _send_slice(self, body: memoryview) -> int:
        """Send a part of a body; return how many octets of it need no more sending."""
        self.transport.write(bytes(body[:SLICE]))
        if len(body) > SLICE and isinstance(self.transport, FileDescriptor):
            self._await_room()  # it would copy more than one slice before it asked us to stop
        return SLICE

    def _await_room(self) -> None:
        """Send no more until the transport has sent all that it was given."""
        self.transport.producerPaused = True
        self.transport.startWriting()
        self.pauseProducing()

    def loseConnection(self) -> None:
        """Close the connection, once all of the answers is sent."""
        if not self._closes:
            self.setTimeout(self.site.timeOut)  # else who takes nothing would stay for ever
        if self._body_rest is None:
            self._networkProducer.resumeProducing()  # TLS reads the end of the other side
            super().loseConnection()
        else:
            self._closes = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._body_rest, self._closes = None, True
        super().connectionLost(reason)
