"""Cdn: the cache that many verifiers share, with all that its headers let it do."""

from twisted.internet.task import Clock

from tests.proofs.simulation.documents import Answer, Origin
from tests.proofs.simulation.ledger import Ledger


class Cdn:
    """A shared cache: fresh for max-age, then stale while it revalidates, or while it cannot.

    ``delay`` is how long it takes to revalidate, in seconds.
    """

    def __init__(self, clock: Clock, origin: Origin, delay: float, ledger: Ledger) -> None:
        self._clock = clock
        self._origin = origin
        self._delay = delay
        self._ledger = ledger
        self._held: Answer | None = None
        self._since = 0.0
        self._revalidating = False

    def fetch(self) -> Answer | None:
        if self._held is None:
            return self._ask()
        age, may = self._clock.seconds() - self._since, self._held.freshness
        if age < may.max_age:
            return self._aged(self._held, age)
        if age < may.max_age + may.stale_while_revalidate:
            self._revalidate()
            return self._aged(self._held, age)
        answer = self._ask()
        if answer is None and age < may.max_age + may.stale_if_error:
            self._ledger.counts["bridged by a CDN"] += 1
            return self._aged(self._held, age)
        return answer

    @staticmethod
    def _aged(answer: Answer, age: float) -> Answer:
        return Answer(answer.keys, answer.freshness, int(age))

    def _ask(self) -> Answer | None:
        answer = self._origin.fetch()
        if answer is not None:
            self._held, self._since = answer, self._clock.seconds()
        return answer

    def _revalidate(self) -> None:
        if not self._revalidating:
            self._revalidating = True
            self._clock.callLater(self._delay, self._revalidated)

    def _revalidated(self) -> None:
        self._revalidating = False
        self._ask()
