"""The two sites never differ: however requests are cut, and in worlds of all kinds."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from unittest import TestCase
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from jwksd.web.http.answers import AnswerToKind
from jwksd.web.http.fastpath import FastPath, FastPathChannel
from tests.proofs.fastpath.__main__ import LEAST_SHARE
from tests.proofs.fastpath.proof import World
from tests.proofs.fastpath.sites import CountingChannel, Different, Options, Twins
from tests.support.http import JWKS, get

REQUESTS = [
    get(JWKS),
    get(JWKS, method="HEAD"),
    get(JWKS, "If-None-Match: *"),
    get("/.well-known/openid-configuration"),
    get("/nothing"),
    get("/auth", "Content-Length: 0", method="POST"),
    get("/auth", "Content-Length: 14", method="POST") + b'{"lifetime":5}',
    get("/auth", "Content-Type: application/json", "Content-Length: 14", method="POST")
    + b'{"lifetime":5}',
    b"\r\n" + get(JWKS),
    get(JWKS, "Content-Length: 3") + b"GET",
    get(JWKS, "Expect: 100-continue"),
    get(JWKS, "Connection: close"),
    b"GET " + JWKS.encode() + b" HTTP/1.0\r\n\r\n",
    b"nonsense\r\n\r\n",
]
ROTATING = Options(policy="rotating", algorithms=("EdDSA",))


def send(pieces: list[bytes], options: Options = ROTATING) -> None:
    """Send the pieces to both, on one connection after another."""
    twins = Twins(options)
    with twins.moment.everywhere():
        client = twins.connect()
        for piece in pieces:
            client = twins.connect() if client.lost else client
            client.send(piece)
        twins.end()


class CutTests(TestCase):
    @settings(max_examples=60)
    @given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8), st.data())
    def test_however_requests_are_cut(self, requests: list[bytes], data: st.DataObject) -> None:
        """Whole, split anywhere, pipelined and merged."""
        octets = b"".join(requests)
        cuts = sorted(data.draw(st.sets(st.integers(1, len(octets)), max_size=8)))
        bounds = [0, *cuts, len(octets)]
        send(requests)
        send([octets[a:b] for a, b in pairwise(bounds)])

    def test_cut_at_every_octet(self) -> None:
        """Three requests, in two pieces, in every way there is."""
        octets = get(JWKS) * 2 + get("/nothing")
        for cut in range(len(octets)):
            send([get(JWKS), octets[:cut], octets[cut:]])


class WorldTests(TestCase):
    def test_the_sites_differ_in_no_world(self) -> None:
        """Thousands of requests and changes by chance, a large part answered on the fast path."""
        counts: Counter[str] = Counter()
        for number in range(16):
            counts += World(f"test:{number}").run()
        self.assertGreaterEqual(counts["requests"], 8_000)
        self.assertGreaterEqual(counts["through the fast path"], LEAST_SHARE * counts["answered"])


class ControlTests(TestCase):
    """The proof finds what is wrong: a fast path that is broken answers differently."""

    def assert_different(self, **broken: object) -> None:
        kept = {name: getattr(FastPathChannel, name) for name in broken}
        for name, value in broken.items():
            setattr(CountingChannel, name, value)
        try:
            with self.assertRaises(Different):
                for number in range(16):
                    World(f"test:{number}").run()
        finally:
            for name in kept:
                delattr(CountingChannel, name)

    def test_an_interim_answer_that_is_left_out_is_seen(self) -> None:
        """100 before the first answer and not before the second."""
        self.assert_different(
            _send100Continue=lambda self: self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        )

    def test_a_timer_that_is_not_moved_is_seen(self) -> None:
        """A connection that is closed while it is used."""

        def timed_out(self: CountingChannel) -> None:
            self._answered_at = 0
            FastPathChannel.timeoutConnection(self)

        self.assert_different(timeoutConnection=timed_out)

    def test_a_connection_that_is_idle_too_early_is_seen(self) -> None:
        """The fast path answers in the middle of another request."""
        self.assert_different(_is_idle=lambda self: not self.transport.disconnecting)

    def test_a_kid_that_is_taken_for_another_is_seen(self) -> None:
        """One key's document is answered as another's."""

        find = FastPath.find_kind

        def find_wrong(self: FastPath, request: bytes) -> AnswerToKind | None:
            holes = {id(kind): kind.hole for kind in self.kinds.values()}
            kind = find(self, request)
            if kind is not None:
                kind.hole = holes[id(kind)]
            return kind

        with patch.object(FastPath, "find_kind", find_wrong), self.assertRaises(Different):
            for number in range(16):
                World(f"test:{number}").run()

    def test_a_stale_set_is_seen(self) -> None:
        """A set that is answered after it has changed."""
        twins = Twins(replace(ROTATING, policy="per-token"))
        with twins.moment.everywhere():
            client = twins.connect()
            client.send(get(JWKS))
            (answer,) = twins.fast.site.fast_path.answers.values()
            old = answer._current_body()
            answer._current_body = lambda: old
            client.send(get("/auth", method="POST"))
            with self.assertRaises(Different):
                client.send(get(JWKS))
