"""The turns of the connections that have sent more requests than may be answered at once."""

from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

REQUESTS = 32
"""Requests that one connection may have answered in a turn of the reactor, and all together that
wait for their turn. Who asks politely waits no longer than these take."""

_log = Logger()


class Waiting(Protocol):
    """A connection that may wait for its turn."""

    awaits_turn: bool
    """Set while it waits. It may be unset, and then there is no turn."""

    def take_turn(self) -> None:
        """Go on with the requests that are left, as far as ``Turns.share`` allows."""

    def abort(self) -> None:
        """End the connection at once."""


class Turns:
    """Gives the waiting connections their turns, in order.

    What they may have answered in one turn of the reactor is shared among them: alone, a
    connection is as fast as it can be; of many, each gets one request at a time, and those that
    have waited longest are first.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[Waiting] = deque()
        self._call: IDelayedCall | None = None
        self.share = REQUESTS
        """Requests that a connection may have answered now."""

    def wait(self, connection: Waiting) -> None:
        """Give a connection a turn, after those that wait already."""
        if not connection.awaits_turn:
            connection.awaits_turn = True
            self._waiting.append(connection)
            self.share = min(self.share, self._divided())
        if self._call is None:
            self._call = self._reactor.callLater(0, self.take)

    def take(self) -> None:
        """Let connections go on until all together had their share; the rest waits on."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        self.share = self._divided()
        for _ in range(min(len(self._waiting), REQUESTS // self.share)):
            connection = self._waiting.popleft()
            if connection.awaits_turn:
                connection.awaits_turn = False
                self._let(connection)
        self.share = self._divided()
        if self._waiting and self._call is None:
            self._call = self._reactor.callLater(0, self.take)

    def _divided(self) -> int:
        return max(1, REQUESTS // max(1, len(self._waiting)))

    def _let(self, connection: Waiting) -> None:
        try:
            connection.take_turn()
        except Exception:
            _log.failure("a connection failed in its turn, and is closed")
            connection.abort()
