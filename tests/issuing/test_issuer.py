"""The issuer: every token has a key of its own, and both end in the same second."""

import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwcrypto.common import base64url_decode
from jwcrypto.jwk import JWK
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.dev.defects import DEFECTS
from jwksd.errors import InvalidParameter, TooManyKeys
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.selfcheck import SelfCheck
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.tokens import Token
from jwksd.jose.verifying import has_valid_signature
from jwksd.keysources.generating import generate
from jwksd.stores.memory import MemoryStore
from tests.support.app import make_issuer, run_at_once
from tests.support.keys import NOW, KeysInOrder, NothingReady

PLAIN, EXPIRED = MintRequest(), MintRequest(expired=True)
EXPIRED_TOKEN = MintRequest(expired="token")


def slow_store() -> MemoryStore:
    """A store whose calls may take their time."""
    store = MemoryStore()
    store.at_once = False
    return store


class IssuerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.issuer = make_issuer(self.clock)

    def mint(self, request: MintRequest = PLAIN, issuer: Issuer | None = None) -> Token:
        minting = (issuer or self.issuer).mint(request)
        token: Token = self.successResultOf(Deferred.fromCoroutine(minting))
        return token

    def kids(self) -> list[str]:
        return [key["kid"] for key in json.loads(self.issuer.policy.keys.key_set().body)["keys"]]


class MintTests(IssuerTestCase):
    def test_the_key_is_published_when_the_token_is_out(self) -> None:
        """Whoever holds a token finds its key, in the set and alone."""
        token = self.mint()
        self.assertEqual(self.kids(), [token.kid])
        alone = json.loads(self.issuer.policy.keys.get(token.kid).document.body)["keys"]
        self.assertEqual([key["kid"] for key in alone], [token.kid])

    def test_every_token_has_a_key_of_its_own(self) -> None:
        """Three tokens, three keys, three ids."""
        self.assertEqual(len({self.mint().kid for _ in range(3)}), 3)

    def test_times_are_whole_seconds_from_the_clock(self) -> None:
        """At a fraction of a second iat is the second begun, and exp a lifetime later."""
        self.clock.advance(0.75)
        token = self.mint()
        self.assertEqual((token.iat, token.exp), (NOW, NOW + 3600))

    def test_an_expired_token_has_expired_an_hour_ago(self) -> None:
        """Its exp is an hour back, its iat a lifetime before, and its key is on no document."""
        token = self.mint(EXPIRED)
        self.assertEqual((token.iat, token.exp), (NOW - 7200, NOW - 3600))
        self.assertEqual(self.kids(), [])
        self.assertIsNone(self.issuer.policy.keys.get(token.kid))

    def test_a_token_may_have_expired_alone(self) -> None:
        """Its key is published from now on, for as long as a token of that lifetime is valid."""
        for request, lifetime in ((EXPIRED_TOKEN, 3600), (replace(EXPIRED_TOKEN, lifetime=60), 60)):
            for changes in ({}, {"store": slow_store()}):
                with self.subTest(lifetime=lifetime, changes=changes):
                    self.issuer = make_issuer(self.clock, **changes)
                    token = self.mint(request)
                    now = int(self.clock.seconds())
                    expected = (now - 3600 - lifetime, now - 3600)
                    self.assertEqual((token.iat, token.exp), expected)
                    self.clock.advance(lifetime - 0.5)
                    self.assertEqual(self.kids(), [token.kid])
                    self.clock.advance(0.5)
                    self.assertEqual(self.kids(), [])

    def test_a_key_that_is_to_be_unknown_stays_so(self) -> None:
        """Whatever has expired."""
        wish = replace(EXPIRED_TOKEN, seal_with=DEFECTS["kid-unknown"].seal, published=False)
        self.mint(wish)
        self.assertEqual(self.kids(), [])

    def test_nothing_but_its_time_is_wrong_with_a_token_that_has_expired_alone(self) -> None:
        """Its signature verifies with the published key; claims and header are as asked for."""
        wish = replace(EXPIRED_TOKEN, claims={"sub": "s"}, header={"typ": "at+jwt"})
        token = self.mint(wish).token.decode()
        key = self.issuer.policy.keys.get(self.kids()[0])
        self.assertTrue(has_valid_signature(token, key.public))
        claims = json.loads(base64url_decode(token.split(".")[1]))
        expected = {"iat": NOW - 7200, "exp": NOW - 3600, "sub": "s"}
        self.assertEqual({name: claims[name] for name in expected}, expected)
        self.assertIsNone(self.issuer.introspect(token))


