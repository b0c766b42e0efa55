"""The rotator: what lifecycle plans is carried out, on time or late, and never a step too early."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.errors import JwksdError, Stopping, TooManyWaiting
from jwksd.issuing.follower import POLL
from jwksd.issuing.making import RETRY
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.rotator import HEARTBEAT
from jwksd.lifecycle.ring import State
from jwksd.lifecycle.schedule import Schedule
from jwksd.stores.memory import MemoryStore
from tests.support.app import SCHEDULE, make_policy
from tests.support.keys import NOW, KeysInOrder, key_pair
from tests.support.rotation import DAY, PLAIN, A, B, C, RotationTestCase, SlowSource


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
        """Past --max-waiting they get Retry-After; one that leaves makes room."""
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
        """Those who wait get the error; after a while another try succeeds."""
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
    def test_a_node_that_reads_of_a_key_activates_it_in_time(self) -> None:
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
