"""The composition: options in, one service out. Here, and only here, everything is put together.

Nothing is started before ``startService``: twistd may fork in between, and neither threads nor
what they hold would survive it.
"""

import os
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import (
    IAddress,
    IReactorTCP,
    IStreamServerEndpoint,
)
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python import usage

from jwksd import __version__
from jwksd.config.settings import OPTIONS, Option, Settings, resolve
from jwksd.dev.clock import DevClock
from jwksd.dev.faults import Faults
from jwksd.errors import StartUpRefused
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.policies import make_policy
from jwksd.issuing.selfcheck import SelfCheck
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.keysources.generating import generate
from jwksd.keysources.local import QUICK_RESERVE, KeySource
from jwksd.keysources.threads import KeyThreads, Threads
from jwksd.signals import StopSignals
from jwksd.storage import make_store
from jwksd.web.endpoints.listener import Listener, base_url, is_loopback
from jwksd.web.endpoints.reuseport import ReusePortEndpoint
from jwksd.web.http.admission import Admission, names, origin_of
from jwksd.web.http.site import Site
from jwksd.web.root import Dev, make_root

_log = Logger()


def _help(option: Option) -> str:
    default = getattr(Settings(), option.field)
    if default is None:
        return option.help
    text = ",".join(default) if isinstance(default, tuple) else default
    return f"{option.help} (default: {text})"


def _collector(option: Option) -> Callable[[usage.Options, str], None]:
    """The method by which Twisted hands over a value of an option that may be repeated."""

    def collect(options: usage.Options, value: str) -> None:
        options.setdefault(option.name, []).append(value)

    collect.__doc__ = option.help
    return collect


_COLLECTORS = {f"opt_{option.field}": _collector(option) for option in OPTIONS if option.repeatable}


class PlainOptions(usage.Options):
    """Options whose help and version are jwksd's, wherever they are part of."""

    synopsis: str

    def getSynopsis(self) -> str:
        return self.synopsis

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"jwksd {__version__}")
        raise SystemExit(0)


class ConfiguredOptions(PlainOptions):
    """Options that may also come from the environment and from a file.

    What cannot work is refused with StartUpRefused, in one line. After parsing, ``settings`` holds
    the result of flags, environment and file together.
    """

    settings: Settings

    opt_kek_file = _COLLECTORS["opt_kek_file"]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise StartUpRefused(f"{error} (--help lists the options)") from None

    def postOptions(self) -> None:
        given = {
            option.name: "true" if option.is_flag else self[option.name]
            for option in OPTIONS
            if self.get(option.name) or self.get(option.name) == ""
        }
        file = os.environ.get("JWKSD_CONFIG") if self["config"] is None else self["config"]
        self.settings = resolve(given, os.environ, {} if file is None else _read_config(file))


class Options(ConfiguredOptions):
    """The options of ``twistd -n jwksd``, ``python main.py`` and ``jwksd serve``."""

    synopsis = "Usage: jwksd serve [options]"
    longdesc = (
        "Signs JWTs and publishes the keys that verify them as a JWKS. Each option is also an"
        " environment variable (JWKSD_MAX_KEYS) and a key of the configuration file (max-keys)."
    )
    optFlags = [[option.name, option.short, option.help] for option in OPTIONS if option.is_flag]
    optParameters = [
        ["config", None, None, "a TOML file with any of these options"],
        *(
            [option.name, option.short, None, _help(option)]
            for option in OPTIONS
            if not option.is_flag and not option.repeatable
        ),
    ]


for _name, _collect in _COLLECTORS.items():
    setattr(Options, _name, _collect)