class MintNowTests(IssuerTestCase):
    """What can be minted without waiting, is; what cannot, is left to ``mint``."""

    def test_a_plain_token_is_minted_at_once(self) -> None:
        """Its key is published when it is answered, and ends with it."""
        token = self.issuer.mint_now(PLAIN)
        assert token is not None
        self.assertEqual(self.kids(), [token.kid])
        self.assertEqual(self.issuer.introspect(token.token.decode())["jti"], "id-0")
        self.clock.advance(token.exp - NOW)
        self.assertEqual(self.kids(), [])

    def test_claims_and_header_are_taken_too(self) -> None:
        """As ``mint`` takes them: checked, and merged over the default ones."""
        token = self.issuer.mint_now(MintRequest(claims={"sub": "s"}, header={"typ": "at+jwt"}))
        assert token is not None
        self.assertEqual(self.issuer.introspect(token.token.decode())["sub"], "s")
        head = json.loads(base64url_decode(token.token.decode().split(".")[0]))
        self.assertEqual(head, {"alg": "RS256", "typ": "at+jwt", "kid": token.kid})

    def test_what_has_to_wait_is_none(self) -> None:
        """For a key, for a store that may take its time, and for two keys; nothing is begun."""
        for request in (EXPIRED, MintRequest(seal_with=DEFECTS["exp-past"].seal)):
            self.assertIsNone(self.issuer.mint_now(request))
        self.assertIsNone(make_issuer(self.clock, WaitingSource()).mint_now(PLAIN))
        issuer = make_issuer(self.clock, store=slow_store())
        self.assertIsNone(issuer.mint_now(PLAIN))
        self.assertEqual((len(self.issuer.policy.keys), len(issuer.policy.keys)), (0, 0))
        self.mint(issuer=issuer)
        self.assertEqual(len(issuer.policy.keys), 1)

    def test_what_is_refused_is_refused_now(self) -> None:
        """A wrong request, and one past the bound."""
        issuer = make_issuer(self.clock, max_keys=1)
        with self.assertRaises(InvalidParameter):
            issuer.mint_now(MintRequest(lifetime=0))
        issuer.mint_now(PLAIN)
        with self.assertRaises(TooManyKeys):
            issuer.mint_now(PLAIN)

    def test_the_self_check_is_called(self) -> None:
        """Of every token that is minted now, as of any other."""
        clock = Clock()
        issuer = make_issuer(self.clock, self_check=SelfCheck(clock, run_at_once))
        issuer.mint_now(PLAIN)
        self.assertEqual(len(clock.getDelayedCalls()), 1)

    def test_a_rotation_mints_at_once_when_it_has_a_key(self) -> None:
        """Not before; and what was signed is counted."""
        issuer = make_issuer(self.clock, policy="rotating")
        self.assertIsNone(
            make_issuer(self.clock, WaitingSource(), policy="rotating").mint_now(PLAIN)
        )
        tokens = [issuer.mint_now(PLAIN) for _ in range(3)]
        (kid,) = {token.kid for token in tokens if token}
        described = self.successResultOf(Deferred.fromCoroutine(issuer.policy.describe()))
        signed = {key["kid"]: key["signed"] for key in described["keys"]}
        self.assertEqual(signed[kid], 3)


