"""SlowKeys: a source whose keys take their time, and now and then cannot be had."""

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred
from zope.interface import implementer

from jwksd.errors import JwksdError
from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.keysources.generating import generate
from tests.proofs.simulation.clocks import Wall
from tests.proofs.simulation.ledger import Ledger

ALG = "Ed25519"


class NoKey(JwksdError):
    """The simulated failure."""


@implementer(IKeySource)
class SlowKeys:
    """The source of one process: what it was making is lost with it.

    Args:
        wall: the clock of the process.
        rng: decides how long a key takes, and whether it fails.
        longest: seconds that a slow key takes, about; None makes all of them fast and sure.
        before, after: called around the delivery of a key.
    """

    def __init__(
        self,
        wall: Wall,
        rng: Random,
        ledger: Ledger,
        longest: int | None,
        before: Callable[[], None],
        after: Callable[[], None],
    ) -> None:
        self._wall = wall
        self._rng = rng
        self._ledger = ledger
        self._longest = longest
        self._before = before
        self._after = after

    def take_now(self, alg: str) -> KeyPair | None:
        return None  # whoever wants one waits

    def take(self, alg: str) -> "Deferred[KeyPair]":
        result: Deferred[KeyPair] = Deferred()
        fails = self._longest is not None and self._rng.random() < 0.1
        delay = self._delay()
        self._ledger.counts["keys that failed"] += fails
        self._ledger.counts["keys that were slow"] += delay > 60
        self._wall.callLater(delay, self._deliver, result, fails)
        return result

    def _delay(self) -> float:
        """Whole seconds often, for then nothing is gained by rounding."""
        kind = self._rng.random()
        if self._longest is None or kind < 0.5:
            return float(self._rng.randrange(1, 5))
        if kind < 0.8:
            return self._rng.uniform(0, 5)
        if kind < 0.95:
            return self._rng.uniform(0, self._longest)
        return self._rng.uniform(1, 1.5) * self._longest

    def _deliver(self, result: "Deferred[KeyPair]", fails: bool) -> None:
        self._before()
        if fails:
            result.errback(NoKey("no key this time"))
        else:
            result.callback(generate(ALGORITHMS[ALG], 0))
        self._after()
