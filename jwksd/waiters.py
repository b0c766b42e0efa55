"""Waiters: a queue of Deferreds that wait for the same thing, and may be cancelled.

The laws of the queue:
1. The one who has waited longest is served first.
2. One who cancels leaves the queue at once; nobody else loses a turn by that.
3. A call serves those who wait when it begins. Those who come during it wait for the next call.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Waiters(Generic[T]):
    """Those who wait for a ``T``, in the order in which they came."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Deferred[T], None] = {}  # ordered, and quick to leave

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> "Deferred[T]":
        """Join the queue; cancelling the Deferred leaves it."""
        waiter: Deferred[T] = Deferred(lambda left: self._waiting.pop(left, None))
        self._waiting[waiter] = None
        return waiter

    def serve_first(self, result: T) -> None:
        """Give ``result`` to the one who has waited longest; somebody must be waiting."""
        waiter = next(iter(self._waiting))
        del self._waiting[waiter]
        waiter.callback(result)

    def serve(self, result: T) -> None:
        """Give ``result`` to all who wait."""
        for waiter in self._leaving():
            waiter.callback(result)

    def refuse(self, error: Exception) -> None:
        """Have all who wait fail with ``error``."""
        for waiter in self._leaving():
            waiter.errback(error)

    def _leaving(self) -> "Iterator[Deferred[T]]":
        waiting, self._waiting = self._waiting, {}
        # One who is served may cancel another of them.
        return (waiter for waiter in waiting if not waiter.called)
