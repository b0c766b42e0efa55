"""Ten thousand GETs of the key set while keys rotate, and what holds of every answer.

One course of events is played once, with a fixed seed: tokens are minted, rotations asked for, keys
revoked, the clock goes on, now and then with a timer that is late. The tests look at what was
answered on the way.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import combinations, pairwise
from math import ceil
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from jwksd.issuing.mintrequest import MintRequest
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.keysources.generating import generate
from jwksd.lifecycle.schedule import Schedule
from jwksd.web.http.site import Site
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.http import Connection
from tests.support.keys import NOW, PRIVATE_MEMBERS, NothingReady, assert_public

ROUNDS = 2_000
GETS = 5
"""In each round, without a condition, and one more with it."""

NAMES = ("ES256", "Ed25519")
JWKS = "/.well-known/jwks.json"
SCHEDULE = Schedule.of(
    rotation_interval=12_000, propagation=10_000, max_age=1000, clock_skew=60, max_lifetime=7200
)
REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
"""The members of a thumbprint, in their order (RFC 7638 §3.2, RFC 8037 §2)."""


def thumbprint(key: Mapping[str, str]) -> str:
    """Of a public JWK, by the letter of RFC 7638 §3."""
    members = {name: key[name] for name in REQUIRED[key["kty"]]}
    digest = sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True)
class Answer:
    """A response, taken from the stream by its own Content-Length."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def kids(self) -> list[str]:
        """Those of the key set that it is, in order."""
        return [key["kid"] for key in json.loads(self.body)["keys"]]


def answers(octets: bytes) -> Iterator[Answer]:
    """The responses in a stream; one that is not whole spoils the next."""
    while octets:
        head, _, rest = octets.partition(b"\r\n\r\n")
        status, *lines = head.decode("ascii").split("\r\n")
        assert status.startswith("HTTP/1.1 "), status
        fields = dict(line.split(": ", 1) for line in lines)
        length = int(fields.get("Content-Length", 0))
        yield Answer(int(status[9:12]), fields, rest[:length])
        octets = rest[length:]


class Client:
    """A connection that is kept alive, and asks for several things at once."""

    def __init__(self, site: Site) -> None:
        self._connection = Connection(site)

    def get(self, *requests: tuple[str, str]) -> list[Answer]:
        """The answers to requests, each a path and an If-None-Match."""
        sent = [
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"
            for path, tag in requests
        ]
        self._connection.transport.clear()
        self._connection.send("".join(sent).encode())
        found = list(answers(self._connection.received))
        assert len(found) == len(requests), self._connection.received
        return found


