"""The servers that are asked: real processes, what they log, and the memory that they hold."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.proofs.fuzz.case import ROTATING, SERVERS, Known, Server
from tests.support.processes import JWKS, Daemon, running

MORE_MEMORY = 64
"""MB that a server may hold at the end beyond what it held after the first requests."""

_ALARM = re.compile(r"Traceback|Unhandled|critical|failed|Error", re.IGNORECASE)
_LINE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[+-][0-9]{4} \[[^\]]+\] ([\x20-\x7e]*)")
"""A line of the log. A client that can write another one can forge what operators read."""

_REQUEST = re.compile(
    r'127\.0\.0\.1 - - \[[^\]]+\] "([^"]* )?[^" ]* [^" ]*" [1-5][0-9][0-9] ([0-9]+|-)'
)
"""What such a line says of a request: the quotation marks are ours alone."""


@dataclass
class Running:
    """A server at work."""

    server: Server
    daemon: Daemon
    before: float = 0.0

    @property
    def port(self) -> int:
        return self.daemon.port

    def memory(self) -> float:
        """Resident, in MB."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text("ascii")
        return int(re.findall(r"VmRSS:\s+([0-9]+) kB", status)[0]) / 1024

    def fetch(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        """The body of an answer that is 200."""
        request = Request(f"{self.daemon.url}{path}", body, method=method)
        with urlopen(request, timeout=30) as answer:
            octets: bytes = answer.read()
        return octets

    def complaints(self) -> Iterator[str]:
        """What is wrong with the server after all that it was asked."""
        if self.daemon.process.poll() is not None:
            yield f"it ended with code {self.daemon.process.returncode}"
            return
        try:
            if self.server.dev:
                self.fetch("/dev?action=reset", "POST", b"")
            self._wait_until_ready()
        except OSError as error:
            yield f"it is not ready: {error}"
        more = self.memory() - self.before
        if more > MORE_MEMORY:
            yield f"it holds {more:.0f} MB more than after the first requests"
        yield from complaints_in(self.daemon.log.read_text("utf-8").split("\n"))

    def _wait_until_ready(self) -> None:
        """Its keys may live for seconds, and another may come only after that."""
        until = time.monotonic() + 10
        while True:
            try:
                self.fetch("/readyz")
                self.fetch("/auth", "POST", b"")
            except HTTPError as error:
                if error.code != 503 or time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return


def complaints_in(lines: Sequence[str]) -> Iterator[str]:
    """What should not be in a log."""
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        if found is None and line:
            yield f"line {number} of its log is none: {line[:300]!r}"
        elif found is not None and _is_alarming(found[1], line):
            yield f"line {number} of its log: {line[:300]}"


def _is_alarming(said: str, line: str) -> bool:
    return not _REQUEST.fullmatch(said) and bool('"' in said or _ALARM.search(line))


@contextmanager
def servers(names: Sequence[str]) -> Iterator[dict[str, Running]]:
    """Start those of these names."""
    with ExitStack() as stack:
        found = {}
        for server in SERVERS:
            if server.name in names:
                folder = stack.enter_context(TemporaryDirectory(prefix="jwksd-fuzz-"))
                daemon = stack.enter_context(running(folder, *server.command_line))
                found[server.name] = Running(server, daemon)
        yield found


def learn(running: dict[str, Running]) -> Known:
    """Tokens of the rotating server, and the kids of its keys."""
    rotating = running.get(ROTATING.name)
    if rotating is None:
        return Known()
    set_ = _first_keys(rotating)
    tokens = []
    for alg in ROTATING.algorithms:
        for claims in (
            {},
            {"sub": "alice", "aud": ["a", "b"], "ünï": [1.5, None]},
            {"token_type": "x", "active": False, "username": "root", "client_id": "evil"},
        ):
            body = {"alg": alg, "lifetime": ROTATING.max_lifetime, "claims": claims}
            tokens.append(_minted(rotating, body))
    return Known(tuple(tokens), frozenset(key["kid"] for key in set_))


def _first_keys(rotating: Running) -> list[dict[str, str]]:
    """The keys of all algorithms, once there are such."""
    until = time.monotonic() + 30
    while True:
        keys: list[dict[str, str]] = json.loads(rotating.fetch(JWKS))["keys"]
        if {key["alg"] for key in keys} >= set(ROTATING.algorithms) or time.monotonic() > until:
            return keys
        time.sleep(0.1)


def _minted(running: Running, body: object) -> str:
    request = Request(
        f"{running.daemon.url}/auth",
        json.dumps(body).encode("utf-8"),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        return str(answer.read().decode("ascii"))