class ExpiryTests(IssuerTestCase):
    def test_a_key_leaves_every_document_at_its_second(self) -> None:
        """Present until a moment before the token's exp, gone at it."""
        token = self.mint()
        self.clock.advance(3599.999)
        self.assertEqual(self.kids(), [token.kid])
        self.clock.advance(0.001)
        self.assertEqual(self.kids(), [])
        self.assertIsNone(self.issuer.policy.keys.get(token.kid))

    def test_a_key_is_freed_without_any_request(self) -> None:
        """The timer frees it, and leaves no call in the reactor behind."""
        self.mint()
        self.clock.advance(1800)
        self.mint()
        self.clock.advance(1800)
        self.assertEqual(len(self.issuer.policy._live._keys), 1)
        self.clock.advance(1800)
        self.assertEqual(len(self.issuer.policy._live._keys), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_documents_are_right_even_before_the_timer_has_run(self) -> None:
        """A clock that jumped past an expiry, with no timer run yet, shows no expired key."""
        token = self.mint()
        self.clock.rightNow += 3600
        self.assertEqual(self.kids(), [])
        self.assertEqual(len(self.issuer.policy.keys), 0)
        self.assertIsNone(self.issuer.policy.keys.get(token.kid))

    def test_a_key_that_expires_sooner_moves_the_timer(self) -> None:
        """A short-lived key behind a long-lived one is freed at its own second."""
        self.mint()
        self.mint(MintRequest(lifetime=10))
        self.clock.advance(10)
        self.assertEqual(len(self.issuer.policy._live._keys), 1)

    def test_ten_thousand_keys_expire_in_one_go_and_nothing_is_left(self) -> None:
        """At their second all are gone, objects included, and so is the timer."""
        self.mint()
        for number in range(10_000):
            key = PublishedKey.stored(str(number), "RS256", b"{}", NOW, NOW + 3600)
            self.issuer.policy._live._keys.add(key)
        del key
        gc.collect()
        before = count_of(PublishedKey)
        self.clock.advance(3600)
        gc.collect()
        self.assertEqual(before - count_of(PublishedKey), 10_001)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_resetting_forgets_all_keys_and_the_timer(self) -> None:
        """After a reset no key is live, and no call waits in the reactor."""
        self.mint()
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.issuer.reset_keys())), 1)
        self.assertEqual((self.kids(), self.clock.getDelayedCalls()), ([], []))
        self.issuer.stop()


class BoundTests(IssuerTestCase):
    def test_past_max_keys_minting_is_refused_until_one_expires(self) -> None:
        """The refusal says when to come back, and then there is room."""
        issuer = make_issuer(self.clock, max_keys=1)
        self.mint(issuer=issuer)
        self.clock.advance(600)
        minting = Deferred.fromCoroutine(issuer.mint(PLAIN))
        refused = self.failureResultOf(minting, TooManyKeys).value
        self.assertEqual(refused.headers, {"Retry-After": "3000"})
        self.clock.advance(refused.retry_after)
        self.mint(issuer=issuer)

    def test_expired_tokens_need_no_room(self) -> None:
        """Their keys are never live, so a full server still signs them."""
        issuer = make_issuer(self.clock, max_keys=1)
        self.mint(issuer=issuer)
        self.mint(EXPIRED, issuer)

    def test_a_token_that_has_expired_alone_needs_room(self) -> None:
        """Its key is live, so it counts."""
        issuer = make_issuer(self.clock, max_keys=1)
        self.mint(EXPIRED_TOKEN, issuer)
        minting = Deferred.fromCoroutine(issuer.mint(PLAIN))
        self.assertEqual(self.failureResultOf(minting, TooManyKeys).value.retry_after, 3600)

    def test_requests_that_wait_count_too(self) -> None:
        """Two that wait for keys at once cannot together pass the bound."""
        source = WaitingSource()
        issuer = make_issuer(self.clock, source, max_keys=1)
        first = Deferred.fromCoroutine(issuer.mint(PLAIN))
        second = Deferred.fromCoroutine(issuer.mint(PLAIN))
        self.assertEqual(self.failureResultOf(second, TooManyKeys).value.retry_after, 1)
        first.cancel()
        self.failureResultOf(first)
        third = Deferred.fromCoroutine(issuer.mint(PLAIN))
        self.assertNoResult(third)
        third.addErrback(lambda _: None).cancel()


class WaitingSource(NothingReady):
    """A source that never has a key."""

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return Deferred()


