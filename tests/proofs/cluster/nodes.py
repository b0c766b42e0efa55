"""Nodes: daemons that are killed and started again, and the load balancer before them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template

from tests.proofs.cluster.client import Client, Unreachable
from tests.support.keys import assert_public
from tests.support.processes import CHECKOUT, environment, free_port

START = 20
"""Seconds that a node may take until it is ready."""


class Node:
    """One jwksd on a port of its own. ``up_since`` is infinite while it is down."""

    def __init__(self, number: int, folder: Path, options: Sequence[str]) -> None:
        self.name = f"node {number}"
        self.port = free_port()
        self.up_since = float("inf")
        self._log = folder / f"node-{number}.log"
        self._options = [*options, "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_up(self) -> bool:
        return self.up_since < time.time()

    @property
    def log(self) -> str:
        """All that it has written, over all its starts."""
        return self._log.read_text()

    def start(self) -> None:
        """Start it; ``await_ready`` waits."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jwksd", "serve", *self._options],
                cwd=CHECKOUT,
                env=environment(),
                stdout=log,
                stderr=log,
            )

    def await_ready(self) -> None:
        """Wait until ``/readyz`` says so.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        client, deadline = Client(), time.monotonic() + START
        while not self._is_ready(client):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start: {self.log[-2000:]}")
            time.sleep(0.02)
        self.up_since = time.time()

    def _is_ready(self, client: Client) -> bool:
        try:
            return client.get(self.port, "/readyz").status == 200
        except Unreachable:
            return False

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and what it logged holds nothing private."""
        self._end(signal.SIGTERM)
        assert_public(self._log.read_bytes(), f"the log of {self.name}")

    def _end(self, number: int) -> None:
        self.up_since = float("inf")
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)
            self._process = None


@contextmanager
def nodes(count: int, folder: Path, *options: str) -> Iterator[list[Node]]:
    """So many nodes, started in one moment and ready."""
    made = [Node(number, folder, options) for number in range(1, count + 1)]
    with ExitStack() as stack:
        for node in made:
            stack.callback(node.stop)
            node.start()
        for node in made:
            node.await_ready()
        yield made


def new_kek(folder: Path) -> str:
    """The name of a file with a key-encryption key."""
    file = folder / "kek"
    command = [sys.executable, "-m", "jwksd", "kek", "new"]
    made = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, check=True)
    file.touch(0o600)
    file.write_bytes(made.stdout)
    return str(file)


def find_nginx() -> str | None:
    """The program, or None where it is not installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def balancer(folder: Path, behind: Sequence[Node]) -> Iterator[int]:
    """The port of an nginx of its own before the nodes."""
    program, port = find_nginx(), free_port()
    assert program is not None, "nginx is not installed"
    servers = " ".join(f"server 127.0.0.1:{node.port} max_fails=0;" for node in behind)
    template = Template((Path(__file__).parent / "nginx.conf").read_text())
    file = folder / "nginx.conf"
    file.write_text(template.substitute(FOLDER=folder, SERVERS=servers, PORT=port))
    process = subprocess.Popen([program, "-p", folder, "-c", file], stderr=subprocess.DEVNULL)
    try:
        _await_answer(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def _await_answer(process: "subprocess.Popen[bytes]", port: int) -> None:
    client = Client()
    while process.poll() is None:
        try:
            client.get(port, "/healthz")
        except Unreachable:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("nginx does not start")
