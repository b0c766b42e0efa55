"""docs/scaling.md: its loop of several processes is run as it is written, on SQLite."""

import os
import re
import signal
import socket
import subprocess
import time
from configparser import ConfigParser
from pathlib import Path
from unittest import TestCase

from jwksd.config.options import OPTIONS
from tests.support.keys import assert_public
from tests.support.processes import CHECKOUT, free_port
from tests.test_operations import Story, get, kids, story

TEXT = (CHECKOUT / "docs" / "scaling.md").read_text("utf-8")
PROCESSES = 4


def block(language: str) -> str:
    """The first block of a language."""
    match = re.search(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert match is not None, language
    return match[1]


class LoopTests(TestCase):
    def test_the_loop_makes_several_processes_one_server(self) -> None:
        """All start, share port and keys, publish what any of them signs with, and end in order."""
        port = free_port()
        script = block("bash").replace("8080", str(port))
        self.assertNotEqual(script, block("bash"))
        with story() as told:
            log = told.folder / "loop.log"
            loop = self.start(told, script, log)
            try:
                self.wait_for(log, "listens on", PROCESSES)
                self.wait_for_agreement(port)
                for _ in range(20):
                    self.assertEqual(get(port, "/auth", "POST")[0], 200)
            finally:
                os.killpg(loop.pid, signal.SIGTERM)
                loop.wait(timeout=60)
            self.wait_until_free(port)
            self.assertNotIn("Traceback", log.read_text())
            assert_public(log.read_bytes(), "the log")

    def start(self, told: Story, script: str, log: Path) -> "subprocess.Popen[str]":
        """The loop, in a process group of its own."""
        with log.open("w") as output:
            return subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=told.folder,
                env=told.environment,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def wait_for(self, log: Path, what: str, times: int) -> None:
        """Until a log has a text so often."""
        deadline = time.monotonic() + 60
        while log.read_text().count(what) < times:
            self.assertLess(time.monotonic(), deadline, log.read_text())
            time.sleep(0.05)

    def wait_for_agreement(self, port: int) -> None:
        """Until twenty connections in a row find the same keys."""
        deadline = time.monotonic() + 30
        while len(sets := {tuple(kids(port)) for _ in range(20)}) > 1 or () in sets:
            self.assertLess(time.monotonic(), deadline, sets)
            time.sleep(0.1)

    def wait_until_free(self, port: int) -> None:
        """Until nobody listens any more."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return
            time.sleep(0.05)
        self.fail("somebody listens still")


class UnitTests(TestCase):
    def test_the_template_is_one(self) -> None:
        """It reads as a unit, restarts what fails, and its command has options that exist."""
        unit = ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(block("ini"))
        self.assertEqual(unit.sections(), ["Unit", "Service", "Install"])
        used = re.findall(r"--([a-z-]+)", unit["Service"]["ExecStart"])
        self.assertLessEqual(set(used), {option.name for option in OPTIONS} | {"config"})
        self.assertEqual(unit["Service"]["Restart"], "on-failure")
