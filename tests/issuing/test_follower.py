"""Following a store that others change: when it counts as away, and who waits for it."""

from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.errors import StoreAway
from jwksd.issuing.follower import LONGEST_WAIT, POLL, WAIT_WHILE_AWAY, Follower
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.ring import Ring


class SlowStore:
    """Answers reads when the test says so."""

    shared = True

    def __init__(self) -> None:
        self.reads: list[Deferred[Contents | None]] = []

    def open(self) -> Contents:
        return Contents(1, Ring(), [], [], None)

    def watch(self, changed: Any) -> None:
        """Says nothing of itself."""

    def read(self, since: int | None, known: Collection[str]) -> "Deferred[Contents | None]":
        self.reads.append(Deferred())
        return self.reads[-1]


class FollowerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = SlowStore()
        self.applied: list[Contents] = []
        self.follower = Follower(
            self.store,  # type: ignore[arg-type]  # as much of a store as is needed here
            self.clock,
            self.applied.append,
            known=tuple,
        )
        self.follower.open()
        self.follower.start()
        self.addCleanup(self.follower.stop)

    def refresh(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.follower.refresh())

    def test_a_read_that_began_before_does_not_bring_the_store_back(self) -> None:
        """Of two calls that were under way when the store went, one may still have succeeded."""
        self.clock.advance(POLL)
        self.clock.advance(0.1)
        self.follower.lost(StoreAway("it was shut down"))
        self.store.reads.pop().callback(None)
        self.assertEqual(self.follower.away, "the store cannot be used now; the log says why")
        self.clock.advance(POLL)
        self.store.reads.pop().callback(None)
        self.assertIsNone(self.follower.away)

    def test_nobody_waits_long_for_a_store_that_does_not_answer(self) -> None:
        """A database that hangs holds up no document: what is known is served."""
        waiting = [self.refresh(), self.refresh()]
        self.clock.advance(LONGEST_WAIT - 0.1)
        self.assertNoResult(waiting[0])
        self.clock.advance(0.1)
        for waiter in waiting:
            self.successResultOf(waiter)

    def test_while_the_store_is_away_nobody_waits_but_a_moment(self) -> None:
        """It may be back, and another node have answered a token already."""
        self.follower.lost(StoreAway("it does not answer"))
        waiting = self.refresh()
        self.assertNoResult(waiting)
        self.clock.advance(WAIT_WHILE_AWAY)
        self.successResultOf(waiting)

    def test_who_asks_during_a_read_gets_the_next_one(self) -> None:
        """What came after a read began may be missing from it."""
        first = self.refresh()
        second = self.refresh()
        self.store.reads.pop().callback(None)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.store.reads.pop().callback(None)
        self.successResultOf(second)
