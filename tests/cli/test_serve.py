"""``jwksd serve``: how the process ends where the reactor has not begun to run."""

import signal
from unittest import TestCase
from unittest.mock import patch

from jwksd.cli.serve import run
from jwksd.config.settings import read_settings


class InterruptTests(TestCase):
    def test_an_interrupted_start_ends_as_shells_expect(self) -> None:
        """With 128 and the number of the signal, and without a traceback."""
        with (
            patch("jwksd.tap.make_daemon", side_effect=KeyboardInterrupt),
            patch("jwksd.signals.ignore_unhandled"),
            patch("jwksd.signals.HangUp"),
            self.assertRaises(SystemExit) as caught,
        ):
            run(read_settings({}, None))
        self.assertEqual(caught.exception.code, 128 + signal.SIGINT)
        self.assertEqual(caught.exception.code, 130)
