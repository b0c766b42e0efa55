"""The raw-HTTP suite on the two sites: every answer compared, and what was sent kept.

The tests of ``tests.web.test_raw_http`` run as they are, on connections in memory that lead to both
sites at once, so that every answer is compared, and then held to what the suite expects. What was
sent is then sent again, in other pieces.
"""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import time
from typing import Any
from unittest import TestResult, defaultTestLoader
from unittest.mock import patch

from twisted.internet.defer import Deferred

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair
from tests.proofs.fastpath.grammar import JWKS
from tests.proofs.fastpath.sites import Different, Moment, Options, TwinClient, Twins, errors_logged
from tests.support.keys import rsa_private
from tests.support.raw import UNKNOWN_KID, Wire, decoded, message
from tests.web import test_raw_http

ON_A_SOCKET = "test_a_client_that_does_not_read_is_not_read_from"
"""The one test that asks the system about its socket; ``test_misbehaving`` has its counterpart."""

SHORT = 400
"""Octets of what is cut everywhere."""

UNKNOWN = UNKNOWN_KID.encode("ascii")
_KID, _ETAG = re.compile(rb"[\w-]{43}"), re.compile(rb'"[0-9a-f]{32}"')


def rsa_pair(number: int, alg: str) -> KeyPair:
    """A key of RSA, which costs next to nothing."""
    return LocalKeyPair(rsa_private(number), ALGORITHMS[alg])


class NoSocket:
    """Of a connection in memory."""

    def setsockopt(self, *options: Any) -> None:
        pass


class MemoryWire(Wire):
    """A connection of the suite that leads to both sites."""

    made: "list[MemoryWire]" = []
    twins: dict[int, Twins] = {}

    def __init__(self, port: int, *, small: bool = False) -> None:
        self.socket: Any = NoSocket()
        self.sent: list[bytes] = []
        self._received = bytearray()
        self._client: TwinClient = self.twins[port].connect()
        self.made.append(self)

    def send(self, octets: bytes) -> None:
        self.sent.append(octets)
        self._received += self._client.send(octets)

    def no_more(self) -> None:
        self._received += self._client.shut()

    def close(self) -> None:
        self._client.lose()

    def _receive(self) -> int:
        assert self._client.lost, f"there is no more to come: {bytes(self._received)!r}"
        return 0


class MemoryDaemon:
    """In place of the process that the suite starts."""

    log = Path(os.devnull)

    def __init__(self, *options: str) -> None:
        self.port = len(MemoryWire.twins)
        MemoryWire.twins[self.port] = Twins(options_of(*options))


def options_of(*options: str) -> Options:
    """Those of the sites, by those of the daemon."""
    max_keys = int(options[options.index("--max-keys") + 1]) if "--max-keys" in options else 10_000
    return Options(
        dev="--dev" in options,
        algorithms=("RS256",),
        max_keys=max_keys,
        pair=rsa_pair,
        now=int(time()),
    )


Streams = tuple[TestResult, list[list[bytes]]]


def record() -> Streams:
    """Run the suite; its result, and what it sent on each connection."""
    result = TestResult()
    MemoryWire.made, MemoryWire.twins = [], {}
    suite = _copy_of_the_suite()
    with (
        Moment(time()).everywhere(),
        patch.object(suite, "Wire", MemoryWire),
        patch.object(suite, "daemon", cache(MemoryDaemon)),
    ):
        for test in _tests(defaultTestLoader.loadTestsFromModule(suite)):
            if test.id().rpartition(".")[2] != ON_A_SOCKET:
                test.run(result)
    for twins in MemoryWire.twins.values():
        twins.end()
    return result, [wire.sent for wire in MemoryWire.made if wire.sent]


def _copy_of_the_suite() -> Any:
    """Hypothesis will not have one test run in two places; so this is another one."""
    spec = spec_from_file_location(f"{__name__}.suite", test_raw_http.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with patch.dict(sys.modules, {spec.name: module}):
        spec.loader.exec_module(module)
    return module


def _tests(suite: Any) -> Iterator[Any]:
    for test in suite:
        if hasattr(test, "id"):
            yield test
        else:
            yield from _tests(test)


class Replay:
    """Two fresh sites, to which what was recorded is sent again."""

    def __init__(self) -> None:
        self.twins = Twins(Options(dev=True))

    def whole(self, sent: Sequence[bytes]) -> None:
        """As it was sent, twice: the second time the fast path knows what it can know."""
        adapted = self._adapted(sent)
        for _ in range(2):
            self._feed(adapted)

    def in_two(self, sent: Sequence[bytes], cuts: Sequence[int]) -> None:
        """All in one, in two pieces, for each of the cuts."""
        octets = b"".join(self._adapted(sent))
        for cut in cuts:
            self._feed([octets[:cut], octets[cut:]])

    def _feed(self, pieces: Sequence[bytes]) -> None:
        client = self.twins.connect()
        for piece in pieces:
            client.send(piece)
        client.lose()
        self.twins.pairs.clear()
        self.twins.history.clear()

    def _adapted(self, sent: Sequence[bytes]) -> list[bytes]:
        """With a key and tags that there are on these sites, for those that there were."""
        kid = self._new_kid()
        issuer = self.twins.ordinary.issuer
        of_one_key = any(b"/.well-known/" in piece and JWKS not in piece for piece in sent)
        keys = issuer.policy.keys
        document = keys.get(kid).document if of_one_key else keys.key_set()
        self.twins.compare_published()
        return [with_names(piece, kid.encode("ascii"), document.etag) for piece in sent]

    def _new_kid(self) -> str:
        """The one key that there is from now on."""
        self.twins.happen("reset", lambda side: Deferred.fromCoroutine(side.issuer.reset_keys()))
        client = self.twins.connect()
        head = client.send(message("POST /auth", body="")).rpartition(b"\r\n\r\n")[2].split(b".")[0]
        client.lose()
        return str(json.loads(decoded(head))["kid"])


@contextmanager
def replaying() -> Iterator[Replay]:
    """Two sites, compared until the end."""
    replay = Replay()
    with replay.twins.moment.everywhere(), errors_logged() as errors:
        yield replay
        replay.twins.end()
    if errors:
        raise Different(f"an error was logged: {errors[0]}")


def with_names(piece: bytes, kid: bytes, etag: bytes) -> bytes:
    """With this kid and tag for each that there is; the unknown kid of the suite stays unknown."""
    if len(piece) > 4_096:
        return piece
    return _ETAG.sub(etag, _KID.sub(lambda found: UNKNOWN if found[0] == UNKNOWN else kid, piece))


def distinct(streams: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
    """Each that differs by more than its keys and tags, once."""
    shapes = {tuple(with_names(piece, b"-", b'"-"') for piece in sent): sent for sent in streams}
    return [list(sent) for sent in shapes.values()]


def replay_all(streams: Sequence[Sequence[bytes]], *, every: int = 1) -> Counter[str]:
    """Send all of them again, whole and, where they are short, in two pieces at every such octet.

    Raises:
        Different: the answers of the two sites differ.
    """
    counts: Counter[str] = Counter()
    with replaying() as replay:
        for number, sent in enumerate(distinct(streams)):
            length = sum(map(len, sent))
            cuts = range(1 + number % every, length, every) if length <= SHORT else ()
            replay.whole(sent)
            replay.in_two(sent, cuts)
            counts += Counter({"streams": 1, "cuts": len(cuts)})
    counts["through the fast path"] = replay.twins.fast.site.repeated
    counts["answered"] = replay.twins.ordinary.site.answered
    return counts
