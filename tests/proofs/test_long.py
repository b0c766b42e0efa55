"""The proof of the fast path, as its command runs it, but shorter; with ``--test-all`` only."""

import subprocess
import sys
from unittest import TestCase

from tests.support.effort import EVERYTHING
from tests.support.processes import CHECKOUT, environment

if EVERYTHING:

    class FastPathProofTests(TestCase):
        def prove(self, *command: str) -> None:
            """Run a proof to its end."""
            ended = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=CHECKOUT,
                env=environment(),
                capture_output=True,
                text=True,
            )
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

        def test_the_fast_path_answers_as_the_ordinary_way_does(self) -> None:
            """In 200,000 requests, and in all that the raw-HTTP suite sends, cut at every octet."""
            proof = "tests.proofs.fastpath"
            self.prove(proof, "--requests", "200000", "--seed", "2", "--processes", "1")
            self.prove(proof, "--raw")
