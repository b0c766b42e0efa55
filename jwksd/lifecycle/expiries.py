"""Expiries: which keys expire when. However many keys share a second, they cost as much as one."""

from heapq import heapify, heappop, heappush


class Expiries:
    """Kids by the second in which they expire."""

    def __init__(self) -> None:
        self._kids: dict[int, list[str]] = {}
        self._seconds: list[int] = []
        """A heap; it may have seconds of which no kid is left."""

    def is_due(self, now: float) -> bool:
        """Return whether there may be keys whose second has come."""
        return bool(self._seconds) and self._seconds[0] <= now

    @property
    def first(self) -> int | None:
        """The first second in which a key expires, or None."""
        while self._seconds and self._seconds[0] not in self._kids:
            heappop(self._seconds)
        return self._seconds[0] if self._seconds else None

    def add(self, second: int, kid: str) -> None:
        """Note that a key expires in this second."""
        kids = self._kids.get(second)
        if kids is None:
            self._kids[second] = [kid]
            heappush(self._seconds, second)
        else:
            kids.append(kid)

    def remove(self, second: int, kid: str) -> None:
        """Forget a key that expires in this second."""
        kids = self._kids[second]
        kids.remove(kid)
        if not kids:
            del self._kids[second]
            if len(self._seconds) > 2 * len(self._kids) + 8:
                self._seconds = list(self._kids)
                heapify(self._seconds)

    def pop(self, now: float) -> list[str]:
        """Forget the keys whose second has come, and return their kids."""
        due: list[str] = []
        while self._seconds and self._seconds[0] <= now:
            due += self._kids.pop(heappop(self._seconds), ())
        return due
