"""The turns of the connections that have sent more requests than may be answered at once."""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

REQUESTS = 32
"""Requests that one connection may have answered in a turn of the reactor, and all together that
wait for their turn. A turn is then short beside the time that a client waits for an answer."""

_log = Logger()


class Waiting(Protocol):
    """A connection that may wait for its turn."""

    awaits_turn: bool

    def take_turn(self) -> None:
        """Go on with the requests that are left, as far as ``Turns.share`` allows."""

    def abort(self) -> None:
        """End the connection at once."""


class Turns:
    """Gives each waiting connection its share of every turn of the reactor, in order.

    The share is of what all together may have answered, and at least one request: alone, a
    connection is as fast as it can be; one of many is one of many.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: dict[Waiting, None] = {}
        self._in_turn = 0
        self._call: IDelayedCall | None = None
        self.share = REQUESTS
        """Requests that a connection may have answered now."""

    def wait(self, connection: Waiting) -> None:
        """Give a connection its share of the next turn."""
        connection.awaits_turn = True
        self._waiting[connection] = None
        self._divide()
        if self._call is None:
            self._call = self._reactor.callLater(0, self.take)

    def forget(self, connection: Waiting) -> None:
        """Give a connection no more turns."""
        connection.awaits_turn = False
        self._waiting.pop(connection, None)

    def take(self) -> None:
        """Let each connection that waits go on; those with requests left wait again."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        waiting, self._waiting = list(self._waiting), {}
        self._in_turn = len(waiting)
        self._divide()
        for connection in waiting:
            if connection.awaits_turn:
                connection.awaits_turn = False
                self._let(connection)
        self._in_turn = len(self._waiting)
        self._divide()

    def _divide(self) -> None:
        self.share = max(1, REQUESTS // max(1, self._in_turn, len(self._waiting)))

    def _let(self, connection: Waiting) -> None:
        try:
            connection.take_turn()
        except Exception:
            _log.failure("a connection failed in its turn, and is closed")
            connection.abort()
