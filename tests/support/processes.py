"""Real processes: a daemon of its own, whatever a test starts, and requests to them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from unittest import TestCase

from tests.support.keys import assert_public

CHECKOUT = Path(__file__).resolve().parent.parent.parent

MAIN = [sys.executable, str(CHECKOUT / "main.py")]

WAIT = 30
"""Seconds after which a process that should have ended or answered is killed."""

JWKS = "/.well-known/jwks.json"


@dataclass
class Daemon:
    """A running jwksd of its own process."""

    process: "subprocess.Popen[str]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment() -> dict[str, str]:
    """The environment of a child process: ours, without any option of jwksd."""
    return {name: text for name, text in os.environ.items() if not name.startswith("JWKSD_")}


@contextmanager
def running(folder: str, *arguments: str) -> Iterator[Daemon]:
    """A jwksd on a free port, stopped and reaped at the end; its log is kept in the folder."""
    log = Path(folder) / "daemon.log"
    port = [] if "--port" in arguments else ["--port", "0"]
    command = [sys.executable, "-m", "jwksd", "serve", *port, *arguments]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        match = re.search(r":([0-9]+)(;|$)", first)
        assert match is not None, (first, log.read_text())
        yield Daemon(process, int(match[1]), log)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        assert_public(log.read_bytes(), "the log")


class ProcessTestCase(TestCase):
    """A folder, and processes that end with the test."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        # Children inherit what is ignored: SIGINT in the background of a shell, SIGHUP under nohup.
        for number, usual in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGHUP, signal.SIG_DFL),
        ):
            self.addCleanup(signal.signal, number, signal.signal(number, usual))

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        """A process; it is killed after ``WAIT`` seconds, so no read from it blocks longer."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        timer = Timer(WAIT, process.kill)
        timer.daemon = True
        timer.start()
        self.addCleanup(timer.cancel)
        return process

    def serve(self, *arguments: str, **variables: str) -> tuple["subprocess.Popen[str]", int]:
        """``main.py`` on a free port, which makes keys on demand only; and the port."""
        process = self.start(*MAIN, "--port", "0", "--reserve", "0", *arguments, **variables)
        return process, port_in(process.stdout.readline())

    def stop(
        self, process: "subprocess.Popen[str]", number: int = signal.SIGTERM
    ) -> tuple[int, str]:
        """Send a signal; the exit code, and all that the process has said."""
        process.send_signal(number)
        output = "".join(process.communicate())
        self.assertNotIn("Traceback", output)
        return process.returncode, output

    def connect(self, port: int) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT)
        self.addCleanup(connection.close)
        return connection


def port_in(text: str) -> int:
    """The port in the first URL of a text."""
    match = re.search(r"http://[^ ]+:([0-9]+)", text)
    assert match is not None, text
    return int(match[1])


def ask(connection: HTTPConnection, method: str, path: str) -> tuple[int, bytes]:
    """Status and body; the connection stays open."""
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def mint(connection: HTTPConnection) -> dict[str, object]:
    """A new token, as JSON."""
    connection.request("POST", "/auth", headers={"Accept": "application/json"})
    minted: dict[str, object] = json.loads(connection.getresponse().read())
    return minted


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
