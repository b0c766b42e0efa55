"""The published keys: indexes agree, the document is ordered and whole, nothing stays behind."""

import json
from unittest import TestCase

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jwksd.jose.keys import PublicJWK, PublishedKey
from jwksd.lifecycle.published import PublishedKeys
from tests.support.effort import pick


def key(kid: str, created: int = 0, expires: int | None = 3600) -> PublishedKey:
    """A key whose modulus nobody will ever use."""
    public = PublicJWK(kty="RSA", use="sig", alg="RS256", kid=kid, n="AQAB", e="AQAB")
    return PublishedKey.stored(kid, "RS256", json.dumps(dict(public)).encode(), created, expires)


def kids(store: PublishedKeys) -> list[str]:
    """The kids in the document, in its order."""
    return [member["kid"] for member in json.loads(store.key_set().body)["keys"]]


class PublishedKeysTests(TestCase):
    def test_the_document_is_ordered_by_age_then_kid(self) -> None:
        """However keys came in, the oldest is first, and of one second the smallest kid."""
        store = PublishedKeys()
        for kid, created in (("c", 5), ("b", 7), ("a", 7), ("d", 3)):
            store.add(key(kid, created))
        self.assertEqual(kids(store), ["d", "c", "a", "b"])

    def test_an_empty_store_publishes_an_empty_set(self) -> None:
        """No keys is a JWK Set too."""
        self.assertEqual(PublishedKeys().key_set().body, b'{"keys":[]}')

    def test_the_document_is_built_once_per_change(self) -> None:
        """Between two changes every caller gets the same object."""
        store = PublishedKeys()
        store.add(key("a"))
        first = store.key_set()
        store.expire(0)
        self.assertIs(store.key_set(), first)
        store.add(key("b"))
        self.assertNotEqual(store.key_set().etag, first.etag)

    def test_the_same_keys_give_the_same_tag(self) -> None:
        """A key that came and went leaves the tag as it was: it is of the bytes alone."""
        store = PublishedKeys()
        store.add(key("a", expires=20))
        tag = store.key_set().etag
        store.add(key("b", expires=10))
        self.assertNotEqual(store.key_set().etag, tag)
        store.expire(10)
        self.assertEqual(store.key_set().etag, tag)

    def test_a_key_goes_at_its_second_and_not_before(self) -> None:
        """It is live while now < expires."""
        store = PublishedKeys()
        store.add(key("a", expires=100))
        self.assertEqual(store.expire(99.999), 0)
        self.assertEqual(store.expire(100), 1)
        self.assertIsNone(store.get("a"))

    def test_a_kid_can_be_live_only_once(self) -> None:
        """A second key with the same kid is refused, and the first stays."""
        store = PublishedKeys()
        store.add(key("a", expires=5))
        with self.assertRaisesRegex(ValueError, "kid a already"):
            store.add(key("a", expires=9))
        self.assertEqual(store.next_expiry, 5)

    def test_few_of_many_expire(self) -> None:
        """Where one of a thousand goes, the others stay in order."""
        store = PublishedKeys()
        for number in range(1000):
            store.add(key(f"{number:04}", created=number, expires=5 if number == 500 else 9))
        store.expire(5)
        self.assertEqual(kids(store), [f"{n:04}" for n in range(1000) if n != 500])

    def test_ten_thousand_expire_in_one_go(self) -> None:
        """All of them leave at once, the rest stays, and no index keeps a trace."""
        store = PublishedKeys()
        for number in range(10_001):
            store.add(key(str(number), created=number, expires=9 if number else 10))
        self.assertEqual(store.expire(9), 10_000)
        self.assertEqual(kids(store), ["0"])
        self.assertEqual(store.clear(), 1)
        self.assertEqual(leftovers(store), (0, 0, 0, 0, 0, 0))

    def test_keys_that_come_and_go_unasked_for_leave_nothing(self) -> None:
        """Where nobody asks for the document, no index grows past twice the live keys."""
        store = PublishedKeys()
        for now in range(1000):
            store.expire(now)
            store.add(key(str(now), created=now, expires=now + 10))
        self.assertEqual(len(store), 10)
        self.assertLessEqual(max(leftovers(store)), 21)

    def test_seconds_of_keys_that_were_removed_are_dropped(self) -> None:
        """Where keys come and are withdrawn before their end, the schedule stays small."""
        store = PublishedKeys()
        store.add(key("first", expires=5))
        for second in range(10, 1010):
            for _ in range(3):
                store.add(key("x", expires=second))
                store.remove("x")
        self.assertLessEqual(len(store._expiries._seconds), 10)
        self.assertEqual(store.next_expiry, 5)

    def test_a_kid_may_come_back(self) -> None:
        """A key that was removed and is added again is in the document once, in its new place."""
        store = PublishedKeys()
        for kid in "abc":
            store.add(key(kid, created=1))
        self.assertEqual(kids(store), ["a", "b", "c"])
        store.remove("a")
        store.add(key("a", created=2))
        self.assertEqual(kids(store), ["b", "c", "a"])