class PrivateHalfTests(IssuerTestCase):
    def test_after_a_token_is_out_nothing_reachable_holds_its_private_key(self) -> None:
        """Of all objects alive, none is the private JWK or OpenSSL key that signed the token."""
        source = OneKey()
        issuer = make_issuer(self.clock, source)
        self.assertEqual(private_keys_of(source.kid), (0, 1))
        token = self.mint(issuer=issuer)
        self.assertEqual(token.kid, source.kid)
        self.assertEqual(private_keys_of(token.kid), (0, 0))

    def test_nor_when_it_was_waited_for(self) -> None:
        """The other way to the same end: a key that came late, and a token that has expired."""
        for request in (PLAIN, EXPIRED):
            source = LateKey()
            token = self.mint(request, make_issuer(self.clock, source))
            self.assertEqual(token.kid, source.kid)
            self.assertEqual(private_keys_of(token.kid), (0, 0))

    def test_not_even_when_signing_fails(self) -> None:
        """An error between taking the key and signing leaves no private half behind."""
        source = OneKey()
        issuer = make_issuer(self.clock, source, new_id=lambda: 1 / 0)
        minting = Deferred.fromCoroutine(issuer.mint(PLAIN))
        self.failureResultOf(minting, ZeroDivisionError)
        self.assertEqual(private_keys_of(source.kid), (0, 0))

    def test_a_private_half_is_destroyed_and_not_only_dropped(self) -> None:
        """Whoever else holds the pair cannot sign: of a token minted at once, waited for, expired,
        sealed in a way of its own with two keys, or of one that could not be signed."""
        wrong = MintRequest(seal_with=DEFECTS["kid-foreign"].seal)
        for request, used, changes in (
            (PLAIN, 1, {}),
            (PLAIN, 1, {"store": slow_store()}),
            (EXPIRED_TOKEN, 1, {}),
            (EXPIRED, 1, {}),
            (wrong, 2, {}),
            (replace(wrong, published=False), 2, {}),
            (PLAIN, 1, {"new_id": lambda: 1 / 0}),
            (EXPIRED, 1, {"new_id": lambda: 1 / 0}),
        ):
            with self.subTest(request=request, changes=changes):
                source = Watched()
                issuer = make_issuer(self.clock, source, **changes)
                Deferred.fromCoroutine(issuer.mint(request)).addErrback(lambda _: None)
                states = ["destroyed" in repr(pair) for pair in source.given]
                self.assertEqual(states, [True] * used)


class Watched(KeysInOrder):
    """A source that keeps every pair that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[KeyPair] = []

    def take_now(self, alg: str) -> KeyPair | None:
        pair = super().take_now(alg)
        assert pair is not None
        self.given.append(pair)
        return pair


class SealWithTests(IssuerTestCase):
    """Tokens that are sealed in a way of their own."""

    def seal(self, *parts: Any) -> bytes:
        self.parts = parts
        return b"a token"

    def test_it_is_given_all_that_a_token_is_made_of(self) -> None:
        """Header and claims with what was asked for, two keys of which one is published, the time;
        and what it makes is the token."""
        token = self.mint(MintRequest(seal_with=self.seal, claims={"sub": "s"}))
        header, claims, pair, foreign, now = self.parts
        self.assertEqual(token.token, b"a token")
        self.assertEqual(header, {"alg": "RS256", "typ": "JWT", "kid": token.kid})
        self.assertEqual((claims["sub"], claims["exp"], now), ("s", token.exp, NOW))
        self.assertEqual((self.kids(), pair.kid), ([token.kid], token.kid))
        self.assertNotEqual(foreign.kid, token.kid)

    def test_a_key_that_is_not_to_be_published_is_on_no_document(self) -> None:
        """With a seal of its own, and without."""
        for seal in (self.seal, None):
            self.mint(MintRequest(seal_with=seal, published=False))
        self.assertEqual(self.kids(), [])


class OneKey:
    """A source of exactly one real key, which it does not keep."""

    def __init__(self) -> None:
        self._pairs = [generate(ALGORITHMS["RS256"], 2048)]
        self.kid = self._pairs[0].kid

    def take_now(self, alg: str) -> KeyPair | None:
        return self._pairs.pop()


class LateKey(NothingReady, OneKey):
    """The same, but it has to be waited for."""

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return succeed(self._pairs.pop())


def private_keys_of(kid: str) -> tuple[int, int]:
    """How many private JWKs, and how many OpenSSL private keys, of this kid are alive."""
    gc.collect()
    jwks = [thing for thing in gc.get_objects() if isinstance(thing, JWK) and "d" in thing]
    native = {id(held): held for held in reachable() if isinstance(held, RSAPrivateKey)}
    return (
        sum(jwk.thumbprint() == kid for jwk in jwks),
        sum(JWK.from_pyca(key.public_key()).thumbprint() == kid for key in native.values()),
    )


def reachable() -> Iterator[object]:
    """What all tracked objects refer to; dicts and tuples of plain values are not tracked."""
    for holder in gc.get_objects():
        for held in gc.get_referents(holder):
            yield held
            if isinstance(held, dict | tuple) and not gc.is_tracked(held):
                yield from held.values() if isinstance(held, dict) else held


def count_of(kind: type) -> int:
    """How many objects of this type are alive."""
    return sum(type(thing) is kind for thing in gc.get_objects())
