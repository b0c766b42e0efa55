"""KeySource: keys made and warmed on worker threads, ahead of demand.

The laws of the source:
1. No key is made, checked or first signed with on the reactor thread.
2. At most two jobs are under way for each thread: the one it runs, and the one it takes up next
   without waiting for the reactor to hear of the first. A job makes one RSA key, behind whatever
   else wants the processor. Of a kind that is made in microseconds it makes a batch, or the way
   between the threads would cost more than they, and a thread of their own makes them at once: put
   behind, it would find no time while requests come, and these then wait.
3. Whoever waits longest is served first; whoever gives up leaves the queue at once.
4. While nobody waits, keys are made until the reserve lacks less than one job makes, and then no
   more.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from math import ceil
from threading import get_native_id
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA65PrivateKey,
    MLDSA87PrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from jwksd.errors import JwksdError, Stopping, TooManyWaiting
from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS, Algorithm
from jwksd.jose.keys import KeyPair
from jwksd.jose.signatures import CURVES, Native
from jwksd.waiters import Waiters

T = TypeVar("T")

MakeKeys = Callable[[], list[KeyPair]]
RunInThread = Callable[[MakeKeys], "Deferred[list[KeyPair]]"]

QUICK_RESERVE = 128
"""How many keys are kept ready at the least of a kind that is made in microseconds: what a server
that mints as fast as it can uses up in some milliseconds."""

BATCH = 32
"""How many of them one job makes."""

_KINDS: dict[str, Any] = {
    "Ed25519": Ed25519PrivateKey,
    "Ed448": Ed448PrivateKey,
    "ML-DSA-44": MLDSA44PrivateKey,
    "ML-DSA-65": MLDSA65PrivateKey,
    "ML-DSA-87": MLDSA87PrivateKey,
}

_NICE = 10

_FIRST_GUESS = 0.1
"""Seconds that a key takes, until one has been timed."""


def generate(algorithm: Algorithm, rsa_bits: int) -> KeyPair:
    """A new key, warmed. Blocks for as long as that takes: call it on a worker thread."""
    pair = KeyPair(_private_key(algorithm, rsa_bits), algorithm)
    if not algorithm.is_quick:
        pair.sign(b"the first signature prepares the key, and is thrown away")
    return pair


def _private_key(algorithm: Algorithm, rsa_bits: int) -> Native:
    if algorithm.kty == "RSA":
        return generate_rsa_key(public_exponent=65537, key_size=rsa_bits)
    if algorithm.kty == "EC":
        return generate_ec_key(CURVES[str(algorithm.crv)])
    return _KINDS[algorithm.crv or algorithm.name].generate()


def _in_background(work: Callable[[], T]) -> T:
    """Do it behind whatever else wants the processor, requests above all.

    On Linux a nice value is a thread's own; elsewhere it is of the whole process, and left alone.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)
    return work()


class Threads:
    """Worker threads, so many at the most."""

    def __init__(self, reactor: IReactorFromThreads, count: int, name: str) -> None:
        self.count = count
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=max(1, count), name=name)

    def start(self) -> None:
        """Allow threads to start. Not before a daemon has forked: threads do not survive it."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for what is being done, and end the threads."""
        self._pool.stop()

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        """Call ``work`` on a thread; its result arrives on the reactor's."""
        return deferToThreadPool(self._reactor, self._pool, work)


