"""Two sites in memory with equal issuers: one has the fast path, the other the ordinary path alone.

The transport does what a real one does with what flows through it: it asks the channel to pause
when too much waits to be sent, reads nothing while the channel wants nothing, and is lost once all
is sent that was written before its end.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from time import gmtime
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.http import Request as AnyRequest
from zope.interface import implementer

from jwksd.dev.clock import DevClock
from jwksd.dev.faults import Faults
from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.web.http.admission import Admission
from jwksd.web.http.answers import RememberedAnswer
from jwksd.web.http.channel import Channel
from jwksd.web.http.fastpath import FastPathChannel
from jwksd.web.http.site import Site
from jwksd.web.root import Dev, make_root
from tests.support.app import make_issuer
from tests.support.keys import NOW

Pairs = Callable[[int, str], KeyPair]
"""The key of this number, for an algorithm; the same at every call."""


def quick_pair(number: int, alg: str) -> KeyPair:
    """An Ed25519 key."""
    octets = sha256(b"%d" % number).digest()
    return LocalKeyPair(Ed25519PrivateKey.from_private_bytes(octets), ALGORITHMS[alg])


@implementer(IKeySource)
class Numbered:
    """Keys in the order of their numbers: at once, or when ``release`` is called."""

    def __init__(self, pair: Pairs) -> None:
        self.at_once = True
        self._pair = pair
        self._numbers = count()
        self._waiting: deque[tuple[str, Deferred[KeyPair]]] = deque()

    def take_now(self, alg: str) -> KeyPair | None:
        return self._next(alg) if self.at_once and not self._waiting else None

    def take(self, alg: str) -> "Deferred[KeyPair]":
        pair = self.take_now(alg)
        if pair is not None:
            return succeed(pair)
        waiter: Deferred[KeyPair] = Deferred(lambda _: None)
        self._waiting.append((alg, waiter))
        return waiter

    def release(self) -> None:
        """Serve all who wait."""
        while self._waiting:
            alg, waiter = self._waiting.popleft()
            if not waiter.called:
                waiter.callback(self._next(alg))

    def _next(self, alg: str) -> KeyPair:
        return self._pair(next(self._numbers), alg)


class CountingChannel(FastPathChannel):
    """The channel as it is; it counts the answers of the fast path."""

    site: "CountingSite"

    def _repeat(self, head: bytes, answer: RememberedAnswer) -> bool:
        repeated = super()._repeat(head, answer)
        self.site.repeated += repeated
        return repeated


class OrdinaryChannel(FastPathChannel):
    """A channel that is never idle, so that every octet goes to the parser of twisted.web."""

    @property
    def _idle(self) -> bool:  # type: ignore[override]
        return False

    @_idle.setter
    def _idle(self, value: bool) -> None:
        pass


class CountingSite(Site):
    """The site, with an access log in memory."""

    repeated = 0
    answered = 0

    def log(self, request: AnyRequest) -> None:
        self.answered += 1
        super().log(request)


@dataclass(frozen=True)
class Options:
    """What a pair of sites has in common."""

    policy: str = "per-token"
    dev: bool = False
    access_log: bool = True
    algorithms: Sequence[str] = ("EdDSA", "Ed25519")
    max_keys: int = 40
    buffer: int = 65_536
    pair: Pairs = quick_pair
    now: float = NOW
    name: str = "http://localhost:8080"
    more: Mapping[str, Any] = field(default_factory=dict)


class Side:
    """One of the two sites, with its issuer and its time."""

    def __init__(self, channel: type[Channel], options: Options) -> None:
        self.options = options
        self.clock = Clock()
        self.clock.rightNow = options.now
        self.source = Numbered(options.pair)
        self.dev = Dev(DevClock(self.clock), Faults(self.clock)) if options.dev else None
        self.issuer = self._make_issuer()
        self.issuer.policy.start()
        self.site = CountingSite(
            make_root(self.issuer, self.dev),
            self.clock,
            dev=options.dev,
            access_log=options.access_log,
        )
        self.site.admission = Admission(cors_origins=frozenset({b"https://app.example"}))
        self.site.protocol = channel
        self.logged: list[str] = []
        self.site.startFactory()
        self.site._logFile = Lines(self.logged)

    def _make_issuer(self) -> Any:
        changes: dict[str, Any] = dict(self.options.more)
        if self.dev is not None:
            changes["steady"] = self.dev.clock.steady
        return make_issuer(
            self.dev.clock if self.dev else self.clock,
            self.source,
            name=self.options.name,
            reactor=self.clock,
            policy=self.options.policy,
            algorithms=self.options.algorithms,
            max_keys=self.options.max_keys,
            **changes,
        )

    def stop(self) -> int:
        """End all of it, and tell how many timers are left."""
        self.issuer.stop()
        self.site.stopFactory()
        return sum(call.active() for call in self.clock.getDelayedCalls())


class Lines:
    """A log file that is a list."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append

    def close(self) -> None:
        pass