def scheduled(store: PublishedKeys) -> int:
    """How many keys wait for their second."""
    return sum(map(len, store._expiries._kids.values()))


def leftovers(store: PublishedKeys) -> tuple[int, ...]:
    """How many entries each index has."""
    return (
        len(store),
        len(store.jwks["keys"]),
        len(store._by_age),
        len(store._new),
        len(store._gone),
        scheduled(store),
    )


class PublishedKeysMachine(RuleBasedStateMachine):
    """Any order of changes, against a plain dict."""

    def __init__(self) -> None:
        super().__init__()
        self.store = PublishedKeys()
        self.model: dict[str, PublishedKey] = {}
        self.now = 0.0

    @rule(
        kid=st.text("abc", min_size=1, max_size=3),
        created=st.integers(-50, 50),
        lifetime=st.none() | st.integers(1, 60),
        used=st.booleans(),
    )
    def add(self, kid: str, created: int, lifetime: int | None, used: bool) -> None:
        if kid not in self.model:
            expires = None if lifetime is None else int(self.now) + lifetime
            new = key(kid, int(self.now) + created, expires)
            if used:  # its JWK is built already
                assert new.public["kid"] == kid
            self.model[kid] = new
            self.store.add(new)

    @rule(seconds=st.floats(0, 40))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        before = len(self.model)
        self.model = {
            kid: key
            for kid, key in self.model.items()
            if key.expires is None or self.now < key.expires
        }
        document = self.store.key_set()
        assert self.store.expire(self.now) == before - len(self.model)
        assert (self.store.key_set() is document) == (before == len(self.model))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        kid = data.draw(st.sampled_from(sorted(self.model)))
        del self.model[kid]
        assert self.store.remove(kid)
        assert not self.store.remove(kid)

    @precondition(lambda self: self.model)
    @rule()
    def clear(self) -> None:
        assert self.store.clear() == len(self.model)
        self.model = {}

    @rule()
    def ask_jwcrypto(self) -> None:
        assert {key["kid"] for key in self.store.jwks} == set(self.model)

    @rule()
    def ask_for_the_document(self) -> None:
        ordered = sorted(self.model.values(), key=lambda key: (key.created, key.kid))
        assert kids(self.store) == [key.kid for key in ordered]
        assert len(self.store._by_age) == len(self.model)

    @invariant()
    def all_indexes_agree(self) -> None:
        assert len(self.store) == len(self.model)
        assert len(self.store._jwks["keys"]) + len(self.store._unbuilt) == len(self.model)
        expiries = [key.expires for key in self.model.values() if key.expires is not None]
        assert scheduled(self.store) == len(expiries)
        assert self.store.next_expiry == min(expiries, default=None)
        assert all(self.store.get(kid) is key for kid, key in self.model.items())


class PublishedKeysStateTests(TestCase):
    def test_any_order(self) -> None:
        """No order of changes makes the indexes differ from one another or from a plain dict."""
        bounds = settings(max_examples=pick(20, 60), stateful_step_count=30, deadline=None)
        run_state_machine_as_test(PublishedKeysMachine, settings=bounds)