class KeyThreads(Threads):
    """Those that make keys: as many as there are processors to run them on, in the background."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        super().__init__(reactor, len(os.sched_getaffinity(0)), "keys")

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        return super().run(partial(_in_background, work))


class _Crew:
    """Threads, the lanes that they make keys for, and how many jobs they have."""

    __slots__ = ("jobs", "lanes", "run", "threads")

    def __init__(self, run: RunInThread, threads: int) -> None:
        self.run = run
        self.threads = threads
        self.lanes: list[_Lane] = []
        self.jobs = 0


class _Lane:
    """The keys of one algorithm: those ready, those being made, and who waits for one."""

    __slots__ = ("alg", "batch", "crew", "making", "ready", "reserve", "seconds_per_key", "waiting")

    def __init__(self, alg: str, crew: _Crew, reserve: int, batch: int) -> None:
        self.alg = alg
        self.crew = crew
        crew.lanes.append(self)
        self.reserve = reserve
        self.batch = batch
        self.ready: deque[KeyPair] = deque()
        self.waiting: Waiters[KeyPair] = Waiters()
        self.making = 0
        self.seconds_per_key = _FIRST_GUESS

    @property
    def unserved(self) -> int:
        """How many wait for a key that nobody is making yet."""
        return max(0, len(self.waiting) - self.making)

    @property
    def wanted(self) -> int:
        """How many keys the next job should make, for those who wait and for the reserve."""
        missing = len(self.waiting) + self.reserve - len(self.ready) - self.making
        if missing < min(self.batch, self.reserve) and not self.unserved:
            return 0
        return min(missing, self.batch)

    def give(self, pair: KeyPair) -> None:
        """Hand a new key to whoever waits longest, or put it in the reserve."""
        if self.waiting:
            self.waiting.serve_first(pair)
        else:
            self.ready.append(pair)

    def refuse(self, error: JwksdError) -> None:
        """Let go of every key, and of everyone who waits."""
        self.ready.clear()
        self.waiting.refuse(error)


@implementer(IKeySource)
class KeySource:
    """Fresh key pairs of several algorithms.

    Args:
        algorithms: the names of the algorithms that keys are made for.
        make: makes so many keys for the algorithm of this name, on a worker thread.
        run: calls it there, in the background, for kinds that take long.
        threads: how many such calls can run at once.
        run_quick: calls it on a thread for the other kinds.
        clock: times how long a key takes.
        reserve: how many keys to keep ready, of each algorithm.
        quick_reserve: the same, at the least, of kinds that are made in microseconds.
        max_waiting: how many requests may wait for a key of one algorithm.
    """

    _log = Logger()

    def __init__(
        self,
        algorithms: Iterable[str],
        *,
        make: Callable[[str, int], list[KeyPair]],
        run: RunInThread,
        threads: int,
        run_quick: RunInThread,
        clock: IReactorTime,
        reserve: int,
        max_waiting: int,
        quick_reserve: int = QUICK_RESERVE,
    ) -> None:
        self._make = make
        self._clock = clock
        self._max_waiting = max_waiting
        quick = (_Crew(run_quick, 1), max(reserve, quick_reserve), BATCH)
        slow = (_Crew(run, threads), reserve, 1)
        self._lanes = {
            alg: _Lane(alg, *(quick if ALGORITHMS[alg].is_quick else slow)) for alg in algorithms
        }
        self._stopped = False

    def ready(self, alg: str) -> int:
        """How many keys of this algorithm are ready."""
        return len(self._lanes[alg].ready)

    def waiting(self, alg: str) -> int:
        """How many requests wait for a key of this algorithm."""
        return len(self._lanes[alg].waiting)

    def start(self) -> None:
        """Begin to fill the reserve."""
        for lane in self._lanes.values():
            self._fill(lane.crew)

    def stop(self) -> None:
        """Make no more keys, let go of those in reserve, and refuse whoever waits or comes."""
        self._stopped = True
        for lane in self._lanes.values():
            lane.refuse(Stopping())

    def take_now(self, alg: str) -> KeyPair | None:
        lane = self._lanes[alg]
        if not lane.ready:
            return None
        pair = lane.ready.popleft()
        if lane.wanted:
            self._fill(lane.crew)
        return pair

    def take(self, alg: str) -> "Deferred[KeyPair]":
        if self._stopped:
            return fail(Stopping())
        pair = self.take_now(alg)
        if pair is not None:
            return succeed(pair)
        lane = self._lanes[alg]
        has_room = len(lane.waiting) < self._max_waiting
        taken = lane.waiting.wait() if has_room else fail(self._too_many(lane))
        self._fill(lane.crew)
        return taken

    def _fill(self, crew: _Crew) -> None:
        """Begin as many keys as are missing and threads are free; those waited for come first."""
        while not self._stopped and crew.jobs < 2 * crew.threads:
            lane = max(crew.lanes, key=lambda lane: (lane.unserved, lane.wanted))
            if not lane.wanted:
                return
            self._begin(lane, lane.wanted)

    def _begin(self, lane: _Lane, number: int) -> None:
        lane.making += number
        lane.crew.jobs += 1
        begun = self._clock.seconds()

        def made(result: list[KeyPair] | Failure) -> None:
            lane.making -= number
            lane.crew.jobs -= 1
            if self._stopped:
                return
            if isinstance(result, Failure):
                self._failed(lane, result)
                return
            elapsed = (self._clock.seconds() - begun) / number
            lane.seconds_per_key += (elapsed - lane.seconds_per_key) / 8
            for pair in result:
                lane.give(pair)
            self._fill(lane.crew)

        lane.crew.run(partial(self._make_unless_stopped, lane.alg, number)).addBoth(made)

    def _make_unless_stopped(self, alg: str, number: int) -> list[KeyPair]:
        """On a worker thread: the end does not wait for keys that are not begun."""
        if self._stopped:
            raise Stopping()
        return self._make(alg, number)

    def _failed(self, lane: _Lane, failure: Failure) -> None:
        """Tell those who wait that no key could be made; the next request tries again."""
        self._log.failure("no {alg} key could be made", failure, alg=lane.alg)
        lane.refuse(JwksdError(f"no {lane.alg} key could be made; the log says why"))

    def _too_many(self, lane: _Lane) -> TooManyWaiting:
        wait = max(1, ceil(self._max_waiting * lane.seconds_per_key / lane.crew.threads))
        return TooManyWaiting(self._max_waiting, "a key", wait)
