"""KeySource: keys made ahead of demand, on worker threads of this process.

The laws of the source:
1. No key is made, checked or first signed with on the reactor thread.
2. Each thread has at most two jobs: the one that it runs, and the next one, which it begins before
   the reactor has taken the result of the first.
3. A job makes one RSA key, on a niced thread: requests come first. Of a kind that is made in
   microseconds a job makes a batch, because the way between the threads costs as much as several
   keys. A thread that is not niced makes these: a niced one would find no time while requests
   come, which then would wait for it.
4. The request that has waited longest is served first. One that gives up leaves the queue at once.
5. While no request waits, jobs are begun until the reserve lacks fewer keys than one job makes.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from math import ceil

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jwksd.errors import JwksdError, Stopping, TooManyWaiting
from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.waiters import Waiters

MakeKeys = Callable[[], list[KeyPair]]
"""A job."""

RunInThread = Callable[[MakeKeys], "Deferred[list[KeyPair]]"]
"""Runs a job on a worker thread; the Deferred fires on the reactor's."""

QUICK_RESERVE = 128
"""The smallest reserve of a kind that is made in microseconds: a busy server uses that many keys in
some milliseconds."""

BATCH = 32
"""How many keys of such a kind one job makes."""

_FIRST_GUESS = 0.1
"""Seconds that making a key is taken to last until one has been timed."""


class _Workers:
    """Threads that make keys, the queues that they serve, and the number of their jobs."""

    __slots__ = ("jobs", "queues", "run", "threads")

    def __init__(self, run: RunInThread, threads: int) -> None:
        self.run = run
        self.threads = threads
        self.queues: list[_Queue] = []
        self.jobs = 0


class _Queue:
    """The keys of one algorithm: those ready, how many are being made, and who waits for one."""

    __slots__ = (
        "alg",
        "batch",
        "making",
        "ready",
        "reserve",
        "seconds_per_key",
        "waiting",
        "workers",
    )

    def __init__(self, alg: str, workers: _Workers, reserve: int, batch: int) -> None:
        self.alg = alg
        self.workers = workers
        workers.queues.append(self)
        self.reserve = reserve
        self.batch = batch
        self.ready: deque[KeyPair] = deque()
        self.waiting: Waiters[KeyPair] = Waiters()
        self.making = 0
        self.seconds_per_key = _FIRST_GUESS

    @property
    def unserved(self) -> int:
        """The number of requests that wait for a key which no job makes yet."""
        return max(0, len(self.waiting) - self.making)

    @property
    def wanted(self) -> int:
        """The number of keys that the next job should make, for requests and for the reserve."""
        missing = len(self.waiting) + self.reserve - len(self.ready) - self.making
        if missing < min(self.batch, self.reserve) and not self.unserved:
            return 0
        return min(missing, self.batch)

    def give(self, pair: KeyPair) -> None:
        """Give a new key to the request that has waited longest, or put it in the reserve."""
        if self.waiting:
            self.waiting.serve_first(pair)
        else:
            self.ready.append(pair)

    def refuse(self, error: JwksdError) -> None:
        """Drop the reserve, and fail every request that waits."""
        self.ready.clear()
        self.waiting.refuse(error)


@implementer(IKeySource)
class KeySource:
    """Fresh key pairs of several algorithms.

    Args:
        algorithms: the names of the algorithms that keys are made for.
        make: given the name of an algorithm and a number, makes so many keys. It blocks.
        run: calls ``make`` on a niced worker thread, for kinds that take long to make.
        threads: how many such calls can run at once.
        run_quick: calls ``make`` on a worker thread for the other kinds.
        clock: times how long a key takes.
        reserve: how many keys of each algorithm to keep ready.
        quick_reserve: the smallest reserve of a kind that is made in microseconds.
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
        quick = (_Workers(run_quick, 1), max(reserve, quick_reserve), BATCH)
        slow = (_Workers(run, threads), reserve, 1)
        self._queues = {
            alg: _Queue(alg, *(quick if ALGORITHMS[alg].is_quick else slow)) for alg in algorithms
        }
        self._stopped = False

    def ready(self, alg: str) -> int:
        """Return the number of keys of this algorithm that are ready."""
        return len(self._queues[alg].ready)

    def waiting(self, alg: str) -> int:
        """Return the number of requests that wait for a key of this algorithm."""
        return len(self._queues[alg].waiting)

    def start(self) -> None:
        """Begin to fill the reserve."""
        for queue in self._queues.values():
            self._fill(queue.workers)

    def stop(self) -> None:
        """Make no more keys, drop the reserve, and fail every request, waiting or to come."""
        self._stopped = True
        for queue in self._queues.values():
            queue.refuse(Stopping())

    def take_now(self, alg: str) -> KeyPair | None:
        queue = self._queues[alg]
        if not queue.ready:
            return None
        pair = queue.ready.popleft()
        if queue.wanted:
            self._fill(queue.workers)
        return pair

    def take(self, alg: str) -> "Deferred[KeyPair]":
        if self._stopped:
            return fail(Stopping())
        pair = self.take_now(alg)
        if pair is not None:
            return succeed(pair)
        queue = self._queues[alg]
        has_room = len(queue.waiting) < self._max_waiting
        taken = queue.waiting.wait() if has_room else fail(self._too_many(queue))
        self._fill(queue.workers)
        return taken

    def _fill(self, workers: _Workers) -> None:
        """Begin jobs while keys are missing and threads are free, for waiting requests first."""
        while not self._stopped and workers.jobs < 2 * workers.threads:
            queue = max(workers.queues, key=lambda queue: (queue.unserved, queue.wanted))
            if not queue.wanted:
                return
            self._begin(queue, queue.wanted)

    def _begin(self, queue: _Queue, number: int) -> None:
        queue.making += number
        queue.workers.jobs += 1
        begun = self._clock.seconds()

        def made(result: list[KeyPair] | Failure) -> None:
            queue.making -= number
            queue.workers.jobs -= 1
            if self._stopped:
                return
            if isinstance(result, Failure):
                self._failed(queue, result)
                return
            elapsed = (self._clock.seconds() - begun) / number
            queue.seconds_per_key += (elapsed - queue.seconds_per_key) / 8
            for pair in result:
                queue.give(pair)
            self._fill(queue.workers)

        queue.workers.run(partial(self._make_unless_stopped, queue.alg, number)).addBoth(made)

    def _make_unless_stopped(self, alg: str, number: int) -> list[KeyPair]:
        """Run one job, on a worker thread; none after ``stop``, which would wait for it."""
        if self._stopped:
            raise Stopping()
        return self._make(alg, number)

    def _failed(self, queue: _Queue, failure: Failure) -> None:
        """Fail the requests that wait for this algorithm; the next request begins a new job."""
        self._log.failure("no {alg} key could be made", failure, alg=queue.alg)
        queue.refuse(JwksdError(f"no {queue.alg} key could be made; the log says why"))

    def _too_many(self, queue: _Queue) -> TooManyWaiting:
        wait = max(1, ceil(self._max_waiting * queue.seconds_per_key / queue.workers.threads))
        return TooManyWaiting(self._max_waiting, "a key", wait)
