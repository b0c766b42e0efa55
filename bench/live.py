"""A server in memory that holds as many live keys as one likes, in a process of its own.

Making 10,000 RSA keys would take minutes. Here a key's public half is a random number, all of them
sign with one real key, and the server around them is the real one: site, resource tree, issuer and
key policy. Each mint advances the issuer's clock by one second, and a key lives as many seconds as
there are to be keys: from then on every mint publishes one key and forgets another.
"""

import gc
import json
import multiprocessing
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection

from common import resident
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    RSAPublicNumbers,
    generate_private_key,
)
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogBeginner, textFileLogObserver
from zope.interface import implementer

from jwksd.interfaces import IKeySource
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.selfcheck import SelfCheck
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.stores.memory import MemoryStore
from jwksd.web.http.fastpath import FastPath
from jwksd.web.http.site import Site
from jwksd.web.root import make_root

ALGORITHM = ALGORITHMS["RS256"]

ASKED = 10
"""Keys whose documents are asked for: as many with few live keys as with many, so that it is their
number that is measured, and not how many requests the fast path knows."""


class SharedKey:
    """A private key with a public half of its own, which signs with one that others share."""

    def __init__(self, signer: RSAPrivateKey) -> None:
        modulus = random.getrandbits(2048) | 1 << 2047 | 1
        self._public = RSAPublicNumbers(65_537, modulus).public_key()
        self.sign = signer.sign

    def public_key(self) -> RSAPublicKey:
        """A random number, as large as a modulus."""
        return self._public


@implementer(IKeySource)
class ReadyKeys:
    """A source whose keys are all made before they are asked for."""

    def __init__(self) -> None:
        self._signer = generate_private_key(public_exponent=65_537, key_size=2048)
        self._ready: deque[KeyPair] = deque()

    def prepare(self, number: int) -> None:
        """Make so many keys."""
        keys = (SharedKey(self._signer) for _ in range(number))
        self._ready.extend(LocalKeyPair(key, ALGORITHM) for key in keys)

    def take_now(self, alg: str) -> KeyPair | None:
        """The next key that is ready."""
        return self._ready.popleft()

    def take(self, alg: str) -> "Deferred[KeyPair]":
        """The same."""
        return succeed(self._ready.popleft())


