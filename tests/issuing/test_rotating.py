"""The rotating policy: who signs, what is published and described, and what is withdrawn."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from jwksd.errors import InvalidParameter, JwksdError, TooManyWaiting, UnknownKey
from jwksd.interfaces import IKeyPolicy
from jwksd.issuing.mintrequest import MintRequest
from jwksd.jose.tokens import Token
from tests.support.app import SCHEDULE
from tests.support.keys import NOW
from tests.support.rotation import DAY, PLAIN, A, B, C, RotationTestCase, TwoKinds


class ScheduleTests(RotationTestCase):
    def test_it_is_a_policy_as_any_other(self) -> None:
        """It has every attribute and method that the issuer asks for."""
        self.assertTrue(verifyObject(IKeyPolicy, self.policy))

    def test_one_key_signs_and_the_next_is_published(self) -> None:
        """Any number of tokens, one key; its successor is there from the start."""
        self.assertEqual({self.mint().kid for _ in range(5)}, {A})
        self.assertEqual(self.states(), {A: "active", B: "pending"})
        self.assertEqual(sorted(self.kids()), sorted([A, B]))

    def test_a_key_is_replaced_on_schedule(self) -> None:
        """At its second the pending one takes over; the old one stays for its tokens, then goes."""
        self.clock.advance(DAY - 0.5)
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(0.5)
        self.assertEqual(self.mint().kid, B)
        self.assertEqual(self.states(), {A: "retired", B: "active", C: "pending"})
        self.clock.advance(SCHEDULE.retention - 1)
        self.assertIn(A, self.kids())
        self.clock.advance(1)
        self.assertNotIn(A, self.kids())
        self.assertIsNone(self.issuer.policy.keys.get(A))

    def test_a_retired_private_half_is_gone(self) -> None:
        """In the step that retires it; the keys that sign, now or next, keep theirs."""
        pairs = dict(self.policy._holdings.pairs)
        self.clock.advance(DAY)
        self.assertEqual({kid for kid, pair in pairs.items() if "destroyed" in repr(pair)}, {A})
        self.assertEqual(set(self.policy._holdings.pairs), {B, C})

    def test_the_documents_may_be_cached_as_the_schedule_says(self) -> None:
        """The header is that of the same numbers."""
        expected = b"public, max-age=1000, stale-while-revalidate=1000, stale-if-error=7940"
        self.assertEqual(self.issuer.policy.cache_control, expected)

    def test_every_algorithm_has_keys_of_its_own(self) -> None:
        """Each with a successor, and each is asked for by name."""
        self.issuer = self.make(TwoKinds(), algorithms=["RS256", "ES256"])
        kinds = {self.mint(MintRequest(alg=alg)).alg for alg in ("RS256", "ES256")}
        self.assertEqual(kinds, {"RS256", "ES256"})
        self.assertEqual(list(self.states().values()).count("pending"), 2)

    def test_expired_tokens_are_never_signed_by_the_active_key(self) -> None:
        """They get a key of their own, which no document shows."""
        token = self.mint(MintRequest(expired=True))
        self.assertNotIn(token.kid, self.states())
        self.assertEqual(sorted(self.kids()), sorted([A, B]))

    def test_the_active_key_signs_a_token_that_has_expired_alone(self) -> None:
        """It is published already, and is no longer published for it."""
        token = self.mint(MintRequest(expired="token", lifetime=60))
        self.assertEqual((token.kid, token.iat, token.exp), (A, NOW - 3660, NOW - 3600))
        self.assertEqual(sorted(self.kids()), sorted([A, B]))
        self.clock.advance(DAY)
        self.clock.advance(SCHEDULE.retention)
        self.assertNotIn(A, self.kids())

    def test_a_token_that_would_outlive_its_key_is_refused(self) -> None:
        """By the bound on lifetimes, and if that were ever passed by the rotation itself."""
        minting = Deferred.fromCoroutine(
            self.issuer.mint(MintRequest(lifetime=SCHEDULE.max_lifetime + 1))
        )
        self.failureResultOf(minting, InvalidParameter)
        self.mint(MintRequest(lifetime=SCHEDULE.max_lifetime))
        self.issuer = self.make(max_lifetime=10 * SCHEDULE.max_lifetime)
        minting = Deferred.fromCoroutine(
            self.issuer.mint(MintRequest(lifetime=SCHEDULE.max_lifetime + 1))
        )
        self.assertIn("outlives", str(self.failureResultOf(minting, JwksdError).value))


class EarlyTests(RotationTestCase):
    def test_an_early_rotation_says_when_and_keeps_its_word(self) -> None:
        """Not before the pending key has been published for the propagation time."""
        self.clock.advance(1000)
        answer = self.rotate()
        self.assertEqual(answer, {"kid": B, "at": NOW + SCHEDULE.propagation})
        self.assertEqual(self.rotate(), answer)
        self.clock.advance(SCHEDULE.propagation - 1001)
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(1)
        self.assertEqual(self.mint().kid, B)

    def test_where_it_is_safe_it_is_done_at_once(self) -> None:
        """The next one then has its turn only when it is known in turn."""
        self.clock.advance(SCHEDULE.propagation)
        self.assertEqual(self.rotate(), {"kid": B, "at": int(self.clock.seconds())})
        self.assertEqual(self.mint().kid, B)
        later = int(self.clock.seconds()) + SCHEDULE.propagation
        self.assertEqual(self.rotate("RS256"), {"kid": C, "at": later})

    def test_an_algorithm_that_is_not_signed_with_cannot_be_rotated(self) -> None:
        """The refusal names those that can."""
        rotating = Deferred.fromCoroutine(self.issuer.rotate("ES256"))
        self.assertIn("RS256", str(self.failureResultOf(rotating, InvalidParameter).value))


class RevocationTests(RotationTestCase):
    def test_a_revoked_key_is_gone_and_the_next_signs_at_once(self) -> None:
        """Of the active key nothing is left; a new successor is published."""
        token = self.mint()
        self.revoke(A)
        self.assertEqual(self.mint().kid, B)
        self.assertEqual(self.states(), {B: "active", C: "pending"})
        self.assertEqual(sorted(self.kids()), sorted([B, C]))
        self.assertIsNone(self.issuer.introspect(token.token.decode()))

    def test_freshness_drops_until_every_cache_can_have_heard(self) -> None:
        """A minute at most, and no stale answers, for the propagation time."""
        self.revoke(A)
        self.assertEqual(self.issuer.policy.cache_control, b"public, max-age=60")
        self.clock.advance(SCHEDULE.propagation - 1)
        self.assertEqual(self.issuer.policy.cache_control, b"public, max-age=60")
        self.clock.advance(1)
        self.assertIn(b"max-age=1000", self.issuer.policy.cache_control)

    def test_a_pending_and_a_retired_key_can_be_revoked(self) -> None:
        """The active one signs on."""
        self.clock.advance(DAY)
        self.revoke(C)
        self.revoke(A)
        self.assertEqual(self.mint().kid, B)
        self.assertNotIn(A, self.kids())
        self.assertNotIn(C, self.kids())

    def test_a_kid_of_no_key_is_refused(self) -> None:
        """And nothing changes."""
        self.failureResultOf(
            Deferred.fromCoroutine(self.issuer.policy.revoke("nobody")), UnknownKey
        )
        self.assertEqual(self.issuer.policy.cache_control.count(b"stale"), 2)

    def test_a_reset_begins_anew(self) -> None:
        """Every key is another, and the first of them signs at once."""
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.issuer.reset_keys())), 2)
        self.assertEqual(self.mint().kid, C)


class ReportTests(RotationTestCase):
    def test_operators_see_what_a_key_has_signed(self) -> None:
        """Per key: state, since, until, how many tokens, their last exp, when it may go."""
        for lifetime in (60, 600, 30):
            self.mint(MintRequest(lifetime=lifetime))
        self.clock.advance(DAY)
        described = self.describe()
        day = NOW + DAY
        self.assertEqual(
            described,
            {
                "policy": "rotating",
                "next_change": day + SCHEDULE.retention,
                "keys": [
                    status(A, "retired", day, day + SCHEDULE.retention, 3, NOW + 600, day),
                    status(B, "active", day, day + DAY, 0, None, None),
                    status(C, "pending", day, day + DAY, 0, None, None),
                ],
            },
        )

    def test_a_key_may_go_when_its_last_token_is_over(self) -> None:
        """Which can be long before the longest token could be."""
        self.clock.advance(DAY - 1)
        exp = self.mint(MintRequest(lifetime=100)).exp
        self.clock.advance(1)
        keys: Any = self.describe()["keys"]
        self.assertEqual(keys[0]["safe_to_drop_at"], exp + SCHEDULE.clock_skew)


def status(
    kid: str,
    state: str,
    since: int,
    until: int,
    signed: int,
    last_exp: int | None,
    safe_to_drop_at: int | None,
) -> dict[str, object]:
    return {"kid": kid, "alg": "RS256", **{k: v for k, v in locals().items() if k != "kid"}}


class Turn:
    """What a thread is to sign, and where its result arrives."""

    def __init__(self, work: Callable[[], Token]) -> None:
        self.work = work
        self.arrived: Deferred[Token] = Deferred()

    def __call__(self) -> None:
        """Sign, and have the result arrive at once."""
        maybeDeferred(self.work).chainDeferred(self.arrived)


class ThreadTests(RotationTestCase):
    """RSA signatures on threads, which end when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.turns: list[Turn] = []
        self.issuer = self.make(run_signing=self.run_signing, max_waiting=2)
        self.issuer.policy.start()

    def run_signing(self, work: Any) -> "Deferred[Token]":
        self.turns.append(Turn(work))
        return self.turns[-1].arrived

    def begin(self) -> "Deferred[Token]":
        return Deferred.fromCoroutine(self.issuer.mint(PLAIN))

    def test_a_token_comes_when_its_thread_has_signed(self) -> None:
        """And counts from then on."""
        minting = self.begin()
        self.assertNoResult(minting)
        self.turns.pop()()
        self.assertEqual(self.successResultOf(minting).kid, A)
        self.assertEqual(self.describe()["keys"][0]["signed"], 1)

    def test_too_many_may_not_wait(self) -> None:
        """Past --max-waiting they get Retry-After."""
        waiting = [self.begin(), self.begin()]
        self.failureResultOf(self.begin(), TooManyWaiting)
        while self.turns:
            self.turns.pop()()
        for minting in [*waiting]:
            self.successResultOf(minting)

    def test_a_key_that_is_gone_before_its_turn_signs_nothing(self) -> None:
        """Replaced, or withdrawn, while the work waited for a thread: the next key signs."""
        minting = self.begin()
        self.clock.advance(DAY)
        self.turns.pop()()
        self.assertNoResult(minting)
        self.revoke(B)
        self.turns.pop()()
        self.turns.pop()()
        self.assertEqual(self.successResultOf(minting).kid, C)

    def test_a_token_whose_key_was_withdrawn_while_a_thread_signed_is_not_answered(self) -> None:
        """The signature was made, and is thrown away; the next key signs the answer."""
        minting = self.begin()
        turn = self.turns.pop()
        token = turn.work()
        self.revoke(A)
        turn.arrived.callback(token)
        self.assertNoResult(minting)
        self.turns.pop()()
        self.assertEqual((token.kid, self.successResultOf(minting).kid), (A, B))
        self.assertEqual([key["signed"] for key in self.describe()["keys"]], [1, 0])

    def test_a_token_whose_key_was_retired_while_a_thread_signed_is_answered(self) -> None:
        """A retired key is still published, for longer than the token is valid."""
        minting = self.begin()
        turn = self.turns.pop()
        token = turn.work()
        self.clock.advance(DAY)
        self.assertEqual(self.states()[A], "retired")
        turn.arrived.callback(token)
        self.assertEqual(self.successResultOf(minting), token)

    def test_quick_signatures_are_made_where_they_are(self) -> None:
        """Handing them over would cost more."""
        self.issuer = self.make(TwoKinds(), algorithms=["ES256"], run_signing=self.run_signing)
        self.assertEqual(self.mint().alg, "ES256")
        self.assertEqual(self.turns, [])
