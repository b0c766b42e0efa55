"""All that the raw-HTTP suite sends, to both sites: as it is sent there, twice, and in pieces."""

from functools import cache
from unittest import TestCase

from tests.proofs.fastpath.recorded import Streams, record, replay_all
from tests.support.effort import pick


@cache
def recorded() -> Streams:
    """Run the suite once."""
    return record()


class RawRequestTests(TestCase):
    def test_the_suite_passes_on_both_sites_at_once(self) -> None:
        """Every answer that it gets is that of the fast path and that of the ordinary path."""
        result, streams = recorded()
        for test, text in [*result.failures, *result.errors]:
            self.fail(f"{test}\n{text}")
        self.assertGreaterEqual(result.testsRun, 70)
        self.assertGreater(len(streams), 800)

    def test_whole_twice_and_in_pieces(self) -> None:
        """Each of them, however it is cut; ``tests.proofs.fastpath --raw`` cuts at every octet."""
        counts = replay_all(recorded()[1], every=pick(36, 9))
        self.assertGreater(counts["streams"], 600)
        self.assertGreater(counts["cuts"], pick(1_250, 5_000))
        self.assertGreater(counts["through the fast path"], 300)