class LiveServer:
    """The server, once filled with ``keys`` live keys, and one connection to it."""

    def __init__(self, keys: int) -> None:
        self.keys = keys
        numbers = count()
        self._clock = Clock()
        self._source = ReadyKeys()
        self_check = SelfCheck(Clock(), maybeDeferred)
        policy = PerToken(
            clock=self._clock,
            reactor=Clock(),
            source=self._source,
            store=MemoryStore(),
            lifetime=keys,
            max_keys=keys + 1,
            check=self_check.check,
        )
        self._issuer = Issuer(
            clock=self._clock,
            source=self._source,
            policy=policy,
            name="http://localhost:8080",
            algorithms=["RS256"],
            lifetime=keys,
            max_lifetime=keys,
            new_id=lambda: f"00000000-0000-0000-0000-{next(numbers):012}",
            self_check=self_check,
        )
        # The site's own clock stands still: it would close the connection for being idle.
        site = Site(make_root(self._issuer), Clock())
        site.doStart()
        self._channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40_000))
        self._transport = StringTransport()
        self._channel.makeConnection(self._transport)

    def fill(self) -> None:
        """Mint until there are as many live keys as there shall be."""
        for _ in range(self.keys):
            self._source.prepare(1)
            self._mint()
        assert len(self._issuer.policy.keys) == self.keys

    def time_mints(self, number: int) -> float:
        """Seconds per POST /auth, over so many."""
        self._source.prepare(number)
        begun = time.perf_counter()
        for _ in range(number):
            self._mint()
        return (time.perf_counter() - begun) / number

    def time_any_single_keys(self, number: int) -> float:
        """Seconds per GET of a <kid>.json, each of any live key, over so many."""
        return self._time_single_keys(number, lambda: None, asked=self.keys)

    def time_single_keys(self, number: int) -> float:
        """Seconds per GET of a <kid>.json that was asked for before, over so many."""
        return self._time_single_keys(number, lambda: None)

    def time_new_single_keys(self, number: int) -> float:
        """Seconds per GET of a <kid>.json that nobody has asked for before, over so many."""

        def forget() -> None:
            self._channel.fast_path = FastPath()

        return self._time_single_keys(number, forget)

    def _time_single_keys(
        self, number: int, before_each: Callable[[], None], asked: int = ASKED
    ) -> float:
        kids = [key["kid"] for key in json.loads(self._issuer.policy.keys.key_set().body)["keys"]]
        some = random.sample(kids, k=min(asked, len(kids)))
        requests = [
            f"GET /.well-known/{kid}.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for kid in random.choices(some, k=2 * number)
        ]
        # Reading the document left garbage and cold caches, which are not the server's.
        del kids
        gc.collect()
        for request in requests[:number]:
            before_each()
            self._ask(request)
        begun = time.perf_counter()
        for request in requests[number:]:
            before_each()
            self._ask(request)
        return (time.perf_counter() - begun) / number

    def time_key_set(self) -> float:
        """Seconds that the first GET of jwks.json takes after a change."""
        self._source.prepare(1)
        self._mint()
        begun = time.perf_counter()
        self.fetch_key_set()
        return time.perf_counter() - begun

    def time_document(self) -> float:
        """Seconds that the bytes of jwks.json and their tag take after a change."""
        self._source.prepare(1)
        self._mint()
        begun = time.perf_counter()
        self._issuer.policy.keys.key_set()
        return time.perf_counter() - begun

    def document_size(self) -> int:
        """Bytes of jwks.json."""
        return len(self._issuer.policy.keys.key_set().body)

    def fetch_key_set(self) -> None:
        """GET jwks.json."""
        self._ask("GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def _mint(self) -> None:
        self._clock.advance(1)
        self._ask("POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")

    def _ask(self, request: str) -> None:
        self._channel.dataReceived(request.encode("ascii"))
        answer = self._transport.value()
        self._transport.clear()
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]


class Remote:
    """A ``LiveServer`` in another process: its methods by name."""

    def __init__(self, pipe: "Connection[tuple[str, tuple[int, ...]], float | None]") -> None:
        self._pipe = pipe

    def call(self, method: str, *arguments: int) -> float:
        """Call a method there, and answer what it answered."""
        self._pipe.send((method, arguments))
        return self._pipe.recv() or 0.0


@contextmanager
def live_server(keys: int) -> Iterator[Remote]:
    """A filled ``LiveServer`` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, keys), daemon=True)
    child.start()
    theirs.close()
    remote = Remote(ours)
    remote.call("fill")
    try:
        yield remote
    finally:
        ours.close()
        child.join()


def _serve(pipe: "Connection[float | None, tuple[str, tuple[int, ...]]]", keys: int) -> None:
    _log_to_nowhere()
    server = LiveServer(keys)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(server, method)(*arguments))


def _log_to_nowhere() -> None:
    """Format every line of the access log, as a daemon does, and drop it."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # for the process
    globalLogBeginner.beginLoggingTo([textFileLogObserver(nowhere)], redirectStandardIO=False)


def memory_of_keys(keys: int) -> tuple[float, int, int]:
    """Resident bytes per live key; those of the one document with all of them, and by how many
    its first answer, with all that it passes through, grew the process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure_memory, (keys,))


def _measure_memory(keys: int) -> tuple[float, int, int]:
    _log_to_nowhere()
    warm = LiveServer(100)
    warm.fill()
    warm.fetch_key_set()
    server = LiveServer(keys)
    empty = resident(os.getpid())
    server.fill()
    full = resident(os.getpid())
    server.fetch_key_set()
    grown = resident(os.getpid()) - full
    return (full - empty) / keys, server.document_size(), grown
