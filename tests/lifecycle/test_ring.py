"""The ring: what a revocation and a clock that was set change."""

from dataclasses import replace
from unittest import TestCase

from jwksd.lifecycle import ring as rings
from jwksd.lifecycle.ring import Ring, State
from tests.support.rings import SCHEDULE, ring_key


class ChangeTests(TestCase):
    def test_a_revocation_is_an_alert(self) -> None:
        """Until its news can have reached every cache documents are cached for a minute at most."""
        ring = Ring((ring_key("a", State.ACTIVE),))
        after = rings.revoke(ring, "a", 50.2, SCHEDULE)
        self.assertEqual((after.keys, after.alert_until), ((), 151))
        self.assertEqual(SCHEDULE.cache_control(alert=True), b"public, max-age=20")
        long = replace(SCHEDULE, max_age=3600)
        self.assertEqual(long.cache_control(alert=True), b"public, max-age=60")

    def test_a_jump_moves_what_counts_on_passing_time(self) -> None:
        """Forward and back; only the end of a retired key is never moved nearer."""
        ring = Ring(
            (ring_key("a", State.RETIRED, until=500), ring_key("b", State.ACTIVE)), alert_until=70
        )
        for jump, until, alert in ((30, 530, 100), (-30, 500, 40)):
            after = rings.after_jump(ring, jump)
            self.assertEqual([k.since for k in after.keys], [jump, jump])
            self.assertEqual([k.published for k in after.keys], [jump, jump])
            self.assertEqual([k.created for k in after.keys], [0, 0])
            self.assertEqual((after.keys[0].until, after.alert_until), (until, alert))

    def test_a_clock_that_was_set_is_followed(self) -> None:
        """From a second on, either way, rounded up; another start of the machine begins anew."""
        ring = Ring((ring_key("a", State.ACTIVE, 50),), boot="x", ahead=10.0)
        for ahead, since in (
            (10.0, 50),
            (10.9, 50),
            (9.1, 50),
            (11.0, 51),
            (12.3, 53),
            (9.0, 49),
            (5.5, 46),
        ):
            with self.subTest(ahead=ahead):
                after = rings.follow_clock(ring, "x", ahead)
                self.assertEqual(after.keys[0].since, since)
                self.assertEqual(after.ahead, 10.0 if since == 50 else ahead)
        self.assertIs(rings.follow_clock(ring, None, 99.0), ring)
        for boot in ("a", "z"):
            again = rings.follow_clock(ring, boot, 99.0)
            self.assertEqual(again, replace(ring, boot=boot, ahead=99.0))
        self.assertEqual((Ring().alert_until, Ring().ahead), (0, 0.0))
        self.assertEqual(rings.after_jump(Ring(), 5).alert_until, 0)

    def test_a_hurry_is_for_one_algorithm_more(self) -> None:
        """Asked for again it is the same; that of others stays."""
        once = rings.hurry(Ring(hurried=frozenset({"RS256"})), "ES256")
        self.assertEqual(once.hurried, frozenset({"RS256", "ES256"}))
        self.assertEqual(rings.hurry(once, "ES256").hurried, once.hurried)

    def test_a_key_that_the_ring_lacks_is_an_error(self) -> None:
        """By its kid a key is found; where there is none, the error has the kid."""
        ring = Ring((ring_key("a", State.ACTIVE),))
        self.assertIs(ring["a"], ring.keys[0])
        with self.assertRaisesRegex(KeyError, "nobody"):
            ring["nobody"]
