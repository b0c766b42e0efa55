"""The composition: options in, one service out. Here, and only here, everything is put together.

``twistd`` finds ``Options`` and ``makeService`` here by their names.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime

from jwksd.config.commandline import Options
from jwksd.config.secretfiles import read_keychain
from jwksd.config.settings import IssuerSettings, ServerSettings, Settings
from jwksd.dev.clock import DevClock
from jwksd.dev.faults import Faults
from jwksd.errors import StartUpRefused
from jwksd.interfaces import IKeySource, IStore, IThreadReactor
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.policies import make_policy
from jwksd.issuing.rotating import Rotating
from jwksd.issuing.selfcheck import Check, SelfCheck
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.keysources.generating import generate
from jwksd.keysources.local import QUICK_RESERVE, KeySource
from jwksd.keysources.threads import KeyThreads, Threads
from jwksd.logs import unblocked
from jwksd.service import Daemon, KeyService
from jwksd.signals import StopSignals, UnusedSignals
from jwksd.stores.opening import make_store
from jwksd.web.endpoints.addresses import NamedEndpoint, described, tcp, why_local_only
from jwksd.web.endpoints.descriptors import make_room
from jwksd.web.endpoints.listener import Listener, base_url, is_loopback
from jwksd.web.http.admission import Admission, host_names, origin_of
from jwksd.web.http.connections import MAX_CONNECTIONS
from jwksd.web.http.site import Site
from jwksd.web.root import Dev, Root, make_root

__all__ = ["Options", "Runtime", "makeService", "make_daemon", "make_issuer"]

T = TypeVar("T")


class Run(Protocol):
    """Calls a function on a worker thread; its result arrives on the reactor's."""

    def __call__(self, work: Callable[[], T], /) -> "Deferred[T]": ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an issuer needs of the process that it is in.

    Args:
        clock: the wall clock of tokens and keys.
        reactor: real time, for timers that no clock of a developer moves.
        steady: seconds that have really passed, from any origin.
        boot: which start of the machine ``steady`` counts from.
        run: calls a function on a thread of low priority, as RSA keys are made.
        run_signing: signs with slow keys on a thread; None signs with them on the reactor's.
        new_id: returns a fresh ``jti`` at each call.
    """

    clock: IReactorTime
    reactor: IReactorTime
    steady: Callable[[], float]
    boot: str
    run: Run
    run_signing: Run | None
    new_id: Callable[[], str]


def makeService(options: Options, reactor: Any = None, clock: IReactorTime | None = None) -> Daemon:
    """Return the server that the options describe, not started yet; see ``make_daemon``.

    Raises:
        StartUpRefused: what the options need is not there.
    """
    if reactor is None:
        from twisted.internet import reactor
    daemon = make_daemon(options.settings, reactor, clock)
    if options.parent is not None:  # the process is twistd's
        # twistd logs there, unless it is told a file. It looks after this call.
        sys.stdout = unblocked(sys.stdout, reactor)
        UnusedSignals().setServiceParent(daemon)
    return daemon


def make_daemon(settings: Settings, reactor: Any, clock: IReactorTime | None = None) -> Daemon:
    """Return the server of these settings, not started yet.

    Args:
        settings: the values of all options.
        reactor: on which it runs.
        clock: the wall clock of tokens and keys, and the steady one too; None takes the reactor's,
            and the machine's steady clock.

    Raises:
        StartUpRefused: what the settings need is not there.
    """
    server = settings.server
    workers = _Workers(server, reactor)
    runtime, dev = _make_runtime(server, reactor, clock, workers)
    source = _make_source(settings.issuer, reactor, workers)
    store = _make_store(settings.issuer, reactor)
    site = Site(Root(), reactor, dev=server.dev, access_log=not server.no_access_log)

    def build(addresses: Sequence[IAddress]) -> KeyService:
        name = settings.issuer.name or _default_name(addresses)
        issuer = make_issuer(settings.issuer, runtime, name=name, source=source, store=store)
        site.resource = make_root(issuer, dev)
        site.connections.bound = make_room(server.max_connections, MAX_CONNECTIONS)
        site.admission = _admission(server, name, addresses)
        return KeyService(reactor, workers.all, source, issuer)

    daemon = Daemon(_make_listener(server, reactor, site), build, dev=server.dev)
    StopSignals(reactor).setServiceParent(daemon)
    return daemon


def make_issuer(
    settings: IssuerSettings, runtime: Runtime, *, name: str, source: IKeySource, store: IStore
) -> Issuer:
    """Return the issuer of these settings, with its key policy and its self-check.

    Args:
        settings: what it signs, with which keys, for how long.
        runtime: what it needs of the process.
        name: its URL, the ``iss`` of tokens.
        source: where its keys come from.
        store: where its keys are kept.
    """
    self_check = SelfCheck(runtime.reactor, runtime.run)
    return Issuer(
        clock=runtime.clock,
        source=source,
        policy=_make_policy(settings, runtime, source, store, self_check.check),
        name=name,
        algorithms=settings.alg,
        lifetime=settings.lifetime,
        max_lifetime=settings.max_lifetime,
        new_id=runtime.new_id,
        self_check=self_check,
    )


def _make_policy(
    settings: IssuerSettings, runtime: Runtime, source: IKeySource, store: IStore, check: Check
) -> PerToken | Rotating:
    return make_policy(
        clock=runtime.clock,
        reactor=runtime.reactor,
        steady=runtime.steady,
        boot=runtime.boot,
        source=source,
        store=store,
        check=check,
        schedule=settings.schedule() if settings.is_rotating else None,
        algorithms=settings.alg,
        lifetime=settings.lifetime,
        max_keys=settings.max_keys,
        max_waiting=settings.max_waiting,
        run_signing=runtime.run_signing,
    )


def seconds_since_boot() -> float:
    """Return the seconds since the machine started, those that it slept through included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Workers:
    """The threads of a server."""

    def __init__(self, server: ServerSettings, reactor: Any) -> None:
        self.keys = KeyThreads(reactor)
        self.quick = Threads(reactor, 1, "quick keys")
        self.signing = Threads(reactor, server.signing_threads, "signing")
        self.all = [self.keys, self.quick, self.signing]


