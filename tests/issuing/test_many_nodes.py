"""Several nodes on one store: who changes it, who follows, and what happens when it is away."""

import json
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from jwksd.errors import StoreAway
from jwksd.issuing.follower import POLL, Follower
from jwksd.issuing.mintrequest import MintRequest
from jwksd.issuing.rotating import Rotating
from jwksd.jose.tokens import Token
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.ring import Ring
from jwksd.lifecycle.schedule import Schedule
from jwksd.stores.memory import MemoryStore
from jwksd.web.root import make_root
from tests.support.app import App, make_issuer
from tests.support.http import HttpTestCase
from tests.support.keys import NOW, KeysInOrder

OUTAGE = 600
SCHEDULE = Schedule.of(
    rotation_interval=86_400,
    propagation=10_000,
    max_age=1000,
    clock_skew=60,
    max_lifetime=7200,
    outage=OUTAGE,
)
DAY = SCHEDULE.rotation_interval
JWKS = "/.well-known/jwks.json"


class SharedStore(MemoryStore):
    """A store that others change too, and that can be away."""

    shared = True
    at_once = False
    one_machine = False

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.reads = 0
        self.watchers: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name in ("read", "swap", "insert", "withdraw", "expire", "count") and self.away:
            return lambda *_: fail(StoreAway("nobody is there"))
        return super().__getattribute__(name)

    def read(self, since: int | None, known: Any) -> Any:
        self.reads += 1
        return super().read(since, known)

    def watch(self, changed: Any) -> None:
        self.watchers.append(changed)


class NodesTestCase(HttpTestCase):
    """Two nodes on one store; timers of both follow one clock."""

    policy = "per-token"

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = SharedStore()
        self.keys = KeysInOrder()
        self.a, self.b = self.node(), self.node()

    def node(self) -> App:
        rotating = {"schedule": SCHEDULE} if self.policy == "rotating" else {}
        issuer = make_issuer(
            self.clock,
            self.keys,
            reactor=self.clock,
            store=self.store,
            policy=self.policy,
            **rotating,
        )
        issuer.policy.open()
        issuer.policy.start()
        self.addCleanup(issuer.stop)
        return App(self.clock, issuer, StubTreq(make_root(issuer)), Clock())

    def on(self, node: App) -> None:
        """Requests go there from now on."""
        self.app = node

    def mint(self, node: App, **wish: Any) -> Token:
        minting = Deferred.fromCoroutine(node.issuer.mint(MintRequest(**wish)))
        token: Token = self.successResultOf(minting)
        return token

    def refusal(self, node: App, **wish: Any) -> StoreAway:
        minting = Deferred.fromCoroutine(node.issuer.mint(MintRequest(**wish)))
        error: StoreAway = self.failureResultOf(minting, StoreAway).value
        return error

    def kids(self, node: App) -> set[str]:
        self.on(node)
        return {key["kid"] for key in json.loads(self.request("GET", JWKS)[1])["keys"]}


