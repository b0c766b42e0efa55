"""The key source: who gets which key, who waits, who is refused, and when keys are made."""

from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jwksd.errors import JwksdError, Stopping, TooManyWaiting
from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.keysources.generating import generate
from jwksd.keysources.local import KeySource, MakeKeys
from tests.support.keys import KeysInOrder, key_pair


class Threads:
    """Jobs that are done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[MakeKeys, Deferred[list[KeyPair]]]] = []

    def run(self, make: MakeKeys) -> "Deferred[list[KeyPair]]":
        done: Deferred[list[KeyPair]] = Deferred()
        self.jobs.append((make, done))
        return done

    def finish_one(self) -> None:
        make, done = self.jobs.pop(0)
        execute(make).chainDeferred(done)


class KeySourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = Threads()
        self.made: list[str] = []

    def source(
        self,
        *,
        algorithms: str = "RS256",
        threads: int = 2,
        reserve: int = 0,
        max_waiting: int = 4,
        quick_reserve: int = 0,
        quick: Threads | None = None,
    ) -> KeySource:
        def make(alg: str, number: int) -> list[KeyPair]:
            self.made += [alg] * number
            if ALGORITHMS[alg].kty == "RSA":
                return [key_pair(len(self.made))]
            return [generate(ALGORITHMS[alg], 2048) for _ in range(number)]

        source = KeySource(
            algorithms.split(),
            make=make,
            run=self.threads.run,
            threads=threads,
            run_quick=(quick or self.threads).run,
            clock=self.clock,
            reserve=reserve,
            quick_reserve=quick_reserve,
            max_waiting=max_waiting,
        )
        source.start()
        return source

    def test_both_sources_keep_the_interface(self) -> None:
        """The real source and the one of the tests are interchangeable."""
        for source in (self.source(), KeysInOrder()):
            self.assertTrue(verifyObject(IKeySource, source))

    def test_the_reserve_is_filled_and_no_more(self) -> None:
        """With nobody waiting, exactly as many keys are made as are to be kept ready."""
        source = self.source(reserve=3)
        while self.threads.jobs:
            self.threads.finish_one()
        self.assertEqual((source.ready("RS256"), len(self.made)), (3, 3))

    def test_each_thread_has_one_job_and_one_to_come(self) -> None:
        """It need not wait for the reactor between two keys, and no long queue builds up."""
        self.source(reserve=8, threads=2)
        self.assertEqual(len(self.threads.jobs), 4)
        self.threads.finish_one()
        self.assertEqual(len(self.threads.jobs), 4)

    def test_a_ready_key_is_given_at_once_and_replaced(self) -> None:
        """Taking from the reserve does not wait, and another key is begun."""
        source = self.source(reserve=1)
        self.threads.finish_one()
        self.assertEqual(self.successResultOf(source.take("RS256")).kid, key_pair(1).kid)
        self.assertEqual(len(self.threads.jobs), 1)

    def test_no_key_is_given_twice(self) -> None:
        """Every taker gets a key of its own."""
        source = self.source(reserve=2)
        takers = [source.take("RS256") for _ in range(4)]
        while self.threads.jobs:
            self.threads.finish_one()
        given = {self.successResultOf(taker).kid for taker in takers}
        self.assertEqual(len(given), 4)

    def test_the_longest_waiting_is_served_first(self) -> None:
        """The queue is first come, first served."""
        source = self.source()
        first, second = source.take("RS256"), source.take("RS256")
        self.threads.finish_one()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.threads.finish_one()
        self.successResultOf(second)

    def test_one_who_leaves_gives_up_the_place(self) -> None:
        """A cancelled taker leaves the queue at once, and its key goes to the next."""
        source = self.source()
        first, second = source.take("RS256"), source.take("RS256")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(source.waiting("RS256"), 1)
        self.threads.finish_one()
        self.successResultOf(second)

    def test_a_key_that_nobody_waits_for_any_more_is_kept(self) -> None:
        """When its taker has left, a finished key goes into the reserve."""
        source = self.source()
        source.take("RS256").addErrback(lambda _: None).cancel()
        self.threads.finish_one()
        self.assertEqual(source.ready("RS256"), 1)

    def test_past_the_bound_the_next_is_refused(self) -> None:
        """With max_waiting in the queue the next is refused, with a time to come back."""
        source = self.source(max_waiting=2)
        waiting = [source.take("RS256"), source.take("RS256")]
        refused = self.failureResultOf(source.take("RS256"), TooManyWaiting).value
        self.assertIn("--max-waiting", refused.detail)
        self.assertEqual(refused.headers, {"Retry-After": "1"})
        for taker in waiting:
            self.assertNoResult(taker)

    def test_before_a_key_was_timed_it_is_guessed(self) -> None:
        """At a tenth of a second for each that waits, shared by the threads."""
        for max_waiting, threads, seconds in ((100, 1, 10), (100, 4, 3), (1, 1, 1)):
            source = self.source(max_waiting=max_waiting, threads=threads)
            for _ in range(max_waiting):
                source.take("RS256")
            refused = self.failureResultOf(source.take("RS256"), TooManyWaiting).value
            self.assertEqual(refused.retry_after, seconds)

    def test_the_time_to_come_back_follows_how_long_keys_take(self) -> None:
        """Where keys take long, a refused client gets a longer Retry-After."""
        source = self.source(max_waiting=4, threads=1)
        takers = [source.take("RS256") for _ in range(4)]
        for _ in takers:
            self.clock.advance(100)
            self.threads.finish_one()
        self.assertTrue(all(taker.called for taker in takers))
        for _ in range(4):
            source.take("RS256").addErrback(lambda _: None)
        refused = self.failureResultOf(source.take("RS256"), TooManyWaiting).value
        self.assertGreater(refused.retry_after, 60)

    def test_those_who_wait_come_before_any_reserve(self) -> None:
        """A thread that comes free makes what is waited for, not what is nice to have."""
        source = self.source(algorithms="RS256 RS512", reserve=4, threads=1)
        self.assertEqual(len(self.threads.jobs), 2)
        waiting = source.take("RS512")
        for _ in range(2):  # begun before
            self.threads.finish_one()
        self.assertEqual(self.made, ["RS256", "RS256"])
        self.threads.finish_one()
        self.assertEqual(self.made[-1], "RS512")
        self.assertTrue(waiting.called)

    def test_a_job_makes_one_rsa_key_or_a_batch_of_quick_ones(self) -> None:
        """Quick kinds have a reserve of their own, if that is larger, filled by a job or two."""
        for reserve, ready in ((0, 64), (8, 64), (100, 96)):
            with self.subTest(reserve=reserve):
                source = self.source(
                    algorithms="RS256 ES256", reserve=reserve, quick_reserve=64, threads=1
                )
                jobs: dict[str, list[int]] = {"ES256": [], "RS256": []}
                while source.ready("ES256") < ready:
                    begun = len(self.made)
                    self.threads.finish_one()
                    jobs[self.made[-1]].append(len(self.made) - begun)
                self.assertLessEqual(len(jobs["ES256"]), ready // 32 + 2)
                self.assertLessEqual(set(jobs["RS256"]), {1})
                source.stop()
                self.threads.jobs.clear()

    def test_a_reserve_of_quick_keys_is_filled_up_by_the_batch(self) -> None:
        """Not for every key that is taken: thirty-one may be missing, for the next a job begins."""
        source = self.source(algorithms="ES256", quick_reserve=64)
        while self.threads.jobs:
            self.threads.finish_one()
        taken = [source.take_now("ES256") for _ in range(31)]
        self.assertEqual(self.threads.jobs, [])
        taken.append(source.take_now("ES256"))
        self.assertEqual(len(self.threads.jobs), 1)
        self.threads.finish_one()
        self.assertEqual((source.ready("ES256"), len(self.made)), (64, 96))
        self.assertEqual(len({pair.kid for pair in taken if pair}), 32)

    def test_quick_keys_do_not_wait_behind_slow_ones(self) -> None:
        """With every thread busy making RSA keys, a key that takes microseconds is begun."""
        threads = Threads()
        source = self.source(algorithms="RS256 ES256", threads=1, max_waiting=9, quick=threads)
        slow = [source.take("RS256") for _ in range(9)]
        quick = source.take("ES256")
        self.assertEqual((len(self.threads.jobs), len(threads.jobs)), (2, 1))
        threads.finish_one()
        self.assertEqual(self.successResultOf(quick).alg, "ES256")
        source.stop()
        for taker in slow:
            self.failureResultOf(taker, Stopping)

    def test_those_who_wait_share_a_batch(self) -> None:
        """One job serves all who wait, in their order; the rest goes into the reserve."""
        source = self.source(algorithms="ES256", quick_reserve=2, max_waiting=40)
        takers = [source.take("ES256") for _ in range(36)]
        order: list[int] = []
        for number, taker in enumerate(takers):
            taker.addCallback(lambda _, number=number: order.append(number))
        while self.threads.jobs:
            self.threads.finish_one()
        self.assertEqual(order, list(range(36)))
        self.assertEqual((source.ready("ES256"), len(self.made)), (2, 38))

    def test_what_is_not_ready_cannot_be_had_now(self) -> None:
        """Not while others wait, not past them, not after a stop; asking so begins no key."""
        source = self.source()
        self.assertIsNone(source.take_now("RS256"))
        self.assertEqual(self.threads.jobs, [])
        waiting = source.take("RS256")
        self.assertIsNone(source.take_now("RS256"))
        self.threads.finish_one()
        self.successResultOf(waiting)
        self.assertIsNone(source.take_now("RS256"))
        full = self.source(reserve=1)
        self.threads.finish_one()
        self.assertEqual(full.ready("RS256"), 1)
        full.stop()
        self.assertIsNone(full.take_now("RS256"))

    def test_a_failure_is_reported_and_the_next_request_tries_again(self) -> None:
        """When a key cannot be made, those who wait get the error; it is logged; nothing spins."""
        source = self.source(threads=1)
        taker = source.take("RS256")
        self.threads.jobs.pop()[1].errback(RuntimeError("no entropy"))
        self.assertIn("log", self.failureResultOf(taker, JwksdError).value.detail)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.threads.jobs, [])
        again = source.take("RS256")
        self.threads.finish_one()
        self.successResultOf(again)

    def test_stopping_refuses_all_and_keeps_nothing(self) -> None:
        """After stop no key is kept, those who wait and those who come are refused."""
        source = self.source(reserve=1, threads=1)
        self.threads.finish_one()
        self.successResultOf(source.take("RS256"))
        waiting = source.take("RS256")
        source.stop()
        self.failureResultOf(waiting, Stopping)
        self.failureResultOf(source.take("RS256"), Stopping)
        while self.threads.jobs:
            self.threads.finish_one()
        self.assertEqual((source.ready("RS256"), len(self.made)), (0, 1))
