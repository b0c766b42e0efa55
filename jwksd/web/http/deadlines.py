"""Deadlines: a request that has begun must be here in time.

The laws of the deadlines:
1. The head of a request is complete ``HEAD_SECONDS`` after its first octet. Octets that come one by
   one gain no time.
2. A body gets ``BODY_GRACE`` seconds, and one more for every ``BODY_RATE`` octets of it that came.
3. Between requests a connection may be idle for the site's ``timeOut``. While we answer, or owe it
   a turn, nothing runs.
4. A connection has one timer.
5. However many are late at the same moment, a bounded number of them is ended in each turn.
6. A connection that is to end has ``timeOut`` seconds for the rest of its answers, each slice of a
   large body as many, and ``abortTimeout`` more; then it is cut off.
"""

from typing import Any

from jwksd.web.http.flow import FlowControl

HEAD_SECONDS = 10
BODY_GRACE = 10
BODY_RATE = 1024
"""Octets a second, on average."""

IDLE, HEAD, BODY = "idle", "head", "body"


class Deadlines(FlowControl):
    """A connection of twisted.web that gives each part of a request its time."""

    _part = IDLE
    """What the timer is for."""

    _part_began = 0.0
    """When the first octet of this part was received, in the reactor's seconds."""

    _answered_at = 0.0
    """When the last request was done, or the connection made, in the reactor's seconds."""

    _is_late = False
    """Whether it is ended in its next turn."""

    @property
    def idle_since(self) -> float | None:
        """When the connection became idle, in the reactor's seconds; None if it is not idle."""
        busy = self.requests or self._buffer or self.paused or self._body_rest is not None
        return None if busy else self._answered_at

    def connectionMade(self) -> None:
        super().connectionMade()
        self._answered_at = self.site.reactor.seconds()

    def _end_turn(self) -> None:
        super()._end_turn()
        self._watch_request()

    def resetTimeout(self) -> None:
        """Give an idle connection its time anew; a part of a request keeps its own."""
        if self._part is IDLE:
            super().resetTimeout()

    def requestDone(self, request: Any) -> None:
        self._answered_at = self.site.reactor.seconds()
        if self._part is not IDLE:
            self._part = IDLE
            self._savedTimeOut = self.site.timeOut  # which twisted.web sets now
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """End the connection in turn, unless we are slow, or enough of the body has come."""
        left = self.timeOut if self.awaits_turn else self._time_left()
        if left and left > 0:
            self.setTimeout(left)
            return
        self._is_late = True
        if not self._is_ending():
            self._stop_reading()
        self.site.turns.wait(self)

    def take_turn(self) -> None:
        if self._is_late:
            self._end()
        else:
            super().take_turn()

    def _end(self) -> None:
        """Close the connection, and cut it off if it stays; who has begun a request is told why."""
        if not self._is_ending():
            if self._part is not IDLE:
                self._refuse_late(self._part)
            self.loseConnection()
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)

    def _watch_request(self) -> None:
        """Set the timer where a new part of a request has begun and is not complete."""
        if self._handlingRequest or self.paused or not (self.requests or self._buffer):
            return
        part = HEAD if self.line_mode else BODY
        if part is not self._part and not self.transport.disconnecting:
            self._part, self._part_began = part, self.site.reactor.seconds()
            self.setTimeout(HEAD_SECONDS if part is HEAD else BODY_GRACE)

    def _time_left(self) -> float:
        """Return the seconds that a body may still take; 0 for all else, whose time is over."""
        if self._part is not BODY:
            return 0.0
        seconds = BODY_GRACE + float(self.requests[-1].received) / BODY_RATE
        return self._part_began + seconds - float(self.site.reactor.seconds())

    def _refuse_late(self, part: str) -> None:
        """Answer a request of which this part is not here in time."""