def _read_config(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StartUpRefused(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise StartUpRefused(f"{path} is not TOML: {error}") from None


class KeyService(Service):
    """Makes keys from start to stop."""

    def __init__(self, threads: Sequence[Threads], source: KeySource, issuer: Issuer) -> None:
        self._threads = threads
        self._source = source
        self._issuer = issuer
        self._opened = False

    def privilegedStartService(self) -> None:
        """Read the store, before anything is bound.

        Raises:
            StartUpRefused: it cannot be used.
        """
        super().privilegedStartService()
        self._issuer.policy.open()
        self._opened = True

    def startService(self) -> None:
        if not self._opened:
            self.privilegedStartService()
        super().startService()
        for threads in self._threads:
            threads.start()
        self._source.start()
        self._issuer.policy.start()

    def stopService(self) -> "Deferred[None]":
        super().stopService()
        # In this order: a rotation that waits for its next key knows why it will not come.
        stopped = self._issuer.stop()
        self._source.stop()
        # A key of the largest size can take a minute to make, and the threads are waited for.
        return stopped.addCallback(lambda _: deferToThread(self._end_threads))

    def _end_threads(self) -> None:
        for threads in reversed(self._threads):
            threads.stop()


class Daemon(MultiService):
    """The whole server.

    Its parts start in order, and stop in reverse, each when the one before has stopped: requests
    in flight are answered while there still are keys.
    """

    def __init__(self, issuer: Issuer, keys: KeyService, listener: Listener) -> None:
        super().__init__()
        self.issuer = issuer
        self.listener = listener
        keys.setServiceParent(self)
        listener.setServiceParent(self)

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except StartUpRefused as refused:
            # twistd has made a log of sys.stderr by now, and the interpreter would end with it.
            if sys.stderr is not sys.__stderr__ and sys.__stderr__ is not None:
                print(refused.code, file=sys.__stderr__)
            raise

    def stopService(self) -> "Deferred[None]":
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_in_reverse())

    async def _stop_in_reverse(self) -> None:
        for part in reversed(list(self)):
            await maybeDeferred(part.stopService)


def makeService(options: Options) -> Daemon:
    """The server that the options describe, not started yet."""
    from twisted.internet import reactor

    settings = options.settings
    rotating = settings.policy == "rotating"
    threads = KeyThreads(reactor)  # type: ignore[arg-type]  # the stub knows less than it does
    quick = Threads(reactor, 1, "quick keys")  # type: ignore[arg-type]
    source = KeySource(
        settings.alg,
        make=partial(_make_keys, rsa_bits=settings.rsa_bits),
        run=threads.run,
        threads=threads.count,
        run_quick=quick.run,
        clock=reactor,
        # Where one key signs for long, a second one at hand is enough.
        reserve=min(1, settings.reserve) if rotating else settings.reserve,
        quick_reserve=0 if rotating else QUICK_RESERVE,
        max_waiting=settings.max_waiting,
    )
    dev = Dev(DevClock(reactor, passed), Faults(reactor)) if settings.dev else None
    clock = dev.clock if dev else reactor
    self_check = SelfCheck(reactor, threads.run)
    signing = Threads(reactor, settings.signing_threads, "signing")  # type: ignore[arg-type]
    policy = make_policy(
        schedule=settings.schedule() if rotating else None,
        algorithms=settings.alg,
        lifetime=settings.lifetime,
        max_keys=settings.max_keys,
        max_waiting=settings.max_waiting,
        boot=_boot(),
        clock=clock,
        reactor=reactor,
        steady=dev.clock.steady if dev else passed,
        source=source,
        store=make_store(settings, reactor),  # type: ignore[arg-type]  # as above
        run_signing=signing.run if settings.signing_threads else None,
        check=self_check.check,
    )
    issuer = Issuer(
        clock=clock,
        source=source,
        policy=policy,
        name=settings.issuer or "",
        algorithms=settings.alg,
        lifetime=settings.lifetime,
        max_lifetime=settings.max_lifetime,
        new_id=lambda: str(uuid4()),
        self_check=self_check,
    )
    site = Site(
        make_root(issuer, dev),
        reactor,
        dev=settings.dev,
        access_log=not settings.no_access_log,
    )
    listener = Listener(
        _endpoints(reactor, settings),
        site,
        local_only=_local_only(settings),
        bound=partial(_bound, issuer, settings, site),
    )
    daemon = Daemon(issuer, KeyService([threads, quick, signing], source, issuer), listener)
    StopSignals(reactor).setServiceParent(daemon)
    return daemon


def passed() -> float:
    """Seconds that have passed since the machine started, those that it slept through included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot() -> str:
    """Which start of the machine ``passed`` counts from; where nobody knows, this process's."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return str(uuid4())


def _make_keys(alg: str, number: int, rsa_bits: int) -> list[KeyPair]:
    return [generate(ALGORITHMS[alg], rsa_bits) for _ in range(number)]


def _endpoints(reactor: IReactorTCP, settings: Settings) -> list[tuple[str, IStreamServerEndpoint]]:
    if settings.listen:
        return [(text, _endpoint(reactor, text)) for text in settings.listen]
    host, port = settings.interface, settings.port
    if settings.reuse_port:
        return [(f"{host} port {port}", ReusePortEndpoint(reactor, port, host))]  # type: ignore[arg-type]
    kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
    return [(f"{host} port {port}", kind(reactor, port, interface=host))]


def _endpoint(reactor: IReactorTCP, text: str) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:  # every endpoint parser raises what it likes
        raise StartUpRefused(
            f"--listen {text!r} is no endpoint description such as"
            f" tcp:8080:interface=127.0.0.1 ({error})"
        ) from None
    return endpoint


def _local_only(settings: Settings) -> str:
    """Why other machines are kept out, and what would let them in; empty where they may come."""
    if not settings.allow_remote_minting:
        return "anyone there could mint tokens; --allow-remote-minting allows that"
    if settings.dev and not settings.allow_remote_dev:
        return "with --dev anyone there could change the server; --allow-remote-dev allows that"
    return ""


def _admission(settings: Settings, issuer: str, addresses: Sequence[IAddress]) -> Admission:
    """What is let in by a server with this issuer URL, listening there."""
    hosts = [getattr(address, "host", None) for address in addresses]
    local = all(is_loopback(host) for host in hosts if host is not None)
    own = origin_of(issuer)
    allowed = [name.encode("ascii") for name in settings.allowed_host]
    return Admission(
        check_host=local or settings.dev or bool(allowed),
        hosts=names([own.partition(b"://")[2], *allowed]),
        issuer=own,
        cors_origins=frozenset(map(origin_of, settings.cors_origin)),
    )


def _bound(issuer: Issuer, settings: Settings, site: Site, addresses: Sequence[IAddress]) -> None:
    """Once the port is known: settle the issuer's name, and say what is open to whom."""
    urls = [url for url in map(base_url, addresses) if url is not None]
    if not issuer.name:
        if not urls:
            raise StartUpRefused("no --listen has a port to make the issuer URL of: give --issuer")
        issuer.name = f"http://localhost:{urls[0].rpartition(':')[2]}"  # type: ignore[misc]
    site.admission = _admission(settings, issuer.name, addresses)
    _log.info("{urls} serve as issuer {name}", urls=", ".join(urls), name=issuer.name)
    if settings.dev:
        _log.warn("--dev: any client can change this server by /dev; never use it in production")
