"""A whole issuer in memory, on a clock that stands until it is advanced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any, TypeVar

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from jwksd import tap
from jwksd.config.settings import IssuerSettings
from jwksd.dev.clock import DevClock
from jwksd.interfaces import IStore
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.rotating import Rotation
from jwksd.issuing.selfcheck import Check, SelfCheck, no_check
from jwksd.lifecycle.plan import Schedule, make_schedule
from jwksd.stores.memory import MemoryStore
from jwksd.tap import Runtime
from jwksd.web.faults import Faults
from jwksd.web.root import Dev, make_root
from tests.support.keys import NOW, KeysInOrder

T = TypeVar("T")


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
    numbers = {row.name: getattr(schedule, row.name) for row in fields(schedule)}
    settings = IssuerSettings(
        policy=policy,
        alg=tuple(algorithms),
        max_keys=max_keys,
        max_waiting=max_waiting,
        store="elsewhere" if schedule.outage else "memory",
        **{**numbers, "lifetime": lifetime},
    )
    runtime = Runtime(
        clock=clock,
        reactor=reactor or Clock(),
        steady=steady or clock.seconds,
        boot="the only one",
        run=run_at_once,
        run_signing=run_signing,
        new_id=lambda: "unused",
    )
    return tap.make_policy(
        settings, runtime, source=source or KeysInOrder(), store=store or MemoryStore(), check=check
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
