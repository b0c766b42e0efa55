"""A world of its own for each seed: two sites, a few clients, and changes between the requests."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from jwksd.dev.faults import Fault
from jwksd.issuing.mintrequest import MintRequest
from jwksd.web.faults import KINDS
from tests.proofs.fastpath.grammar import Grammar
from tests.proofs.fastpath.sites import Different, Options, Side, TwinClient, Twins, errors_logged

REQUESTS = 500
"""Of one world."""


def cut(random: Random, octets: bytes) -> list[bytes]:
    """The octets in pieces."""
    if len(octets) < 300 and random.random() < 0.02:
        return [octets[at : at + 1] for at in range(len(octets))]
    cuts = sorted(random.choices(range(len(octets) + 1), k=random.randint(1, 4)))
    bounds = [0, *cuts, len(octets)]
    return [octets[a:b] for a, b in pairwise(bounds)]


class World:
    """What happens in one world follows from its seed."""

    def __init__(self, seed: str, requests: int = REQUESTS) -> None:
        self.random = Random(seed)
        self.counts: Counter[str] = Counter()
        self._requests = requests
        self._options = self._choose()
        self._twins = Twins(self._options)
        self._grammar = Grammar(
            self.random, dev=self._options.dev, readers=self.random.random() < 0.6
        )
        self._clients: list[TwinClient] = []
        self._begun: dict[int, bytes] = {}
        changes: Sequence[tuple[Callable[[], None], int]] = (
            (self._advance, 40),
            (self._doze, 10),
            (self._mint, 12),
            (self._rotate, 8),
            (self._revoke, 8),
            (self._reset, 3),
            (self._fault, 12 if self._options.dev else 0),
            (self._clear_faults, 6 if self._options.dev else 0),
            (self._move_dev_clock, 6 if self._options.dev else 0),
            (self._source, 12),
            (self._publish, 6),
            (self._stop_reading, 8),
            (self._leave, 4),
        )
        self._changes, self._weights = zip(*changes, strict=True)

    def run(self) -> "Counter[str]":
        """Live through all of it, and count.

        Raises:
            Different: the answers of the two sites differ.
        """
        with self._twins.moment.everywhere(), errors_logged() as errors:
            self._mint()
            self._publish()
            while self.counts["requests"] < self._requests:
                self._step()
            self._end()
        if errors:
            raise Different(f"an error was logged: {errors[0]}")
        self.counts["answered"] = self._twins.ordinary.site.answered
        self.counts["through the fast path"] = self._twins.fast.site.repeated
        return self.counts

    def _choose(self) -> Options:
        return Options(
            policy=self.random.choice(("per-token", "rotating")),
            dev=self.random.random() < 0.5,
            access_log=self.random.random() < 0.7,
            max_keys=self.random.choice((3, 40, 200, 200)),
            buffer=self.random.choice((1_500, 20_000, 65_536)),
        )

    def _step(self) -> None:
        if self.random.random() < 0.06:
            self.counts["changes"] += 1
            self.random.choices(self._changes, self._weights)[0]()
        client = self._client()
        if not client.ordinary.transport.reads and self.random.random() < 0.3:
            client.read_on(True)
        self._send(client)

    def _client(self) -> TwinClient:
        self._clients = [client for client in self._clients if not client.lost]
        if not self._clients or (len(self._clients) < 4 and self.random.random() < 0.02):
            self._clients.append(self._twins.connect())
            self.counts["connections"] += 1
        return self.random.choice(self._clients)

    def _send(self, client: TwinClient) -> None:
        """Requests alone, cut, pipelined, or merged with the beginning of the next."""
        group = 1 if self.random.random() < 0.85 else self.random.randint(2, 6)
        self.counts["requests"] += group
        octets = self._begun.pop(client.number, b"")
        octets += b"".join(self._grammar.request() for _ in range(group))
        if self.random.random() < 0.03:
            self._hold_back(client, octets)
            return
        whole = self.random.random() < 0.9
        self._feed(client, [octets] if whole else cut(self.random, octets))

    def _hold_back(self, client: TwinClient, octets: bytes) -> None:
        """The end of the last request comes with the beginning of the next one."""
        at = self.random.randrange(len(octets))
        self._begun[client.number] = octets[at:]
        self._feed(client, [octets[:at]])

    def _feed(self, client: TwinClient, pieces: list[bytes]) -> None:
        self.counts["pieces"] += len(pieces)
        answered = b""
        for piece in pieces:
            answered += client.send(piece)
        self._twins.moment.seconds += self.random.choice((0, 0, 0, 0.3))
        if self.random.random() < 0.3:
            self._grammar.learn(answered)
            self._twins.compare_logs()

    # What changes between two requests.

    def _kid(self) -> str:
        return self.random.choice(self._grammar.kids).decode("ascii")

    def _advance(self) -> None:
        seconds = self.random.choice((0, 0.5, 1, 5, 10, 30, 59.5, 60, 60.5, 3600, 20_000, 86_400))
        self._twins.advance(seconds, late=self.random.random() < 0.3)

    def _doze(self) -> None:
        """A connection that is used just often enough, or not quite."""
        client = self._client()
        for _ in range(self.random.randint(1, 4)):
            if not client.lost:
                self._send(client)
            self._twins.advance(self.random.choice((29.5, 30, 59, 59.5, 60)))

    def _mint(self) -> None:
        wish = MintRequest(lifetime=self.random.choice((None, 5, 60)))
        self._issuers("a token", lambda issuer: issuer.mint(wish))

    def _rotate(self) -> None:
        self._issuers("rotate", lambda issuer: issuer.rotate(None))

    def _revoke(self) -> None:
        kid = self._kid()
        self._issuers(f"revoke {kid}", lambda issuer: issuer.policy.revoke(kid))

    def _reset(self) -> None:
        self._issuers("reset", lambda issuer: issuer.reset_keys())

    def _issuers(self, what: str, call: Callable[[Any], Any]) -> None:
        self._twins.happen(what, lambda side: Deferred.fromCoroutine(call(side.issuer)))

    def _fault(self) -> None:
        kind = self.random.choice(KINDS)
        count = self.random.choice((1, 1, 2, 5, None))
        seconds = self.random.choice((1, 60)) if count is None else None
        delay = self.random.choice((0.5, 5.0, 61.0))

        def add(side: Side) -> None:
            assert side.dev is not None
            until = None if seconds is None else side.clock.seconds() + seconds
            stale = side.issuer.policy.keys.key_set()
            side.dev.faults.add(Fault(kind, count, until, delay=delay, stale=stale))

        self._twins.happen(f"fault {kind}, {count} times, {seconds} s", add)

    def _clear_faults(self) -> None:
        self._twins.happen("no faults", lambda side: side.dev and side.dev.faults.clear())

    def _move_dev_clock(self) -> None:
        seconds = self.random.choice((1, 60, 4000))
        name = self.random.choice(("freeze", "advance", "release"))

        def move(side: Side) -> None:
            assert side.dev is not None
            getattr(side.dev.clock, name)(*((seconds,) if name == "advance" else ()))

        self._twins.happen(f"{name} {seconds}", move)

    def _source(self) -> None:
        """Keys are not ready, or are again."""
        at_once = self.random.random() < 0.85

        def turn(side: Side) -> None:
            side.source.at_once = at_once
            side.source.release()

        self._twins.happen(f"keys are {'ready' if at_once else 'made when asked for'}", turn)

    def _publish(self) -> None:
        self._grammar.learn(self._twins.compare_published())

    def _stop_reading(self) -> None:
        if self._clients:
            self.random.choice(self._clients).read_on(False)

    def _leave(self) -> None:
        if self._clients:
            client = self.random.choice(self._clients)
            self.random.choice((client.lose, client.shut))()

    def _end(self) -> None:
        """In half of the worlds the servers stop while they are asked."""
        if self.random.random() < 0.5:
            self._twins.happen("the server stops", lambda side: side.site.drain() and None)
            for _ in range(5):
                self._send(self._client())
        self._twins.compare_published()
        self._twins.end()


def run(seeds: Sequence[str]) -> "tuple[Counter[str], str | None]":
    """Live through the worlds of these seeds; the counts, and the first difference."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        try:
            counts += World(seed).run()
        except Different as difference:
            return counts, f"seed {seed}\n{difference}"
    return counts, None
