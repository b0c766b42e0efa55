"""The life of a key: what is due when, for every order of ticks, revocations and jumps."""

from typing import Any
from unittest import TestCase

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jwksd.lifecycle import plan as plans
from jwksd.lifecycle import ring as rings
from jwksd.lifecycle.plan import Activate, Drop, Publish, Retire, plan
from jwksd.lifecycle.ring import Ring, RingKey, State
from tests.support.effort import pick
from tests.support.rings import SCHEDULE, ring_key


class PlanTests(TestCase):
    """What is due for an ES256 key, as tables."""

    def steps(self, *keys: RingKey, now: float = 0, **changes: Any) -> list[plans.Step]:
        return list(plan(Ring(keys, **changes), ["ES256"], now, SCHEDULE))

    def test_what_is_missing_is_published(self) -> None:
        """A first key, and a successor for every active one."""
        self.assertEqual(self.steps(), [Publish("ES256")])
        self.assertEqual(self.steps(ring_key("a", State.ACTIVE)), [Publish("ES256")])

    def test_a_first_key_signs_at_once(self) -> None:
        """Nobody can have a document without it: there was none."""
        self.assertEqual(self.steps(ring_key("a", State.PENDING)), [Activate("a")])

    def test_a_successor_signs_when_its_predecessor_has_had_its_time(self) -> None:
        """Not a moment before, though it has long been known."""
        keys = ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)
        self.assertEqual(self.steps(*keys, now=999.9), [])
        self.assertEqual(self.steps(*keys, now=1000), [Activate("b")])

    def test_a_late_successor_is_published_for_the_propagation_time_first(self) -> None:
        """However overdue the change is: the old key signs on until the new one is known."""
        keys = ring_key("a", State.ACTIVE), ring_key("b", State.PENDING, 5000)
        self.assertEqual(self.steps(*keys, now=5099.9), [])
        self.assertEqual(self.steps(*keys, now=5100), [Activate("b")])

    def test_an_early_rotation_waits_for_the_propagation_time_only(self) -> None:
        """Asked for at once, it comes when it is safe."""
        keys = ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)
        hurried = frozenset({"ES256"})
        self.assertEqual(self.steps(*keys, now=99, hurried=hurried), [])
        self.assertEqual(self.steps(*keys, now=100, hurried=hurried), [Activate("b")])

    def test_a_retired_key_is_dropped_at_its_second(self) -> None:
        """Not a moment before."""
        keys = (ring_key("b", State.ACTIVE), ring_key("c", State.PENDING))
        retired = ring_key("a", State.RETIRED, until=210)
        self.assertEqual(self.steps(retired, *keys, now=209.9), [])
        self.assertEqual(self.steps(retired, *keys, now=210), [Drop("a")])

    def test_an_algorithm_that_is_not_wanted_any_more_is_ended(self) -> None:
        """Its active key stays as long as its tokens live; its pending one goes."""
        ring = Ring((ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)))
        self.assertEqual(plan(ring, [], 0, SCHEDULE), (Retire("a"), Drop("b")))
        ended = plans.settle(ring, [], 0, SCHEDULE, {})
        self.assertEqual([(k.kid, k.until) for k in ended.keys], [("a", 210)])

    def test_who_signs_next_and_when(self) -> None:
        """Of an early rotation: the successor when it is known; none yet; or it is done."""
        active, pending = ring_key("a", State.ACTIVE), ring_key("b", State.PENDING, 50)
        hurried = frozenset({"ES256"})
        for ring, answer in (
            (Ring((active, pending), hurried=hurried), ("b", 150)),
            (Ring((active,), hurried=hurried), (None, 61 + SCHEDULE.propagation)),
            (Ring((active, pending)), ("a", 60)),
            (Ring((pending,)), (None, 60)),
        ):
            with self.subTest(ring=ring):
                self.assertEqual(plans.next_signer(ring, "ES256", 60, SCHEDULE), answer)

    def test_the_change_to_come_is_known(self) -> None:
        """The takeover, the end of a retired key, or nothing that time alone would bring."""
        active, pending = ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)
        for keys, at in (
            ((active,), None),
            ((active, pending), 1000),
            ((active, pending, ring_key("c", State.RETIRED, until=210)), 210),
            ((pending,), 0),
        ):
            with self.subTest(keys=keys):
                self.assertEqual(plans.next_change(Ring(keys), SCHEDULE), at)


class ApplyTests(TestCase):
    def test_one_step_activates_and_retires(self) -> None:
        """There is no moment without a key that signs, nor one with two."""
        ring = Ring(
            (ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)), frozenset({"ES256"})
        )
        after = plans.apply(ring, Activate("b"), 1000.5, SCHEDULE, {})
        self.assertEqual([k.state for k in after.keys], [State.RETIRED, State.ACTIVE])
        self.assertEqual([k.since for k in after.keys], [1000, 1000])
        self.assertEqual(after.keys[0].until, 1001 + SCHEDULE.retention)
        self.assertEqual(after.hurried, frozenset())

    def test_a_takeover_ends_the_hurry_of_its_algorithm_alone(self) -> None:
        """Whether it was asked for or came by itself, nothing else is hurried or stops being so."""
        keys = ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)
        for hurried in ({"RS256"}, {"RS256", "ES256"}):
            after = plans.apply(Ring(keys, frozenset(hurried)), Activate("b"), 1000, SCHEDULE, {})
            self.assertEqual(after.hurried, frozenset({"RS256"}))

    def test_a_retired_key_outlives_every_token_that_it_can_have_signed(self) -> None:
        """By the longest lifetime, and by the last exp that was counted, whichever is later."""
        ring = Ring((ring_key("a", State.ACTIVE), ring_key("b", State.PENDING)))
        for last_exp, until in ((0, 1210), (1100, 1210), (1500, 1510)):
            after = plans.apply(ring, Activate("b"), 1000, SCHEDULE, {"a": last_exp})
            self.assertEqual(after.keys[0].until, until)

    def test_publishing_is_not_done_by_a_step(self) -> None:
        """It needs a key; the ring stays."""
        ring = Ring((ring_key("a", State.ACTIVE),))
        self.assertIs(plans.apply(ring, Publish("ES256"), 0, SCHEDULE, {}), ring)


