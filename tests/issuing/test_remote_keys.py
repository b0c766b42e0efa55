"""Keys that live elsewhere: their private halves never come into this process."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jwksd.interfaces import IKeySource
from jwksd.issuing.mintrequest import MintRequest
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.tokens import Token
from jwksd.jose.verifying import has_valid_signature
from jwksd.keysources.generating import generate
from tests.support.app import SCHEDULE, make_issuer
from tests.support.keys import NOW


@implementer(IKeySource)
class Vault:
    """Keeps the private halves, and signs with them; ``signed`` has the kid of each signature."""

    def __init__(self, *, is_slow: bool) -> None:
        self._is_slow = is_slow
        self.signed: list[str] = []

    def take_now(self, alg: str) -> KeyPair | None:
        kept = generate(ALGORITHMS[alg], 2048)

        def sign(signing_input: bytes) -> bytes:
            self.signed.append(kept.kid)
            return kept.sign(signing_input)

        return KeyPair(dict(kept.public), sign, ALGORITHMS[alg], is_slow=self._is_slow)

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return succeed(self.take_now(alg))


class RemoteKeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)

    def make(self, *, is_slow: bool = False, **changes: Any) -> None:
        self.vault = Vault(is_slow=is_slow)
        self.issuer = make_issuer(self.clock, self.vault, algorithms=["ES256"], **changes)
        self.issuer.policy.start()
        self.addCleanup(self.issuer.stop)

    def mint(self) -> Token:
        return self.successResultOf(Deferred.fromCoroutine(self.issuer.mint(MintRequest())))

    def assert_verifies(self, token: Token) -> None:
        """With what is published; and it was the vault that signed."""
        key = self.issuer.policy.keys.get(token.kid)
        assert key is not None
        text = token.token
        self.assertTrue(
            has_valid_signature(text if isinstance(text, str) else text.decode(), key.public)
        )
        self.assertIn(token.kid, self.vault.signed)

    def test_a_key_that_lives_elsewhere_signs_one_token(self) -> None:
        """With per-token keys; its public half is published for as long as the token lives."""
        self.make()
        token = self.mint()
        self.assert_verifies(token)
        self.clock.advance(3600)
        self.assertIsNone(self.issuer.policy.keys.get(token.kid))

    def test_a_key_that_lives_elsewhere_rotates(self) -> None:
        """Its successor is published, then signs; what the first one signed verifies meanwhile."""
        self.make(policy="rotating")
        first = self.mint()
        self.assert_verifies(first)
        self.clock.advance(SCHEDULE.rotation_interval)
        second = self.mint()
        self.assertNotEqual(first.kid, second.kid)
        self.assert_verifies(first)
        self.assert_verifies(second)

    def test_only_a_slow_one_signs_on_a_thread(self) -> None:
        """It is the key that is asked, and not its algorithm: ES256 is quick in this process."""
        for is_slow in (True, False):
            with self.subTest(is_slow=is_slow):
                threads: list[Any] = []

                def run(work: Any, threads: list[Any] = threads) -> Any:
                    threads.append(work)
                    return succeed(work())

                self.make(is_slow=is_slow, policy="rotating", run_signing=run)
                self.assert_verifies(self.mint())
                self.assertEqual(bool(threads), is_slow)
