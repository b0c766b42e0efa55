"""Worker threads: work is done on them, by those that make keys behind everything else."""

import os
import sys
from threading import current_thread, get_native_id, main_thread
from unittest import skipUnless

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from jwksd.keysources.threads import NICE, KeyThreads, Threads


def nice_value() -> int:
    """The nice value of the thread that asks; on Linux each has its own."""
    return os.getpriority(os.PRIO_PROCESS, get_native_id())


class ThreadsTests(TestCase):
    def start(self, threads: Threads) -> Threads:
        threads.start()
        self.addCleanup(threads.stop)
        return threads

    async def test_work_is_done_on_other_threads(self) -> None:
        """Work runs on a thread that is not the reactor's, and its result comes back to that."""
        for threads in (Threads(reactor, 1, "any"), KeyThreads(reactor)):
            seen = await self.start(threads).run(current_thread)
            self.assertIsNot(seen, main_thread())
            self.assertIs(current_thread(), main_thread())

    @skipUnless(sys.platform == "linux", "a nice value is the whole process's")
    async def test_only_threads_that_make_keys_are_niced(self) -> None:
        """They run at the nice value of 10; other workers and the reactor's thread at their own."""
        before = nice_value()
        self.assertLess(before, NICE)
        self.assertEqual(await self.start(KeyThreads(reactor)).run(nice_value), 10)
        self.assertEqual(await self.start(Threads(reactor, 1, "any")).run(nice_value), before)
        self.assertEqual(nice_value(), before)
