"""Turns: what each connection with requests left over may have answered in a turn."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.web.http.turns import REQUESTS, Turns


class Eager:
    """A connection that never has enough, and keeps its shares."""

    awaits_turn = False

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.shares: list[int] = []
        self.aborted = False

    def take_turn(self) -> None:
        self.shares.append(self.turns.share)
        self.turns.wait(self)

    def abort(self) -> None:
        self.aborted = True


class Strict(Clock):
    """A clock that refuses what is past, as a reactor does."""

    def callLater(self, delay: float, *arguments: Any, **more: Any) -> Any:
        assert delay >= 0
        return super().callLater(delay, *arguments, **more)


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Strict()
        self.turns = Turns(self.clock)

    def connections(self, count: int) -> list[Any]:
        made = [Eager(self.turns) for _ in range(count)]
        for connection in made:
            self.turns.wait(connection)
        return made

    def test_those_that_wait_share_a_turn(self) -> None:
        """All of it for one, equal parts for several, and one request at least for each of many."""
        for count, share in ((1, REQUESTS), (2, REQUESTS // 2), (5, REQUESTS // 5), (300, 1)):
            self.turns = Turns(self.clock)
            made = self.connections(count)
            for _ in range(3):
                self.turns.take()
                self.assertEqual(self.turns.share, share)  # of what is read after the turn, too
            self.assertEqual({share}, {one for each in made for one in each.shares})

    def test_of_very_many_those_that_have_waited_longest_are_first(self) -> None:
        """A turn of the reactor is no longer for them than for a few, and nobody is passed over."""
        made = self.connections(3 * REQUESTS)
        for turn in range(1, 7):
            self.turns.take()
            asked = [len(connection.shares) for connection in made]
            self.assertEqual((sum(asked), max(asked) - min(asked)), (turn * REQUESTS, turn % 3 > 0))
            self.assertEqual(asked, sorted(asked, reverse=True))

    def test_in_a_turn_no_share_grows(self) -> None:
        """Though those whose turn is over wait no more, or wait again one after the other."""
        made = self.connections(8)
        shares: list[int] = []
        for connection in made[:4]:
            connection.take_turn = lambda: shares.append(self.turns.share)
        self.turns.take()
        self.assertEqual(shares, [REQUESTS // 8] * 4)
        self.assertEqual([connection.shares for connection in made[4:]], [[REQUESTS // 8]] * 4)
        self.assertEqual(self.turns.share, REQUESTS // 4)

    def test_who_waits_on_has_its_turn_in_the_next_one_of_the_reactor(self) -> None:
        """Nobody needs to ask for it, and it comes once, however many wait."""
        made = self.connections(REQUESTS + 1)
        for turn in range(1, 4):
            (call,) = self.clock.getDelayedCalls()
            self.assertEqual(call.getTime(), 0)
            run: Any = call.func  # type: ignore[attr-defined]
            call.cancel()  # advanced, the clock would run all that this sets as well
            run()
            self.assertEqual(sum(len(connection.shares) for connection in made), turn * REQUESTS)

    def test_when_nobody_waits_there_is_all_of_it(self) -> None:
        """And no timer is left."""
        for connection in self.connections(10):
            connection.take_turn = lambda: None
        self.turns.take()
        self.assertEqual(self.turns.share, REQUESTS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_is_asked_once_a_turn_in_order(self) -> None:
        """However often it says that it waits."""
        asked: list[int] = []
        for number, connection in enumerate(self.connections(4)):
            connection.take_turn = lambda number=number: asked.append(number)
            self.turns.wait(connection)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(asked, [0, 1, 2, 3])

    def test_who_waits_no_more_is_not_asked(self) -> None:
        """Before the turn, and by another in it."""
        one, two, three = self.connections(3)
        one.awaits_turn = False
        two.take_turn = lambda: setattr(three, "awaits_turn", False)
        self.turns.take()
        self.assertEqual((one.shares, three.shares), ([], []))

    def test_who_fails_is_closed_and_takes_nothing_from_others(self) -> None:
        """The failure is logged."""
        one, two = self.connections(2)
        one.take_turn = lambda: 1 / 0
        self.turns.take()
        self.assertEqual((one.aborted, two.aborted, two.shares), (True, False, [REQUESTS // 2]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
