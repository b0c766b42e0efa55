"""Making: the keys that are being made for a rotation.

The laws of this module:
1. One key of an algorithm is made at a time.
2. After a failure the next try waits for ``RETRY`` seconds, or for somebody who needs the key now.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jwksd.interfaces import IKeySource
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle.plan import Publish, Step

RETRY = 10
"""Seconds until another try when no key could be made."""


class Making:
    """Takes keys from a source and has them published.

    Args:
        clock: the wall clock.
        source: where fresh keys come from.
        publish: takes a key that was made.
        failed: takes what went wrong, and with which algorithm.
        ended: called after each try.
    """

    def __init__(
        self,
        clock: IReactorTime,
        source: IKeySource,
        *,
        publish: Callable[[KeyPair], Coroutine[Deferred[Any], Any, None]],
        failed: Callable[[Failure, str], None],
        ended: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._source = source
        self._publish = publish
        self._failed = failed
        self._ended = ended
        self._making: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._stopped = False

    def begin_missing(self, plan: Callable[[], Iterable[Step]]) -> None:
        """Begin to make every key that the plan wants and that may be made now.

        After each, the plan is made anew: where keys are ready, the key is published already.
        """
        while (alg := self._first_missing(plan())) is not None:
            self._making.add(alg)
            made = self._source.take(alg).addCallback(self._made)
            made.addErrback(self._not_made, alg).addBoth(self._end, alg)

    def stop(self) -> None:
        """Begin no more keys, and report no more failures."""
        self._stopped = True

    def retry_now(self, alg: str) -> None:
        """Wait no longer after a failure: somebody needs the key."""
        self._retry_at.pop(alg, None)

    def retries(self, now: float) -> list[float]:
        """Return when another try may begin, of all that have to wait after ``now``."""
        return [at for at in self._retry_at.values() if at > now]

    def _first_missing(self, steps: Iterable[Step]) -> str | None:
        if self._stopped:
            return None
        now = self._clock.seconds()
        wanted = (step.alg for step in steps if isinstance(step, Publish))
        return next((alg for alg in wanted if self._may_begin(alg, now)), None)

    def _may_begin(self, alg: str, now: float) -> bool:
        return alg not in self._making and self._retry_at.get(alg, now) <= now

    def _made(self, pair: KeyPair) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._publish(pair))

    def _not_made(self, failure: Failure, alg: str) -> None:
        if not self._stopped:
            self._retry_at[alg] = self._clock.seconds() + RETRY
            self._failed(failure, alg)

    def _end(self, _: None, alg: str) -> None:
        self._making.discard(alg)
        self._ended()