ALGORITHMS = ("ES256", "RS256")


class Machine(RuleBasedStateMachine):
    """A ring under any order of ticks, new keys, signatures, revocations, jumps and wishes.

    ``passed`` is the time that really passes; the wall clock shows ``passed + offset``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring()
        self.wanted: tuple[str, ...] = ALGORITHMS
        self.passed, self.offset = 1e9, 0
        self.serial = 0
        self.published_at: dict[str, float] = {}
        self.history: dict[str, list[State]] = {}
        self.last_exp: dict[str, int] = {}
        self.revoked: set[str] = set()
        self.over: set[str] = set()
        self.served: set[str] = set()

    @property
    def now(self) -> float:
        return self.passed + self.offset

    @initialize()
    def begin(self) -> None:
        self.settle()

    def settle(self) -> None:
        before = self.ring
        self.ring = plans.settle(before, self.wanted, self.now, SCHEDULE, self.last_exp)
        for key in self.ring.keys:
            old = before.get(key.kid)
            if key.state is State.ACTIVE and old is not None and old.state is State.PENDING:
                self.check_takeover(key, before)

    def check_takeover(self, key: RingKey, before: Ring) -> None:
        """It was known, unless nothing else could sign."""
        if before.active(key.alg) is not None:
            assert self.passed - self.published_at[key.kid] >= SCHEDULE.propagation

    @rule(seconds=st.floats(0, 400) | st.sampled_from([0.0, 100.0, 210.0, 1000.0, 700_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.passed += seconds
        self.settle()

    @rule(seconds=st.integers(-1500, 1500) | st.sampled_from([-4_000_000, 700_000]))
    def clock_is_set(self, seconds: int) -> None:
        self.offset += seconds
        self.ring = rings.after_jump(self.ring, seconds)
        self.settle()

    @rule()
    def missing_keys_come(self) -> None:
        for step in plan(self.ring, self.wanted, self.now, SCHEDULE):
            assert isinstance(step, Publish)
            kid = f"k{self.serial}"
            self.serial += 1
            self.ring = rings.publish(self.ring, kid, step.alg, self.now)
            self.published_at[kid] = self.passed
        self.settle()

    @rule(alg=st.sampled_from(ALGORITHMS), lifetime=st.integers(1, SCHEDULE.max_lifetime))
    def sign(self, alg: str, lifetime: int) -> None:
        active = self.ring.active(alg)
        if active is not None:
            exp = int(self.now) + lifetime
            self.over.discard(active.kid)
            self.last_exp[active.kid] = max(self.last_exp.get(active.kid, 0), exp)

    @rule(alg=st.sampled_from(ALGORITHMS))
    def hurry(self, alg: str) -> None:
        self.ring = rings.hurry(self.ring, alg)
        self.settle()

    @precondition(lambda self: self.ring.keys)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        kid = data.draw(st.sampled_from([key.kid for key in self.ring.keys]))
        self.revoked.add(kid)
        self.ring = rings.revoke(self.ring, kid, self.now, SCHEDULE)
        self.settle()

    @rule(wanted=st.sampled_from([ALGORITHMS, ALGORITHMS[:1], ALGORITHMS[1:]]))
    def algorithms_change(self, wanted: tuple[str, ...]) -> None:
        self.wanted = wanted
        self.settle()

    @invariant()
    def one_key_signs(self) -> None:
        for alg in ALGORITHMS:
            active = [k for k in self.ring.keys if (k.alg, k.state) == (alg, State.ACTIVE)]
            pending = self.ring.pending(alg)
            assert len(active) <= 1
            assert active or pending is None  # whatever there is signs rather than nothing
            assert not active or alg in self.wanted

    @invariant()
    def states_go_forward_only(self) -> None:
        order = list(State)
        for key in self.ring.keys:
            states = self.history.setdefault(key.kid, [])
            assert not states or order.index(states[-1]) <= order.index(key.state)
            states.append(key.state)

    @invariant()
    def what_is_gone_stays_gone(self) -> None:
        now = {key.kid for key in self.ring.keys}
        gone = self.served - now
        self.served |= now
        assert not gone & now
        assert not self.revoked & now

    @invariant()
    def no_token_outlives_its_key(self) -> None:
        for kid, exp in self.last_exp.items():
            if self.now >= exp + SCHEDULE.clock_skew:
                self.over.add(kid)  # that the clock is set back then revives no token
            if kid not in self.revoked | self.over:
                assert self.ring.get(kid) is not None

    @invariant()
    def nothing_is_overdue(self) -> None:
        steps = plan(self.ring, self.wanted, self.now, SCHEDULE)
        assert all(isinstance(step, Publish) for step in steps)
        change = plans.next_change(self.ring, SCHEDULE)
        assert change is None or change > self.now

    @invariant()
    def the_order_of_publication_stays(self) -> None:
        serials = [int(key.kid[1:]) for key in self.ring.keys]
        assert serials == sorted(serials)


class MachineTests(TestCase):
    def test_any_order(self) -> None:
        """The laws of the module hold after every step, for every order of what can happen."""
        bounds = settings(max_examples=pick(60, 500), stateful_step_count=40, deadline=None)
        run_state_machine_as_test(Machine, settings=bounds)