class PerTokenTests(NodesTestCase):
    def test_a_key_of_one_node_is_found_on_the_other_at_once(self) -> None:
        """In jwks.json, alone, and by introspection; no timer has run."""
        token = self.mint(self.a)
        self.assertEqual(self.kids(self.b), {token.kid})
        token = self.mint(self.a)
        response, body = self.request("GET", f"/.well-known/{token.kid}.json")
        self.assertEqual((response.code, body.count(token.kid.encode())), (200, 1))
        token = self.mint(self.a)
        _, body = self.request("POST", "/introspect", data={"token": token.token, "client_id": "c"})
        self.assertTrue(json.loads(body)["active"])

    def test_the_key_of_a_token_that_has_expired_alone_is_found_on_the_other(self) -> None:
        """For the lifetime that the token was asked to have."""
        token = self.mint(self.a, expired="token", lifetime=POLL * 3)
        self.assertEqual(self.kids(self.b), {token.kid})
        self.clock.advance(POLL * 3)
        self.assertEqual(self.kids(self.b), set())

    def test_a_kid_that_nobody_knows_is_a_404_all_the_same(self) -> None:
        """After the store was asked; by any method, as for any unknown path."""
        self.on(self.b)
        for method in ("GET", "POST", "OPTIONS"):
            before = self.store.reads
            response, body = self.request(method, f"/.well-known/{'x' * 43}.json")
            self.assert_problem(response, body, 404, "unknown-key")
            self.assertEqual(self.store.reads, before + 1)

    def test_both_nodes_serve_the_same_bytes(self) -> None:
        """Whoever minted: same set, same order, same tag."""
        for node in (self.a, self.b, self.a):
            self.mint(node)
        documents = []
        for node in (self.a, self.b):
            self.on(node)
            response, body = self.request("GET", JWKS)
            documents.append((self.header(response, "etag"), body))
        self.assertEqual(documents[0], documents[1])

    def test_a_revocation_is_heard_everywhere(self) -> None:
        """By a node that never knew the key, of a key that another minted."""
        kept, revoked = self.mint(self.a), self.mint(self.a)
        self.successResultOf(Deferred.fromCoroutine(self.b.issuer.policy.revoke(revoked.kid)))
        self.assertEqual(self.kids(self.a), {kept.kid})
        self.assertEqual(
            self.successResultOf(Deferred.fromCoroutine(self.a.issuer.reset_keys())), 1
        )
        self.assertEqual(self.kids(self.b), set())

    def test_while_the_store_is_away_nothing_is_minted_and_all_is_served(self) -> None:
        """503 with a time to come back; documents from memory; readiness says why; then all is
        well again by itself."""
        token = self.mint(self.a)
        self.store.away = True
        self.on(self.a)
        response, body = self.request("POST", "/auth")
        self.assert_problem(response, body, 503, "store-away")
        self.assertEqual(self.header(response, "retry-after"), "1")
        self.assertEqual(self.kids(self.a), {token.kid})
        response, body = self.request("GET", "/readyz")
        self.assertIn(
            "the log says why", self.assert_problem(response, body, 503, "not-ready")["detail"]
        )
        self.store.away = False
        self.clock.advance(POLL)
        self.assertEqual(self.request("GET", "/readyz")[0].code, 200)
        again = self.mint(self.a)
        self.assertEqual(self.kids(self.b), {token.kid, again.kid})

    def test_what_was_not_acknowledged_is_not_shown(self) -> None:
        """A key whose insert failed is on no document of its node."""
        self.store.away = True
        self.refusal(self.a)
        self.store.away = False
        self.clock.advance(POLL)
        self.assertEqual((self.kids(self.a), self.kids(self.b)), (set(), set()))

    def test_expired_keys_leave_the_store(self) -> None:
        """At their second, by whichever node's timer."""
        self.mint(self.a)
        self.clock.advance(3600)
        self.assertEqual(self.successResultOf(self.store.read(None, ())).keys, [])

    def test_an_expiry_that_cannot_be_stored_is_stored_with_the_next_one(self) -> None:
        """The key is on no document all the same."""
        self.mint(self.a)
        self.store.away = True
        self.clock.advance(3600)
        self.assertEqual(self.kids(self.a), set())
        self.assertIn("the log says why", self.a.issuer.not_ready or "")

    def test_another_start_knows_every_key(self) -> None:
        """Nothing is forgotten that has not expired."""
        tokens = {self.mint(self.a).kid for _ in range(3)}
        self.assertEqual(self.kids(self.node()), tokens)