def _make_runtime(
    server: ServerSettings, reactor: Any, clock: IReactorTime | None, workers: _Workers
) -> tuple[Runtime, Dev | None]:
    """Return what issuers need of this process, and with ``--dev`` what ``/dev`` works on."""
    steady = seconds_since_boot if clock is None else clock.seconds
    wall = reactor if clock is None else clock
    dev = Dev(DevClock(wall, steady), Faults(reactor)) if server.dev else None
    runtime = Runtime(
        clock=dev.clock if dev else wall,
        reactor=reactor,
        steady=dev.clock.steady if dev else steady,
        boot=_boot(),
        run=workers.keys.run,
        run_signing=workers.signing.run if server.signing_threads else None,
        new_id=lambda: str(uuid4()),
    )
    return runtime, dev


def _boot() -> str:
    """Return which start of the machine this is; where nobody knows, a name of this process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return str(uuid4())


def _make_source(settings: IssuerSettings, reactor: Any, workers: _Workers) -> KeySource:
    rotating = settings.is_rotating
    return KeySource(
        settings.alg,
        make=partial(_make_keys, rsa_bits=settings.rsa_bits),
        run=workers.keys.run,
        threads=workers.keys.count,
        run_quick=workers.quick.run,
        clock=reactor,
        # Where one key signs for long, a second one at hand is enough.
        reserve=min(1, settings.reserve) if rotating else settings.reserve,
        quick_reserve=0 if rotating else QUICK_RESERVE,
        max_waiting=settings.max_waiting,
    )


def _make_keys(alg: str, number: int, rsa_bits: int) -> list[KeyPair]:
    return [generate(ALGORITHMS[alg], rsa_bits) for _ in range(number)]


def _make_store(settings: IssuerSettings, reactor: IThreadReactor) -> IStore:
    memory = settings.store == "memory"
    keychain = None if memory else read_keychain(settings.kek_file, os.environ)
    return make_store(settings.store, keychain, reactor, private_keys=settings.is_rotating)


def _make_listener(server: ServerSettings, reactor: Any, site: Site) -> Listener:
    local_only = why_local_only(
        remote_minting=server.allow_remote_minting,
        dev=server.dev,
        remote_dev=server.allow_remote_dev,
    )
    return Listener(_endpoints(server, reactor), site, local_only=local_only)


def _endpoints(server: ServerSettings, reactor: Any) -> list[NamedEndpoint]:
    if server.listen:
        return described(reactor, server.listen)
    return tcp(reactor, server.interface, server.port, reuse_port=server.reuse_port)


def _default_name(addresses: Sequence[IAddress]) -> str:
    """Return the issuer URL of a server that is given none: of localhost and its first port."""
    for address in addresses:
        url = base_url(address)
        if url is not None:
            return f"{url.partition(':')[0]}://localhost:{url.rpartition(':')[2]}"
    raise StartUpRefused("no --listen has a port to make the issuer URL of: give --issuer")


def _admission(server: ServerSettings, issuer: str, addresses: Sequence[IAddress]) -> Admission:
    """Return what is let in by a server with this issuer URL, listening there."""
    hosts = [getattr(address, "host", None) for address in addresses]
    local = all(is_loopback(host) for host in hosts if host is not None)
    own = origin_of(issuer)
    allowed = [name.encode("ascii") for name in server.allowed_host]
    return Admission(
        check_host=local or server.dev or bool(allowed),
        hosts=host_names([own.partition(b"://")[2], *allowed]),
        issuer=own,
        cors_origins=frozenset(map(origin_of, server.cors_origin)),
    )
