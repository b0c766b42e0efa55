"""Flow control: no connection is read faster than its requests may be answered.

The laws of the flow:
1. A connection has at most its share of requests answered in a turn of the reactor. The rest waits
   for the next turns, unparsed, and meanwhile nothing more of the connection is read.
2. While a client takes no answers, no more requests of it are read.
3. Reading stops for either reason, and goes on when neither is left.
"""

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from jwksd.web.http.slices import SlicingChannel

_FIELDS = 32
"""Header fields that take about as long as a request without."""

_CHUNKED = 256
"""Octets of a chunked body that may take about as long as a request: some forty tiny chunks."""


class FlowControl(SlicingChannel):
    """A connection whose requests and answers flow no faster than they should."""

    awaits_turn = False
    """Whether requests are left over, or were a moment ago, so that nothing more is read."""

    _left = 0
    """Requests that may still be answered in this turn."""

    _was_last_turn = False
    """Whether all that was left over is parsed, so that reading goes on in the next turn."""

    _has_ended = False
    """Whether the client sends no more, so that the connection ends after what is left over."""

    # Requests in turns.

    def dataReceived(self, data: bytes) -> None:
        # twisted.web calls this too, with what it has put aside.
        if self._is_ending():
            return
        if self._busyReceiving or self.paused:
            super().dataReceived(data)
            return
        self._left = self.site.turns.share
        self._take(data)
        self._end_turn()

    def _take(self, data: bytes) -> None:
        """Parse octets, and answer the requests among them until the turn is over."""
        super().dataReceived(data)

    def _spend(self) -> None:
        """Count a request, or what takes as long; at the end of the share the parser stops."""
        self._left -= 1
        if self._left <= 0:
            self.paused = True

    def _end_turn(self) -> None:
        """Wait for the next turn if there is more to parse."""
        if self._left > 0:
            return
        if (self._buffer or self.awaits_turn) and not self._is_ending():
            self._await_turn()
        elif not self._waitingForTransport:
            self.paused = False

    def _is_ending(self) -> bool:
        return self._closes or bool(self.transport.disconnecting)

    def _await_turn(self) -> None:
        self._stop_reading()
        if not self._waitingForTransport:  # else there are turns once the client takes answers
            self.site.turns.wait(self)

    def take_turn(self) -> None:
        """Go on with what is left over.

        After the last of it, reading goes on a turn later: never is a connection served twice in
        one turn, for what was left over and for what has just come.
        """
        was_last, self._was_last_turn = self._was_last_turn, False
        if self._waitingForTransport:
            return
        if was_last:
            self._read_on()
        else:
            self._go_on()

    def _go_on(self) -> None:
        data, self._buffer = self._buffer, b""
        self._left = self.site.turns.share
        self._unpause()
        self._take(data)
        self._end_turn()
        if not self.paused and not self._is_ending():
            self._was_last_turn = True
            self._await_turn()

    def _read_on(self) -> None:
        self._unpause()
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")  # TLS hands on all that was in a record, whether we read or not
        if self._has_ended and not self.awaits_turn:
            self.loseConnection()

    def _stop_reading(self) -> None:
        self.paused = True
        self._networkProducer.pauseProducing()

    def _unpause(self) -> None:
        self.paused = False

    def headerReceived(self, line: bytes) -> bool:
        if self._receivedHeaderCount % _FIELDS == _FIELDS - 1:
            self._spend()
        taken: bool = super().headerReceived(line)
        return taken

    def rawDataReceived(self, data: bytes) -> None:
        """Take a chunked body in parts, because each of its chunks costs time."""
        if self._is_ending():  # nobody will answer what follows
            return
        if self._handlingRequest or self.length is not None:
            super().rawDataReceived(data)
            return
        self._spend()
        super().rawDataReceived(data[:_CHUNKED])
        if not self._is_ending():
            self._buffer += data[_CHUNKED:]

    def requestDone(self, request: Any) -> None:
        """Go on with the next request: in turn, if this one was not answered at once."""
        if self._busyReceiving:
            self._spend()
            super().requestDone(request)
            return
        self.paused = True
        unparsed, self._buffer = self._buffer, b""
        super().requestDone(request)  # adds what came before those octets
        self._buffer += unparsed
        self._left = 0
        self._end_turn()

    # Answers as fast as they are taken.

    def pauseProducing(self) -> None:
        """Read no more requests while the client takes no answers.

        twisted.web goes on with requests that it has read already, and does not stop reading
        while it handles one; then answers that nobody takes would fill the memory.
        """
        super().pauseProducing()
        self._stop_reading()

    def resumeProducing(self) -> None:
        """Send more of the large body; after that, go on with requests."""
        self._waitingForTransport = False
        self._send_slices()
        if self._waitingForTransport:
            self.resetTimeout()  # it takes the large body, however slowly
        elif self._closes:
            self.loseConnection()
        else:
            super().resumeProducing()
            self._resume_requests()

    def _resume_requests(self) -> None:
        if self._buffer or self.awaits_turn:
            self._await_turn()
            return
        self._unpause()
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")

    # The end.

    def readConnectionLost(self) -> None:
        """Close the connection once all that is written is sent: the client sends no more."""
        self._has_ended = True
        if not self.awaits_turn:
            self.loseConnection()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.awaits_turn = False
        super().connectionLost(reason)
