"""LiveKeys: the bound of how many keys may be live, and when the next one may be made."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.errors import TooManyKeys
from jwksd.issuing.livekeys import LiveKeys
from tests.support.keys import NOW
from tests.support.stores import single


class BoundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)

    def live(self, bound: int, *seconds: float) -> LiveKeys:
        """Live keys with this bound, one for each of the lifetimes."""
        keys = LiveKeys(self.clock, bound, lambda now: None)
        self.addCleanup(keys.stop)
        for each in seconds:
            keys.add(single(expires=int(NOW + each)))
        return keys

    def wait(self, keys: LiveKeys) -> int | None:
        """The seconds after which a client may come back, or None if there is room."""
        try:
            keys.refuse_when_full()
        except TooManyKeys as error:
            return error.retry_after
        return None

    def test_live_keys_and_promised_ones_count_together(self) -> None:
        """In each mixture of both there is room up to the bound, and none at it."""
        for live, promised in ((0, 3), (1, 1), (1, 2), (2, 1), (2, 2), (3, 0)):
            keys = self.live(live + promised, *[60] * live)
            promises = [keys.promise() for _ in range(promised)]
            for promise in promises:
                self.assertIsNone(self.wait(keys))
                promise.__enter__()
            with self.subTest(live=live, promised=promised):
                self.assertEqual(self.wait(keys), 60 if live else 1)
                with self.assertRaises(TooManyKeys):
                    keys.promise().__enter__()
            for promise in promises:
                promise.__exit__(None, None, None)
            self.assertEqual(self.wait(keys), None if promised else 60)

    def test_past_the_bound_there_is_no_room_either(self) -> None:
        """A store that several share may bring more keys than one of them may make."""
        self.assertEqual(self.wait(self.live(2, 60, 60, 60)), 60)

    def test_a_promise_is_over_however_it_ends(self) -> None:
        """A key that could not be made takes no room from others."""
        keys = self.live(1)
        with self.assertRaises(ZeroDivisionError), keys.promise():
            raise ZeroDivisionError
        self.assertIsNone(self.wait(keys))

    def test_who_is_refused_is_told_when_the_next_key_expires(self) -> None:
        """In whole seconds, not before it has; and then there is room."""
        keys = self.live(2, 90, 30)
        for seconds, left in ((0, 30), (0.5, 30), (0.5, 29), (28.5, 1)):
            self.clock.advance(seconds)
            self.assertEqual(self.wait(keys), left)
        self.clock.advance(0.5)
        self.assertIsNone(self.wait(keys))
        self.assertEqual(len(keys.keys), 1)