class Handle:
    """Of a transport in memory, which has no socket."""

    def setsockopt(self, *options: Any) -> None:
        pass


class Wire(StringTransport):
    """A transport whose buffer fills, and is emptied when its client reads."""

    def __init__(self, buffer: int, lose: Callable[[], None]) -> None:
        super().__init__(lenient=True)
        self._buffer = buffer
        self._lose = lose
        self.reads = True
        self.waiting = 0
        self.producer_paused = False

    def getHandle(self) -> Handle:
        return Handle()

    def write(self, data: bytes) -> None:
        super().write(data)
        self._fill(len(data))

    def writeSequence(self, data: Any) -> None:
        joined = b"".join(data)
        super().write(joined)
        self._fill(len(joined))

    def _fill(self, octets: int) -> None:
        self.waiting += octets
        if self.producer is not None and self.waiting > self._buffer and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def flush(self) -> bool:
        """What the reactor does when the client has read all: whether there is more to be done."""
        if not self.reads or not (self.waiting or self.producer_paused):
            return False
        self.waiting = 0
        if self.producer is not None and self.producer_paused:
            self.producer_paused = False
            self.producer.resumeProducing()
        return True

    def unregisterProducer(self) -> None:
        self.producer = None
        self.producer_paused = False

    def abortConnection(self) -> None:
        self._lose()


class Client:
    """A connection to one side. What it sends waits until the transport reads."""

    def __init__(self, side: Side) -> None:
        self.lost = False
        self.transport = Wire(side.options.buffer, self.lose)
        self.channel: Any = side.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.outbox: deque[bytes] = deque()
        self._taken = 0

    def send(self, octets: bytes) -> None:
        self.outbox.append(octets)
        self.turn()

    def read_on(self, reads: bool) -> None:
        """Read all that comes from now on, or nothing."""
        self.transport.reads = reads
        self.turn()

    def turn(self) -> None:
        """Let the transport work until nothing changes."""
        while not self.lost:
            if self.transport.flush():
                continue
            if self.channel.awaits_turn:
                self.channel.site.turns.take()
                continue
            if self.transport.disconnecting:
                if not self.transport.waiting:
                    self.lose()
                return
            if not self.outbox or self.transport.producerState != "producing":
                return
            self.channel.dataReceived(self.outbox.popleft())

    def shut(self) -> None:
        """The client sends no more."""
        if not self.lost:
            self.channel.readConnectionLost()
            self.turn()

    def lose(self) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = True
            self.channel.connectionLost(Failure(ConnectionDone()))

    def take(self) -> bytes:
        """What has been answered since this was asked last."""
        octets = self.transport.value()
        self.transport.io.seek(0)
        self.transport.io.truncate()
        return octets

    def state(self) -> tuple[object, ...]:
        """All that the next octets, or their absence, are met with."""
        channel, transport = self.channel, self.transport
        return (
            self.lost,
            transport.disconnecting,
            self.lost or transport.producerState,  # a transport that is lost reads nothing
            transport.waiting,
            len(self.outbox),
            channel.paused,
            len(channel.requests),
            channel._handlingRequest,
            channel._waitingForTransport,
            sum(map(len, channel._dataBuffer)),
        )


