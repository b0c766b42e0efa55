"""Daemon: a jwksd of its own process that can be killed at any moment, also while it starts."""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.proofs.crash.violation import Violation
from tests.support.processes import CHECKOUT, environment

PATIENCE = 30
"""Seconds until a server that says nothing is taken for one that hangs."""


class Daemon:
    """One process; what it logs is added to a file."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.port = 0

    @classmethod
    async def spawn(cls, log: Path, *arguments: str) -> "Daemon":
        """A process that begins to start; nothing is known of it yet."""
        command = [sys.executable, "-m", "jwksd", "serve", "--port", "0", *arguments]
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=CHECKOUT, env=environment(), stdout=PIPE, stderr=stderr
            )
        return cls(process, log)

    async def ready(self) -> None:
        """Wait until it listens.

        Raises:
            Violation: it ends instead, or does neither.
        """
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        except TimeoutError:
            raise Violation("the server neither starts nor ends") from None
        match = re.search(rb":([0-9]+)(;|$)", line)
        if match is None:
            await self._wait()
            raise self._ended("the server does not start")
        self.port = int(match[1])

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL.

        Raises:
            Violation: it had ended by itself.
        """
        if not self.alive:
            raise self._ended("the server ended by itself")
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait for an end in order."""
        self._process.terminate()
        if await self._wait() != 0:
            raise self._ended("the server does not end in order")

    async def reap(self) -> None:
        """Whatever state it is in, it is gone after this."""
        if self.alive:
            self._process.kill()
        await self._process.wait()

    async def key_set(self) -> dict[str, Any]:
        """The keys that it publishes, by kid."""
        url = f"http://127.0.0.1:{self.port}/.well-known/jwks.json"
        body = await asyncio.to_thread(_fetch, url)
        return {key["kid"]: key for key in json.loads(body)["keys"]}

    def _ended(self, how: str) -> Violation:
        last = self._log.read_text().splitlines()[-1:]
        return Violation(f"{how}: exit {self._process.returncode}, {' '.join(last)}")

    async def _wait(self) -> int:
        try:
            return await asyncio.wait_for(self._process.wait(), PATIENCE)
        except TimeoutError:
            raise Violation("the server does not end") from None


def _fetch(url: str) -> bytes:
    with urlopen(url, timeout=PATIENCE) as response:
        body: bytes = response.read()
    return body
