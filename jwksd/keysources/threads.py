"""Worker threads: those for any work, and those of low priority that make keys."""

import os
import sys
from collections.abc import Callable
from functools import partial
from threading import get_native_id
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")

NICE = 10
"""The nice value of threads that make keys: requests, which have 0, get the processor first."""


class Threads:
    """At most ``count`` worker threads, which start when there is work."""

    def __init__(self, reactor: IReactorFromThreads, count: int, name: str) -> None:
        self.count = count
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=max(1, count), name=name)

    def start(self) -> None:
        """Allow threads to start. Call it after a daemon has forked: threads do not survive it."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for the work in progress, and end the threads."""
        self._pool.stop()

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        """Call ``work`` on a thread; the Deferred fires with its result on the reactor's."""
        return deferToThreadPool(self._reactor, self._pool, work)


class KeyThreads(Threads):
    """Threads that make keys: one for each processor that this process may use, niced on Linux."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        super().__init__(reactor, len(os.sched_getaffinity(0)), "keys")

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        return super().run(partial(_in_background, work))


def _in_background(work: Callable[[], T]) -> T:
    """Nice this thread, then do the work.

    On Linux a thread has a nice value of its own. Elsewhere the whole process has one, which is
    left alone.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)
    return work()
