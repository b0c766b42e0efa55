"""A real daemon of its own process."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.keys import assert_public

CHECKOUT = Path(__file__).resolve().parent.parent.parent


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
