"""A rotation on a clock that stands until it is advanced."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.issuing.issuer import Issuer
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.rotating import Rotating
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.keysources.generating import generate
from tests.support.app import SCHEDULE, make_issuer
from tests.support.keys import NOW, KeysInOrder, NothingReady, key_pair

PLAIN = MintRequest()
DAY = SCHEDULE.rotation_interval
A, B, C = (key_pair(number).kid for number in range(3))


class RotationTestCase(SynchronousTestCase):
    """A rotation on a clock that stands until it is advanced: A is active, B pending."""

    source: Any = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.slept = 0.0
        self.issuer = self.make(self.source)
        self.issuer.policy.start()

    def make(self, source: Any = None, **changes: Any) -> Issuer:
        steady = self.clock.seconds
        return make_issuer(
            self.clock,
            source,
            policy="rotating",
            steady=lambda: steady() - self.jumped,
            **changes,
        )

    jumped = 0.0
    """How much of the wall clock's way was no time that passed."""

    @property
    def policy(self) -> Rotating:
        policy = self.issuer.policy
        assert isinstance(policy, Rotating)
        return policy

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock; no timer runs."""
        self.jumped += seconds
        self.clock.rightNow += seconds

    def sleep(self, seconds: float) -> None:
        """Time passes, and no timer runs."""
        self.clock.rightNow += seconds

    def mint(self, request: MintRequest = PLAIN) -> Token:
        token: Token = self.successResultOf(Deferred.fromCoroutine(self.issuer.mint(request)))
        return token

    def rotate(self, alg: str | None = None) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.issuer.rotate(alg)))

    def revoke(self, kid: str) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.issuer.policy.revoke(kid)))

    def describe(self) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.issuer.policy.describe()))

    def kids(self) -> list[str]:
        return [key["kid"] for key in json.loads(self.issuer.policy.keys.key_set().body)["keys"]]

    def states(self) -> dict[str, str]:
        keys: Any = self.describe()["keys"]
        return {key["kid"]: key["state"] for key in keys}


class TwoKinds(KeysInOrder):
    """Fresh keys of any algorithm, made at once."""

    def take_now(self, alg: str) -> KeyPair | None:
        return generate(ALGORITHMS[alg], 2048)


class SlowSource(NothingReady):
    """A source whose keys come, or fail to, when the test says so."""

    def __init__(self) -> None:
        self.takers: list[Deferred[KeyPair]] = []
        self.given = 0

    def take(self, alg: str) -> "Deferred[KeyPair]":
        self.takers.append(Deferred())
        return self.takers[-1]

    def give(self) -> None:
        self.takers.pop(0).callback(key_pair(self.given))
        self.given += 1