class RotatingTests(NodesTestCase):
    policy = "rotating"

    def active(self) -> list[str]:
        contents: Contents = self.successResultOf(self.store.read(None, ()))
        return [key.kid for key in contents.ring.keys if key.state == "active"]

    def test_one_node_changes_and_the_other_follows(self) -> None:
        """One active key, whoever was asked first; both sign with it, both publish the same."""
        for _ in range(4):
            self.assertEqual(len(self.active()), 1)
            self.clock.advance(POLL)
            self.assertEqual({self.mint(self.a).kid, self.mint(self.b).kid}, set(self.active()))
            self.assertEqual(
                self.a.issuer.policy.keys.key_set(), self.b.issuer.policy.keys.key_set()
            )
            self.clock.advance(DAY)

    def test_a_node_that_lost_the_race_lets_go_of_its_key(self) -> None:
        """Of two pending keys made at once one is published; the other's private half is gone."""
        ring: Ring = self.successResultOf(self.store.read(None, ())).ring
        self.assertEqual([key.state.value for key in ring.keys], ["active", "pending"])
        self.assertEqual(
            set(self.policy_of(self.a)._holdings.pairs), {key.kid for key in ring.keys}
        )

    def policy_of(self, node: App) -> Rotating:
        policy = node.issuer.policy
        assert isinstance(policy, Rotating)
        return policy

    def test_what_one_node_is_asked_for_all_do(self) -> None:
        """An early rotation, a revocation and its alert."""
        self.clock.advance(SCHEDULE.propagation)
        rotating = Deferred.fromCoroutine(self.b.issuer.rotate())
        kid = self.successResultOf(rotating)["kid"]
        self.clock.advance(POLL)
        self.assertEqual(self.mint(self.a).kid, kid)
        self.successResultOf(Deferred.fromCoroutine(self.b.issuer.policy.revoke(kid)))
        self.clock.advance(POLL)
        self.assertNotEqual(self.mint(self.a).kid, kid)
        self.assertEqual(self.a.issuer.policy.cache_control, b"public, max-age=60")

    def test_the_store_is_read_when_it_says_so(self) -> None:
        """Not only every second."""
        self.successResultOf(Deferred.fromCoroutine(self.b.issuer.reset_keys()))
        for changed in self.store.watchers:
            changed()
        self.assertEqual(self.kids(self.a), self.kids(self.b))

    def test_both_nodes_count(self) -> None:
        """How much a key has signed is known of all of them together."""
        for node in (self.a, self.b, self.b):
            self.mint(node)
        for node in (self.a, self.b, self.a):
            described = self.successResultOf(Deferred.fromCoroutine(node.issuer.policy.describe()))
        self.assertEqual(described["keys"][0]["signed"], 3)

    def test_while_the_store_is_away_the_active_key_signs_on(self) -> None:
        """A rotation that is due comes late; readiness says why; documents stay as they are."""
        kid, published = self.mint(self.a).kid, self.a.issuer.policy.keys.key_set()
        self.clock.advance(DAY - 60)
        self.store.away = True
        self.clock.advance(120)
        self.assertEqual(self.mint(self.a).kid, kid)
        self.assertEqual(self.a.issuer.policy.keys.key_set(), published)
        self.assertIn("the log says why", self.a.issuer.not_ready or "")
        self.store.away = False
        self.clock.advance(2 * POLL)
        self.assertNotEqual(self.mint(self.a).kid, kid)
        self.assertIsNone(self.a.issuer.not_ready)

    def test_a_node_out_of_touch_signs_nothing_that_could_outlive_its_key(self) -> None:
        """Another may have rotated: up to --outage any token is safe, then only shorter ones."""
        self.clock.advance(1)
        self.store.away = True
        self.clock.pump([1.0] * OUTAGE)
        self.mint(self.a, lifetime=SCHEDULE.max_lifetime - 2)
        self.clock.advance(100)
        self.mint(self.a, lifetime=SCHEDULE.max_lifetime - 102)
        refused = self.refusal(self.a, lifetime=SCHEDULE.max_lifetime)
        self.assertIn("another server may have replaced", refused.detail)
        self.clock.pump([60.0] * (SCHEDULE.max_lifetime // 60 + 2))
        self.refusal(self.a, lifetime=1)
        self.store.away = False
        self.clock.advance(POLL)
        self.mint(self.a, lifetime=SCHEDULE.max_lifetime)

    def test_nothing_is_changed_while_the_store_is_away(self) -> None:
        """The caller gets the error; afterwards it can ask again."""
        kid = self.mint(self.a).kid
        self.store.away = True
        for call in (
            self.a.issuer.rotate(),
            self.a.issuer.policy.revoke(kid),
            self.a.issuer.reset_keys(),
        ):
            self.failureResultOf(Deferred.fromCoroutine(call), StoreAway)
        self.store.away = False
        self.clock.advance(POLL)
        self.assertEqual(self.mint(self.a).kid, kid)

    def test_a_stop_while_the_store_is_away_is_a_stop(self) -> None:
        """Only the last count is lost, and the log says so."""
        self.mint(self.a)
        self.store.away = True
        self.successResultOf(self.a.issuer.stop())


class SlowStore(SharedStore):
    """Its reads end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: list[Deferred[None]] = []

    def read(self, since: int | None, known: Any) -> Any:
        contents = super().read(since, known).result
        self.reading.append(Deferred())
        return self.reading[-1].addCallback(lambda _: contents)


class FollowerTests(HttpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.store = SlowStore()
        self.applied: list[Contents] = []
        self.follower = Follower(self.store, self.clock, self.applied.append, tuple)

    def refresh(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.follower.refresh())

    def test_a_caller_waits_for_a_read_that_begins_after(self) -> None:
        """One read at a time; all who come while one is under way share the next."""
        first, second, third = self.refresh(), self.refresh(), self.refresh()
        self.assertEqual(len(self.store.reading), 1)
        self.store.reading.pop().callback(None)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.store.reading.pop().callback(None)
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual((self.store.reads, self.store.reading), (2, []))

    def test_who_leaves_does_no_harm(self) -> None:
        """A request that was given up while it waited."""
        leaving, staying = self.refresh(), self.refresh()
        leaving.addErrback(lambda _: None).cancel()
        for _ in range(2):
            self.store.reading.pop().callback(None)
        self.successResultOf(staying)

    def test_a_failure_of_our_own_is_logged_and_reported(self) -> None:
        """Whoever waits is not left waiting."""
        waiting = self.refresh()
        self.store.reading.pop().errback(ZeroDivisionError())
        self.successResultOf(waiting)
        self.assertIn("the log says why", self.follower.away or "")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_after_a_stop_nothing_is_left(self) -> None:
        """No timer, no read, no one who waits."""
        self.follower.start()
        self.follower.stop()
        self.successResultOf(self.refresh())
        self.assertEqual((self.clock.getDelayedCalls(), self.store.reading), ([], []))