class Moment:
    """The time of day that answers are dated with."""

    def __init__(self, seconds: float = NOW) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return self.seconds

    def gmtime(self, seconds: float | None = None) -> Any:
        return gmtime(self.seconds if seconds is None else seconds)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Have every answer dated with this time."""
        with (
            patch("jwksd.web.http.fastpath.time", self.time),
            patch("twisted.web.http.gmtime", self.gmtime),
        ):
            yield


@contextmanager
def errors_logged() -> Iterator[list[Any]]:
    """Everything that is logged as an error meanwhile."""
    events: list[Any] = []

    def observe(event: Any) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.error:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observe)


_NAMES = "the fast path", "the ordinary path"


class Different(AssertionError):
    """The answers of the two sites differ."""


class Twins:
    """The two sites, to which everything happens alike."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.fast = Side(CountingChannel, options)
        self.ordinary = Side(OrdinaryChannel, options)
        self.sides = (self.fast, self.ordinary)
        self.moment = Moment(options.now)
        self.history: list[str] = []
        self.pairs: list[TwinClient] = []

    def connect(self) -> "TwinClient":
        pair = TwinClient(self, len(self.pairs))
        self.pairs.append(pair)
        return pair

    def happen(self, what: str, act: Callable[[Side], object]) -> None:
        """The same on both sides, with the same outcome; then every connection is compared."""
        self.history.append(what)
        outcomes = [_outcome(act, side) for side in self.sides]
        self.equal(what, *outcomes)
        for pair in self.pairs:
            pair.settle()

    def advance(self, seconds: float, *, late: bool = False) -> None:
        """Time passes; where it is ``late``, no timer has run yet."""
        self.moment.seconds += seconds

        def pass_time(side: Side) -> None:
            if late:
                side.clock.rightNow += seconds
            else:
                side.clock.advance(seconds)

        self.happen(f"{seconds} s pass" + (", unnoticed" if late else ""), pass_time)

    def compare_published(self) -> bytes:
        """What is published now, which is the same; the key set."""
        fast, ordinary = (
            (
                side.issuer.policy.keys.key_set().body,
                side.issuer.policy.cache_control,
                side.issuer.not_ready,
            )
            for side in self.sides
        )
        self.equal("what is published", fast, ordinary)
        return ordinary[0]

    def compare_logs(self) -> None:
        fast, ordinary = (side.logged for side in self.sides)
        self.equal("the access log", fast, ordinary)
        fast.clear()
        ordinary.clear()

    def equal(self, what: str, fast: object, ordinary: object) -> None:
        if fast != ordinary:
            raise Different(self._report(what, fast, ordinary))

    def _report(self, what: str, *found: object) -> str:
        past = "\n".join(self.history[-200:])
        both = "\n".join(
            f"{name}: {_shown(value)}" for name, value in zip(_NAMES, found, strict=True)
        )
        return f"{past}\n{what} differs\n{both}"

    def end(self) -> None:
        """Close all connections; nothing is left on either side."""
        for pair in self.pairs:
            pair.lose()
        self.compare_logs()
        left = [(side.stop(), len(side.site.connections)) for side in self.sides]
        self.equal("what is left at the end", *left)


def _outcome(act: Callable[[Side], object], side: Side) -> object:
    """What is answered, or the error that is raised."""
    try:
        outcome = act(side)
    except Exception as error:
        return repr(error)
    if isinstance(outcome, Deferred):
        results: list[object] = []
        outcome.addBoth(results.append)
        return [repr(getattr(result, "value", result)) for result in results]
    return outcome


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 20_000 else f"{shown[:10_000]} ... {shown[-10_000:]}"


class TwinClient:
    """A connection to each of the two sides, to which the same is sent."""

    def __init__(self, twins: Twins, number: int) -> None:
        self.twins = twins
        self.number = number
        self.fast, self.ordinary = map(Client, twins.sides)
        self.both = (self.fast, self.ordinary)

    @property
    def lost(self) -> bool:
        return self.ordinary.lost

    def send(self, octets: bytes) -> bytes:
        """What both answer to this."""
        self.twins.history.append(f"{self.number} > {octets!r}")
        return self._alike(lambda client: client.send(octets))

    def read_on(self, reads: bool) -> bytes:
        self.twins.history.append(f"{self.number} reads {'all' if reads else 'nothing'}")
        return self._alike(lambda client: client.read_on(reads))

    def shut(self) -> bytes:
        self.twins.history.append(f"{self.number} sends no more")
        return self._alike(Client.shut)

    def lose(self) -> bytes:
        self.twins.history.append(f"{self.number} is gone")
        return self._alike(Client.lose)

    def settle(self) -> bytes:
        """What has come without anything being sent."""
        return self._alike(Client.turn)

    def _alike(self, act: Callable[[Client], None]) -> bytes:
        for client in self.both:
            act(client)
        answered = self.ordinary.take()
        self.twins.equal(f"the answer to {self.number}", self.fast.take(), answered)
        states = [client.state() for client in self.both]
        self.twins.equal(f"the state of {self.number}", *states)
        closed = self.lost or self.ordinary.transport.disconnecting
        if self.fast.channel._idle and not self.ordinary.channel._is_idle() and not closed:
            raise Different(self.twins._report(f"{self.number} is idle", True, False))
        return answered