class LazySource(NothingReady):
    """Keys that are made on demand, and take a few seconds."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random

    def take(self, alg: str) -> "Deferred[KeyPair]":
        algorithm = ALGORITHMS[alg]
        made = generate(algorithm, 2048)
        return deferLater(self._clock, self._random.choice((0, 0.25, 3)), lambda: made)


@dataclass(frozen=True)
class Look:
    """All that was answered at one moment."""

    now: float
    described: Sequence[Mapping[str, Any]]
    gets: Sequence[Answer]
    tag: str
    conditional: Answer
    singles: Mapping[str, Answer]

    @property
    def document(self) -> Answer:
        """The key set."""
        return self.gets[0]


@dataclass
class Course:
    """What happened; tokens by the number of the look that follows."""

    looks: list[Look] = field(default_factory=list)
    minted: dict[int, list[Token]] = field(default_factory=dict)
    revoked: dict[str, float] = field(default_factory=dict)


class Play:
    """The course of events, one round after another."""

    def __init__(self) -> None:
        self._random = Random(7517)
        self._clock = Clock()
        self._clock.advance(NOW)
        self._issuer = make_issuer(
            self._clock,
            LazySource(self._clock, self._random),
            policy="rotating",
            algorithms=NAMES,
            schedule=SCHEDULE,
        )
        # The clock of the connection stands, or it would be closed as an idle one.
        self._client = Client(Site(make_root(self._issuer), Clock()))
        self._course = Course()

    def run(self) -> Course:
        """Everything."""
        self._issuer.policy.start()
        self._clock.advance(3)
        self._look("")
        for number in range(ROUNDS):
            self._act(number)
            self._look(self._course.looks[-1].document.fields["ETag"])
        self._issuer.stop()
        return self._course

    def _act(self, number: int) -> None:
        if number % 40 == 39:
            self._revoke()
        elif number % 25 == 24:
            self._start(self._issuer.rotate(self._random.choice(NAMES)))
        elif number % 2:
            self._mint()
        else:
            self._pass_time(self._random.choice((0.5, 100, 4000, *self._around_a_change())))

    def _around_a_change(self) -> tuple[float, float]:
        """How long until half a second before the next change, and until the very moment."""
        change = self._described()["next_change"]  # None while a key is made
        seconds = max(0.5, (change or 0) - self._clock.seconds())
        return seconds - 0.5, seconds

    def _pass_time(self, seconds: float) -> None:
        if self._random.random() < 0.5:
            self._clock.advance(seconds)
        else:
            self._clock.rightNow += seconds  # the timers are late

    def _mint(self) -> None:
        request = MintRequest(
            alg=self._random.choice(NAMES), lifetime=self._random.randint(1, 7200)
        )
        self._start(self._issuer.mint(request)).addCallback(self._minted)

    def _minted(self, token: Token) -> None:
        self._course.minted.setdefault(len(self._course.looks), []).append(token)

    def _revoke(self) -> None:
        kid = self._random.choice(self._course.looks[-1].document.kids)
        if any(key["kid"] == kid for key in self._keys()):
            self._start(self._issuer.policy.revoke(kid))
            self._course.revoked[kid] = self._clock.seconds()

    def _start(self, work: Any) -> "Deferred[Any]":
        return Deferred.fromCoroutine(work)

    def _keys(self) -> Sequence[Mapping[str, Any]]:
        keys: Sequence[Mapping[str, Any]] = self._described()["keys"]
        return keys

    def _described(self) -> Any:
        described: list[Any] = []
        self._start(self._issuer.policy.describe()).addCallback(described.append)
        return described[0]

    def _look(self, tag: str) -> None:
        *gets, conditional = self._client.get(*[(JWKS, "")] * GETS, (JWKS, tag))
        kids = gets[0].kids
        if self._course.looks:
            kids = list(dict.fromkeys(kids + self._course.looks[-1].document.kids))
        singles = self._client.get(*[(f"/.well-known/{kid}.json", "") for kid in kids])
        look = Look(
            self._clock.seconds(),
            self._keys(),
            gets,
            tag,
            conditional,
            dict(zip(kids, singles, strict=True)),
        )
        self._course.looks.append(look)


@cache
def course() -> Course:
    """The course of events, played once for all tests."""
    return Play().run()


class DocumentTests(SynchronousTestCase):
    def documents(self) -> list[Answer]:
        """Each that differs from the one before."""
        found = [look.document for look in course().looks]
        return found[:1] + [b for a, b in pairwise(found) if a.body != b.body]

    def births(self) -> dict[str, tuple[int, int]]:
        """The first and the last second in which each key can have been published."""
        found: dict[str, tuple[int, int]] = {}
        before = float(NOW)
        for look in course().looks:
            for kid in look.document.kids:
                found.setdefault(kid, (ceil(before), ceil(look.now)))
            before = look.now
        return found

    def test_the_course_is_long_enough(self) -> None:
        """Ten thousand GETs fell into a hundred rotations of each algorithm."""
        looks = course().looks
        self.assertGreaterEqual(sum(len(look.gets) for look in looks), 10_000)
        for alg in NAMES:
            active = [
                key["kid"]
                for look in looks
                for key in look.described
                if (key["alg"], key["state"]) == (alg, "active")
            ]
            self.assertGreaterEqual(len(set(active)), 100, alg)
        self.assertGreaterEqual(len(course().revoked), 40)
        self.assertGreaterEqual(sum(map(len, course().minted.values())), 900)
        self.assertGreaterEqual(max(len(look.document.kids) for look in looks), 6)

    def test_every_answer_is_whole(self) -> None:
        """Each is 200 with as many octets as it says, and JSON with nothing but keys."""
        for look in course().looks:
            for answer in look.gets:
                self.assertEqual(answer.status, 200)
                self.assertEqual(int(answer.fields["Content-Length"]), len(answer.body))
                self.assertEqual(answer.body, look.document.body)
        for document in self.documents():
            self.assertEqual(list(json.loads(document.body)), ["keys"])

    def test_no_key_is_there_twice(self) -> None:
        """Some verifiers refuse a set in which a kid is not unique."""
        for document in self.documents():
            self.assertEqual(len(set(document.kids)), len(document.kids))

    def test_every_kid_is_the_thumbprint_of_its_own_key(self) -> None:
        """No key is ever published under the name of another, or with a member changed."""
        for document in self.documents():
            for key in json.loads(document.body)["keys"]:
                self.assertEqual(key["kid"], thumbprint(key))

    def test_nothing_private_is_published(self) -> None:
        """No key has a private member, in any state, in any document."""
        for document in self.documents():
            assert_public(document.body, JWKS)
            for key in json.loads(document.body)["keys"]:
                self.assertEqual(PRIVATE_MEMBERS & set(key), set())

    def test_two_keys_never_change_places(self) -> None:
        """In all documents that have both keys, the same one comes first."""
        before: set[tuple[str, str]] = set()
        for document in self.documents():
            before.update(combinations(document.kids, 2))
        self.assertEqual({pair for pair in before if pair[::-1] in before}, set())

    def test_the_oldest_key_comes_first(self) -> None:
        """No key stands before one that was published in an earlier second."""
        births = self.births()
        for document in self.documents():
            for first, second in combinations(document.kids, 2):
                self.assertLessEqual(births[first][0], births[second][1])

    def test_the_issuer_describes_its_keys_in_the_order_of_publication(self) -> None:
        """New keys come last, within one second too."""
        known: list[str] = []
        for look in course().looks:
            told = [key["kid"] for key in look.described]
            known = [kid for kid in known if kid in told]
            self.assertEqual(told[: len(known)], known)
            known = told

    def test_the_document_has_the_keys_that_the_issuer_describes(self) -> None:
        """What is described is what is published, at the same moment."""
        for look in course().looks:
            told = {(key["kid"], key["alg"]) for key in look.described}
            keys = json.loads(look.document.body)["keys"]
            self.assertEqual({(key["kid"], key["alg"]) for key in keys}, told)

    def test_every_key_has_the_same_document_of_its_own(self) -> None:
        """``<kid>.json`` holds the member of the set, letter for letter; without it, 404."""
        for look in course().looks:
            body, kids = look.document.body, look.document.kids
            for kid, single in look.singles.items():
                self.assertEqual(single.status, 200 if kid in kids else 404)
                if kid in kids:
                    self.assertEqual(single.kids, [kid])
                    self.assertIn(single.body[len(b'{"keys":[') : -len(b"]}")], body)

    def test_every_token_finds_its_key(self) -> None:
        """From its minting to its end, save when its key was revoked."""
        ends: dict[str, int] = {}
        for number, look in enumerate(course().looks):
            for token in course().minted.get(number, []):
                ends[token.kid] = max(ends.get(token.kid, 0), token.exp)
            needed = {kid for kid, exp in ends.items() if look.now < exp}
            gone = {kid for kid, at in course().revoked.items() if at <= look.now}
            self.assertLessEqual(needed - gone, set(look.document.kids))

    def test_a_revoked_key_never_comes_back(self) -> None:
        """From the revocation on, no document has it."""
        for kid, at in course().revoked.items():
            later = [look for look in course().looks if look.now > at]
            self.assertEqual([look.now for look in later if kid in look.document.kids], [])


class ValidatorTests(SynchronousTestCase):
    def test_the_tag_changes_exactly_when_the_bytes_do(self) -> None:
        """Over all answers, each tag stands for the same bytes, and the same bytes for each tag."""
        pairs = {
            (answer.fields["ETag"], answer.body)
            for look in course().looks
            for answer in (*look.gets, *look.singles.values())
            if answer.status == 200
        }
        self.assertEqual(len({tag for tag, _ in pairs}), len(pairs))
        self.assertEqual(len({body for _, body in pairs}), len(pairs))

    def test_304_exactly_when_nothing_has_changed(self) -> None:
        """A client that sends the last tag gets the new bytes, or 304 where they are the same."""
        looks = course().looks
        for before, look in pairwise(looks):
            answer, same = look.conditional, look.document.body == before.document.body
            self.assertEqual(look.tag, before.document.fields["ETag"])
            self.assertEqual(answer.status, 304 if same else 200)
            self.assertEqual(answer.body, b"" if same else look.document.body)
            self.assertEqual(answer.fields["ETag"], look.document.fields["ETag"])

    def test_both_answers_came(self) -> None:
        """The course has hundreds of looks at which the keys had changed, and as many at others."""
        found = [look.conditional.status for look in course().looks[1:]]
        self.assertGreaterEqual(found.count(200), 300)
        self.assertGreaterEqual(found.count(304), 300)
