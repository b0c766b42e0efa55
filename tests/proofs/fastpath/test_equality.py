"""The two sites told apart by nothing: however requests are cut, and in worlds of all kinds."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from unittest import TestCase
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from jwksd.web.http.fastpath import Lane, LaneChannel, Template
from tests.proofs.fastpath.__main__ import LEAST_SHARE
from tests.proofs.fastpath.proof import World
from tests.proofs.fastpath.sites import CountingChannel, Different, Options, Twins
from tests.web.http.test_fastpath import JWKS, get

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
    def test_no_world_tells_them_apart(self) -> None:
        """Thousands of requests and changes by chance, a large part answered through the lane."""
        counts: Counter[str] = Counter()
        for number in range(16):
            counts += World(f"test:{number}").run()
        self.assertGreaterEqual(counts["requests"], 8_000)
        self.assertGreaterEqual(counts["through the lane"], LEAST_SHARE * counts["answered"])


class ControlTests(TestCase):
    """The proof finds what is wrong: a lane that is broken is told apart."""

    def assert_told_apart(self, **broken: object) -> None:
        kept = {name: getattr(LaneChannel, name) for name in broken}
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
        self.assert_told_apart(
            _send100Continue=lambda self: self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        )

    def test_a_timer_that_is_not_moved_is_seen(self) -> None:
        """A connection that is closed while it is used."""

        def timed_out(self: CountingChannel) -> None:
            self._answered_at = 0
            LaneChannel.timeoutConnection(self)

        self.assert_told_apart(timeoutConnection=timed_out)

    def test_a_connection_at_rest_too_early_is_seen(self) -> None:
        """The lane answers in the middle of another request."""
        self.assert_told_apart(_is_at_rest=lambda self: not self.transport.disconnecting)

    def test_a_sibling_that_is_taken_for_another_is_seen(self) -> None:
        """One key's document told as another's."""

        find = Lane.find_sibling

        def find_wrong(self: Lane, request: bytes) -> Template | None:
            slots = {id(template): template.slot for template in self.templates.values()}
            template = find(self, request)
            if template is not None:
                template.slot = slots[id(template)]
            return template

        with patch.object(Lane, "find_sibling", find_wrong), self.assertRaises(Different):
            for number in range(16):
                World(f"test:{number}").run()

    def test_a_stale_set_is_seen(self) -> None:
        """A set that is told after it has changed."""
        twins = Twins(replace(ROTATING, policy="per-token"))
        with twins.moment.everywhere():
            client = twins.connect()
            client.send(get(JWKS))
            (entry,) = twins.lane.site.lane.entries.values()
            old = entry._again()
            entry._again = lambda: old
            client.send(get("/auth", method="POST"))
            with self.assertRaises(Different):
                client.send(get(JWKS))
