"""Workers: loops on threads, stopped together; one that raises is a failure of the run."""

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.proofs.cluster.ledger import Ledger


@contextmanager
def repeating(ledger: Ledger, *rounds: Callable[[], float]) -> Iterator[None]:
    """Call each for ever on a thread of its own; each answers how many seconds to pause."""
    stop = threading.Event()

    def run(one: Callable[[], float]) -> None:
        pause = 0.0
        while not stop.wait(pause):
            try:
                pause = one()
            except Exception:
                ledger.fail(traceback.format_exc())
                return

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in rounds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def all_at_once(work: Callable[[int], None], count: int, threads: int) -> None:
    """Call it with every number below ``count``, on so many threads."""
    numbers = iter(range(count))

    def run() -> None:
        for number in numbers:
            work(number)

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
