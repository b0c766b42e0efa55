"""Rotating: what lifecycle plans is carried out, on time or late, and never a step too early."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.errors import InvalidParameter, JwksdError, Stopping, TooManyWaiting, UnknownKey
from jwksd.issuing.follower import POLL
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.making import RETRY
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.rotating import Rotating
from jwksd.issuing.rotator import HEARTBEAT
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.keysources.local import generate
from jwksd.lifecycle.ring import State
from jwksd.lifecycle.schedule import Schedule
from jwksd.stores.memory import MemoryStore
from tests.support.app import SCHEDULE, make_issuer, make_policy
from tests.support.keys import NOW, KeysInOrder, NothingReady, key_pair

PLAIN = MintRequest()
DAY = SCHEDULE.rotation_interval
A, B, C = (key_pair(number).kid for number in range(3))


class RotationTestCase(SynchronousTestCase):
    """A rotation on a clock that stands until it is advanced: A is active, B pending."""

    source: Any = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.slept = 0.0
        self.issuer = self.make(self.source)
        self.issuer.policy.start()

    def make(self, source: Any = None, **changes: Any) -> Issuer:
        steady = self.clock.seconds
        return make_issuer(
            self.clock,
            source,
            policy="rotating",
            steady=lambda: steady() - self.jumped,
            **changes,
        )

    jumped = 0.0
    """How much of the wall clock's way was no time that passed."""

    @property
    def policy(self) -> Rotating:
        policy = self.issuer.policy
        assert isinstance(policy, Rotating)
        return policy

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock; no timer runs."""
        self.jumped += seconds
        self.clock.rightNow += seconds

    def sleep(self, seconds: float) -> None:
        """Time passes, and no timer runs."""
        self.clock.rightNow += seconds

    def mint(self, request: MintRequest = PLAIN) -> Token:
        token: Token = self.successResultOf(Deferred.fromCoroutine(self.issuer.mint(request)))
        return token

    def rotate(self, alg: str | None = None) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.issuer.rotate(alg)))

    def revoke(self, kid: str) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.issuer.policy.revoke(kid)))

    def describe(self) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.issuer.policy.describe()))

    def kids(self) -> list[str]:
        return [key["kid"] for key in json.loads(self.issuer.policy.keys.key_set().body)["keys"]]

    def states(self) -> dict[str, str]:
        keys: Any = self.describe()["keys"]
        return {key["kid"]: key["state"] for key in keys}


class ScheduleTests(RotationTestCase):
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


class TwoKinds(KeysInOrder):
    """Fresh keys of any algorithm, made at once."""

    def take_now(self, alg: str) -> KeyPair | None:
        return generate(ALGORITHMS[alg], 2048)


class ClockTests(RotationTestCase):
    """What happens when timers are late and clocks are wrong."""

    def test_a_timer_that_never_ran_changes_nothing(self) -> None:
        """The plan is looked at before each signature and each document."""
        self.sleep(DAY)
        self.assertEqual(self.mint().kid, B)
        self.sleep(SCHEDULE.retention)
        self.assertNotIn(A, self.kids())

    def test_after_a_week_asleep_all_is_caught_up_with_in_order(self) -> None:
        """The key that was published before takes over; the one after it waits its full time."""
        self.sleep(7 * DAY)
        self.assertEqual(self.mint().kid, B)
        self.assertEqual(self.states(), {A: "retired", B: "active", C: "pending"})
        woke = self.clock.seconds()
        (status,) = (k for k in self.describe()["keys"] if k["kid"] == C)  # type: ignore[attr-defined]
        self.assertEqual((status["since"], status["until"]), (woke, woke + DAY))

    def test_a_clock_set_forward_skips_no_propagation(self) -> None:
        """A month at once: nothing takes over, for no cache has grown older; the log says so."""
        self.jump(30 * DAY)
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(DAY - 1)
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(1)
        self.assertEqual(self.mint().kid, B)

    def test_a_retired_key_outlasts_a_clock_set_forward(self) -> None:
        """Its tokens may be valid still for all who kept their clocks."""
        self.clock.advance(DAY)
        self.jump(30 * DAY)
        self.assertIn(A, self.kids())
        self.clock.advance(SCHEDULE.retention - 1)
        self.assertIn(A, self.kids())
        self.clock.advance(1)
        self.assertNotIn(A, self.kids())

    def test_a_clock_set_back_does_not_stall_the_rotation(self) -> None:
        """Years back: the takeover comes when as much time has passed as it was to."""
        self.jump(-400 * DAY)
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(DAY)
        self.assertEqual(self.mint().kid, B)

    def test_a_token_of_a_clock_that_was_ahead_keeps_its_key(self) -> None:
        """Set back, the clock must first reach the last exp that was signed, and the skew."""
        self.jump(5 * DAY)
        exp = self.mint().exp
        self.jump(-5 * DAY)
        self.clock.advance(DAY)
        self.assertEqual(self.states()[A], "retired")
        self.clock.advance(exp + SCHEDULE.clock_skew - 1 - self.clock.seconds())
        self.assertIn(A, self.kids())
        self.clock.advance(1)
        self.assertNotIn(A, self.kids())

    def test_small_corrections_are_followed_too(self) -> None:
        """Many steps of less than a second add up to no early takeover, and to little delay."""
        for _ in range(100):
            self.jump(0.9)
            self.mint()
        self.clock.advance(DAY - 1)
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(1 + 10)
        self.assertEqual(self.mint().kid, B)

    def test_the_plan_is_looked_at_every_minute(self) -> None:
        """So that a clock which was set is noticed though nobody asks."""
        self.jump(30 * DAY)
        self.clock.advance(HEARTBEAT)
        self.assertEqual(self.policy._rotator.ring.get(A).state, State.ACTIVE)  # type: ignore[union-attr]
        self.assertEqual(self.policy._rotator.ring.get(A).since, NOW + 30 * DAY)  # type: ignore[union-attr]


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
    def test_operators_are_told_who_still_needs_a_key(self) -> None:
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


class SlowSource(NothingReady):
    """A source whose keys come, or fail to, when the test says so."""

    def __init__(self) -> None:
        self.takers: list[Deferred[KeyPair]] = []
        self.given = 0

    def take(self, alg: str) -> "Deferred[KeyPair]":
        self.takers.append(Deferred())
        return self.takers[-1]

    def give(self) -> None:
        self.takers.pop(0).callback(key_pair(self.given))
        self.given += 1


class SlowTests(RotationTestCase):
    """Keys take their time."""

    def setUp(self) -> None:
        self.slow = self.source = SlowSource()
        super().setUp()

    def test_the_first_requests_wait_for_the_first_key(self) -> None:
        """All of them get a token when it is there; until then the server is not ready."""
        minting = [Deferred.fromCoroutine(self.issuer.mint(PLAIN)) for _ in range(3)]
        self.assertEqual(self.issuer.not_ready, "there is no RS256 key yet")
        self.slow.give()
        self.assertEqual({self.successResultOf(m).kid for m in minting}, {A})
        self.assertIsNone(self.issuer.not_ready)

    def test_a_set_without_its_first_key_is_not_to_be_cached(self) -> None:
        """It would lack the key that signs a moment later, for as long as caches may hold it."""
        self.assertEqual(self.issuer.policy.cache_control, b"no-store")
        self.slow.give()
        self.assertIn(b"max-age=1000", self.issuer.policy.cache_control)

    def test_only_one_key_is_made_at_a_time(self) -> None:
        """However often the plan is looked at meanwhile."""
        self.clock.pump([1] * 100)
        self.assertEqual(len(self.slow.takers), 1)

    def test_too_many_may_not_wait(self) -> None:
        """Past --max-waiting they are told to come back; who leaves makes room."""
        self.issuer = self.make(self.slow, max_waiting=1)
        first = Deferred.fromCoroutine(self.issuer.mint(PLAIN))
        second = Deferred.fromCoroutine(self.issuer.mint(PLAIN))
        self.assertIn("--max-waiting", str(self.failureResultOf(second, TooManyWaiting).value))
        first.addErrback(lambda _: None).cancel()
        self.assertNoResult(third := Deferred.fromCoroutine(self.issuer.mint(PLAIN)))
        third.addErrback(lambda _: None).cancel()

    def test_while_a_successor_is_made_the_active_key_signs_on(self) -> None:
        """Overdue as it is; the new one is published for its full time first."""
        self.slow.give()
        self.clock.advance(10 * DAY)
        self.assertEqual(self.mint().kid, A)
        self.assertEqual(self.rotate()["kid"], None)
        self.slow.give()
        self.assertEqual(self.mint().kid, A)
        self.clock.advance(SCHEDULE.propagation)
        self.assertEqual(self.mint().kid, B)

    def test_a_key_that_could_not_be_made_is_tried_again(self) -> None:
        """Whoever waits is told; after a while another try succeeds."""
        minting = Deferred.fromCoroutine(self.issuer.mint(PLAIN))
        self.slow.takers.pop().errback(RuntimeError("no entropy"))
        self.assertIn("the log says why", str(self.failureResultOf(minting, JwksdError).value))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.slow.takers, [])
        self.clock.advance(RETRY)
        self.slow.give()
        self.assertEqual(self.mint().kid, A)

    def test_after_a_stop_nothing_is_left(self) -> None:
        """No timer, no waiter, no private half; a key that comes late is destroyed."""
        minting = Deferred.fromCoroutine(self.issuer.mint(PLAIN))
        self.issuer.stop()
        self.failureResultOf(minting, Stopping)
        late = self.slow.takers[0]
        pair = key_pair(7)
        late.callback(pair)
        self.assertIn("destroyed", repr(pair))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.failureResultOf(Deferred.fromCoroutine(self.issuer.mint(PLAIN)), Stopping)
        self.issuer.stop()

    def test_a_failure_after_the_stop_is_nobodys(self) -> None:
        """It is neither logged nor tried again."""
        self.issuer.stop()
        self.slow.takers.pop().errback(RuntimeError())
        self.assertEqual(self.clock.getDelayedCalls(), [])


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
        """Past --max-waiting they are told to come back."""
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


class RobustnessTests(RotationTestCase):
    def test_a_failing_tick_is_followed_by_another(self) -> None:
        """The rotation says so in the log, and goes on."""
        rotator = self.policy._rotator
        planned, rotator._planned = rotator._planned, lambda change: 1 / 0  # type: ignore[method-assign,assignment,misc,return-value]
        self.clock.advance(HEARTBEAT)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        rotator._planned = planned  # type: ignore[method-assign]
        self.clock.advance(DAY)
        self.assertEqual(self.mint().kid, B)

    def test_a_source_that_raises_at_once_is_tried_again(self) -> None:
        """By the next request, or after a while; it does not spin meanwhile."""
        source = KeysInOrder()
        take, source.take = source.take, lambda alg: fail(JwksdError("none today"))  # type: ignore[method-assign]
        self.issuer = self.make(source)
        self.issuer.policy.start()
        self.clock.pump([1] * (RETRY - 1))
        self.assertEqual(len(self.flushLoggedErrors(JwksdError)), 1)
        self.failureResultOf(Deferred.fromCoroutine(self.issuer.mint(PLAIN)), JwksdError)
        self.assertEqual(len(self.flushLoggedErrors(JwksdError)), 1)
        source.take = take  # type: ignore[method-assign]
        self.clock.advance(RETRY)
        self.assertEqual(self.mint().kid, A)

    def test_another_rotation_goes_on_where_one_was(self) -> None:
        """The same keys in the same states; tokens signed before keep their key."""
        store = MemoryStore()
        self.issuer = self.make(store=store)
        self.issuer.policy.start()
        exp = self.mint(MintRequest(lifetime=7200)).exp
        self.describe()  # by which it is counted
        document = self.issuer.policy.keys.key_set()
        other = self.make(store=store)
        other.policy.open()
        other.policy.start()
        self.assertEqual(other.policy.keys.key_set(), document)
        described = self.successResultOf(Deferred.fromCoroutine(other.policy.describe()))
        self.assertEqual(described["keys"][0]["last_exp"], exp)
        self.issuer = other
        self.assertEqual(self.mint().kid, A)


class SharedStore(MemoryStore):
    """Of several nodes in one process; they poll it."""

    shared = True
    one_machine = False


class ManyNodesTests(SynchronousTestCase):
    def test_whoever_hears_of_a_key_activates_it_in_time(self) -> None:
        """The node that published it may be gone by then."""
        seconds = {"rotation_interval": 10, "propagation": 10, "max_age": 5, "clock_skew": 5}
        schedule = Schedule.of(**seconds, max_lifetime=5)
        store, clocks, real = SharedStore(), [Clock(), Clock()], Clock()
        hearing, publishing = (
            make_policy(
                clock, source, reactor=real, store=store, policy="rotating", schedule=schedule
            )
            for clock, source in zip(clocks, (SlowSource(), KeysInOrder()), strict=True)
        )
        for clock, policy in zip(clocks, (hearing, publishing), strict=True):
            clock.advance(NOW)
            policy.start()
        real.advance(POLL)
        clocks[0].advance(10)
        self.assertEqual(store.open().ring.active("RS256"), hearing.ring.get(B))
