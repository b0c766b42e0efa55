"""What the tests share: keys that cost nothing, an issuer on a fake clock, and a real daemon."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from jwcrypto.jwk import JWK
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jwksd.dev.clock import DevClock
from jwksd.interfaces import IKeySource, IStore
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.rotating import Rotation
from jwksd.issuing.selfcheck import Check, SelfCheck, no_check
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle.plan import Schedule, make_schedule
from jwksd.stores.memory import MemoryStore
from jwksd.web.faults import Faults
from jwksd.web.root import Dev, make_root

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parent.parent
NOW = 1_800_000_000
"""Where the fake clock starts, a NumericDate."""

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


_PRIVATE = re.compile(
    rb'\\*["\'](' + "|".join(sorted(PRIVATE_MEMBERS)).encode() + rb""")\\*["']\s*:|PRIVATE KEY"""
)


def assert_public(octets: bytes, where: str) -> None:
    """No member of a private JWK, however quoted, and no PEM of one."""
    found = _PRIVATE.search(octets)
    assert found is None, f"{where} holds {found[0] if found else b''!r}"


@cache
def private_jwk(number: int) -> JWK:
    """An RSA key; the same one in all of a test run for the same number."""
    private = JWK.generate(kty="RSA", size=2048)
    private.unsafe_skip_rsa_key_validation = True
    return private


def key_pair(number: int = 0) -> KeyPair:
    """A fresh pair around ``private_jwk``."""
    return KeyPair.of_jwk(private_jwk(number), ALGORITHMS["RS256"])


@implementer(IKeySource)
class KeysInOrder:
    """A source that answers at once, with ``key_pair(0)``, ``key_pair(1)`` and so on."""

    def __init__(self) -> None:
        self._numbers = count()

    def take_now(self, alg: str) -> KeyPair | None:
        return key_pair(next(self._numbers))

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return succeed(self.take_now(alg))


class NothingReady:
    """The half of a source in which every key has to be waited for."""

    def take_now(self, alg: str) -> KeyPair | None:
        """None, always."""
        return None


@dataclass
class App:
    """A whole issuer in memory: its clock stands until it is advanced."""

    clock: Clock
    issuer: Issuer
    client: StubTreq
    self_check_clock: Clock


def run_at_once(work: Callable[[], T]) -> "Deferred[T]":
    """In place of worker threads."""
    return maybeDeferred(work)


SCHEDULE = make_schedule(
    rotation_interval=86_400,
    propagation=10_000,
    max_age=1000,
    clock_skew=60,
    max_lifetime=7200,
)
"""A rotation a day, with round numbers."""


def make_policy(
    clock: IReactorTime,
    source: Any = None,
    *,
    reactor: IReactorTime | None = None,
    steady: Callable[[], float] | None = None,
    store: IStore | None = None,
    run_signing: Any = None,
    check: Check = no_check,
    policy: str = "per-token",
    algorithms: Sequence[str] = ("RS256",),
    lifetime: int = 3600,
    max_keys: int = 10_000,
    max_waiting: int = 256,
    schedule: Schedule = SCHEDULE,
) -> PerToken | Rotation:
    """A key policy with the default settings, save for the changes."""
    source = source or KeysInOrder()
    reactor = reactor or Clock()
    store = store or MemoryStore()
    if policy == "rotating":
        return Rotation(
            clock=clock,
            reactor=reactor,
            steady=steady or clock.seconds,
            boot="the only one",
            source=source,
            store=store,
            algorithms=algorithms,
            schedule=schedule,
            max_waiting=max_waiting,
            run_signing=run_signing,
            check=check,
        )
    return PerToken(
        clock=clock,
        reactor=reactor,
        source=source,
        store=store,
        lifetime=lifetime,
        max_keys=max_keys,
        check=check,
    )


def make_issuer(
    clock: IReactorTime,
    source: Any = None,
    *,
    name: str = "http://localhost:8080",
    new_id: Callable[[], str] | None = None,
    self_check: SelfCheck | None = None,
    max_lifetime: int | None = None,
    **changes: Any,
) -> Issuer:
    """An issuer with the default settings, save for the changes."""
    numbers = count()
    source = source or KeysInOrder()
    self_check = self_check or SelfCheck(Clock(), run_at_once)
    policy = make_policy(clock, source, check=self_check.check, **changes)
    rotating = changes.get("policy") == "rotating"
    if max_lifetime is None:
        max_lifetime = changes.get("schedule", SCHEDULE).max_lifetime if rotating else 86_400
    return Issuer(
        clock=clock,
        source=source,
        policy=policy,
        name=name,
        algorithms=changes.get("algorithms", ["RS256"]),
        lifetime=changes.get("lifetime", 3600),
        max_lifetime=max_lifetime,
        new_id=new_id or (lambda: f"id-{next(numbers)}"),
        self_check=self_check,
    )


def make_app(*, dev: bool = False, source: Any = None, **changes: Any) -> App:
    """An issuer behind the real resource tree, driven in memory by ``app.client``."""
    clock = Clock()
    clock.advance(NOW)
    surface = Dev(DevClock(clock), Faults(clock)) if dev else None
    if surface is not None:
        changes["steady"] = surface.clock.steady
    real = Clock()
    self_check = SelfCheck(real, run_at_once)
    issuer = make_issuer(
        surface.clock if surface else clock, source, self_check=self_check, **changes
    )
    return App(clock, issuer, StubTreq(make_root(issuer, surface)), real)


class HttpTestCase(SynchronousTestCase):
    """A whole issuer, driven over HTTP in memory."""

    app: App

    def setUp(self) -> None:
        self.app = make_app(dev=True)
        logged: list[Any] = []
        observe = logged.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(self.check_log, logged, observe)

    def check_log(self, logged: list[Any], observe: ILogObserver) -> None:
        """Nothing private was logged, whatever the test did."""
        globalLogPublisher.removeObserver(observe)
        for event in logged:
            assert_public(eventAsText(event).encode(), "the log")

    def request(self, method: str, path: str, **arguments: Any) -> tuple[Any, bytes]:
        """The response and its whole body."""
        response = self.successResultOf(
            self.app.client.request(method, "http://localhost:8080" + path, **arguments)
        )
        body = self.successResultOf(response.content())
        assert_public(body, f"the answer to {method} {path}")
        return response, body

    def header(self, response: Any, name: str) -> str | None:
        values = response.headers.getRawHeaders(name)
        return None if values is None else ", ".join(values)

    def assert_problem(self, response: Any, body: bytes, status: int, slug: str) -> Any:
        self.assertEqual(response.code, status)
        self.assertEqual(self.header(response, "content-type"), "application/problem+json")
        problem = json.loads(body)
        self.assertEqual(set(problem), {"type", "title", "status", "detail"})
        self.assertEqual(problem["type"], f"urn:jwksd:problem:{slug}")
        self.assertEqual(problem["status"], status)
        return problem


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
