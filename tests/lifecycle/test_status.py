"""One describer of a key: what operators see of keys in a ring, and of single ones."""

from unittest import TestCase

from jwksd.jose.keys import PublishedKey
from jwksd.lifecycle.contents import Usage
from jwksd.lifecycle.ring import Ring, State
from jwksd.lifecycle.status import KeyStatus
from tests.support.rings import SCHEDULE, ring_key

ACTIVE = ring_key("b", State.ACTIVE, 50)
PENDING = ring_key("c", State.PENDING, 50)
RETIRED = ring_key("a", State.RETIRED, 50, until=260)


class StatusTests(TestCase):
    def test_without_a_schedule_nothing_is_said_of_what_is_to_come(self) -> None:
        """As a command sees a store: the key as it is kept, and how much it has signed."""
        for key, until in ((ACTIVE, None), (PENDING, None), (RETIRED, 260)):
            status = KeyStatus.stored(key, Usage(3, 77))
            self.assertEqual((status.since, status.until, status.signed), (50, until, 3))
            self.assertEqual((status.last_exp, status.safe_to_drop_at), (77, None))
        self.assertIsNone(KeyStatus.stored(ACTIVE, Usage()).last_exp)

    def test_with_a_schedule_the_takeover_is_described(self) -> None:
        """Of the active key and its successor, but not of a key that has none."""
        ring = Ring((ACTIVE, PENDING))
        for key in ring.keys:
            status = KeyStatus.scheduled(key, Usage(), ring, SCHEDULE)
            self.assertEqual((status.until, status.safe_to_drop_at), (1050, None))
        alone = KeyStatus.scheduled(ACTIVE, Usage(), Ring((ACTIVE,)), SCHEDULE)
        self.assertIsNone(alone.until)

    def test_a_retired_key_may_go_when_its_last_token_is_over(self) -> None:
        """By every clock within the skew; one that signed nothing could go when it retired."""
        for last_exp, drop in ((0, 50), (200, 210)):
            ring = Ring((RETIRED, ACTIVE, PENDING))
            status = KeyStatus.scheduled(RETIRED, Usage(1, last_exp), ring, SCHEDULE)
            self.assertEqual((status.until, status.safe_to_drop_at), (260, drop))

    def test_a_single_key_ends_with_its_token(self) -> None:
        """The members and their order are those that ``/dev/keys`` answers."""
        key = PublishedKey("k", "ES256", b"{}", b"", 5, 65)
        self.assertEqual(
            list(KeyStatus.single(key).members().items()),
            [
                ("kid", "k"),
                ("alg", "ES256"),
                ("state", "retired"),
                ("since", 5),
                ("until", 65),
                ("signed", 1),
                ("last_exp", 65),
                ("safe_to_drop_at", 65),
            ],
        )
