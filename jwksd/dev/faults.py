"""The queue of faults that a developer asked for: what verifiers meet when their issuer is unwell.

The first fault in the queue meets every GET of ``jwks.json`` until it has been answered ``count``
times, or until its time is over; then the next one does. How each kind answers is not known here.
"""

from collections import deque
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from jwksd.jose.keysets import Document


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    ``count`` is how many answers it has; ``until`` is when it ends, in the reactor's seconds; None
    is without bound. The rest are parameters of single kinds.
    """

    kind: str
    count: int | None
    until: float | None
    status: int = 503
    retry_after: int | None = None
    delay: float = 0.0
    location: str = "/.well-known/jwks.json"
    kid: str | None = None
    stale: Document | None = None


@dataclass(slots=True)
class _Queued:
    """A fault, and how many answers it has left."""

    fault: Fault
    left: int | None

    def seconds_left(self, now: float) -> float | None:
        until = self.fault.until
        return None if until is None else round(until - now, 3)

    def ended(self, now: float) -> bool:
        until = self.fault.until
        return self.left == 0 or (until is not None and now >= until)


class Faults:
    """The queue of faults, in real time."""

    def __init__(self, reactor: IReactorTime) -> None:
        self.reactor = reactor
        self._queue: deque[_Queued] = deque()

    def add(self, fault: Fault) -> None:
        """Put a fault at the end of the queue."""
        self._queue.append(_Queued(fault, fault.count))

    def clear(self) -> int:
        """Empty the queue, and return how many faults were in it."""
        count = len(self._queue)
        self._queue.clear()
        return count

    @property
    def pending(self) -> bool:
        """Whether the next answer would meet a fault."""
        self._drop_ended()
        return bool(self._queue)

    def next(self) -> Fault | None:
        """Count one answer, and return the fault that it meets, or None when all is well."""
        self._drop_ended()
        if not self._queue:
            return None
        first = self._queue[0]
        if first.left is not None:
            first.left -= 1
        return first.fault

    def describe(self) -> list[dict[str, object]]:
        """Return what is queued: kind, answers left, seconds left."""
        self._drop_ended()
        now = self.reactor.seconds()
        return [
            {
                "fault": queued.fault.kind,
                "count": queued.left,
                "seconds": queued.seconds_left(now),
            }
            for queued in self._queue
        ]

    def _drop_ended(self) -> None:
        now = self.reactor.seconds()
        while self._queue and self._queue[0].ended(now):
            self._queue.popleft()
