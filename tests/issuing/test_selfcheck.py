"""The self-check: what is signed verifies with what is published, or the server is not ready."""

import json
from base64 import urlsafe_b64encode
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from jwksd.dev.defects import DEFECTS
from jwksd.errors import UnknownKey
from jwksd.issuing.selfcheck import INTERVAL, SelfCheck, failure_of, sample_tokens
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair
from jwksd.jose.keysets import Document, key_set
from jwksd.jose.tokens import sign
from jwksd.keysources.generating import generate
from tests.support.app import SCHEDULE, make_app, run_at_once
from tests.support.http import HttpTestCase
from tests.support.keys import NOW, KeysInOrder, NothingReady, key_pair

POLICIES = ("per-token", "rotating")


class ForgetfulPair(KeyPair):
    """A pair whose document has the modulus of another key: what the self-check is there for."""

    def __init__(self, pair: KeyPair) -> None:
        super().__init__(dict(pair.public), pair.sign, ALGORITHMS["RS256"])
        other = {**dict(self.public), "n": urlsafe_b64encode(b"\xff" * 256).decode().rstrip("=")}
        self.member = json.dumps(other).encode()


class FaultySource(KeysInOrder):
    """Its first key is published wrong; the others are well."""

    def __init__(self, faulty: int = 1) -> None:
        super().__init__()
        self.faulty = faulty

    def take_now(self, alg: str) -> KeyPair | None:
        pair = super().take_now(alg)
        if not self.faulty or pair is None:
            return pair
        self.faulty -= 1
        return ForgetfulPair(pair)


class QuickKeys(KeysInOrder):
    """A fresh key at each call, of a kind that costs nothing to make."""

    def take_now(self, alg: str) -> KeyPair | None:
        return generate(ALGORITHMS[alg], 0)


class ReadinessTests(HttpTestCase):
    """Over HTTP, with both policies."""

    def run_check(self) -> None:
        """The timer of the self-check is real time's; here that is a clock of its own."""
        self.app.self_check_clock.advance(INTERVAL)

    def test_a_server_that_is_well_is_ready(self) -> None:
        """Before any token, after one, and when that has been checked."""
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.app = make_app(policy=policy)
                self.app.issuer.policy.start()
                for method, path in (("POST", "/auth"), ("GET", "/.well-known/jwks.json")):
                    self.assert_ready()
                    self.request(method, path)
                    self.run_check()
                self.assert_ready()

    def assert_ready(self) -> None:
        response, body = self.request("GET", "/readyz")
        self.assertEqual((response.code, json.loads(body)), (200, {"status": "ready"}))
        self.assertEqual(self.header(response, "cache-control"), "no-store")

    def assert_not_ready(self, said: str) -> None:
        response, body = self.request("GET", "/readyz")
        problem = self.assert_problem(response, body, 503, "not-ready")
        self.assertIn(said, problem["detail"])
        self.assertEqual(self.header(response, "retry-after"), "1")

    def test_a_key_that_is_published_wrong_makes_it_not_ready(self) -> None:
        """The problem names the key; the log has it as critical; a good key ends it."""
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.app = make_app(policy=policy, source=FaultySource())
                self.app.issuer.policy.start()
                self.request("POST", "/auth")
                self.run_check()
                self.assert_not_ready(key_pair(0).kid)
                self.assertIn("critical", {event["log_level"].name for event in logged})
                if policy == "rotating":
                    self.successResultOf(
                        Deferred.fromCoroutine(self.app.issuer.policy.revoke(key_pair(0).kid))
                    )
                self.request("POST", "/auth")
                self.run_check()
                self.assert_ready()

    def test_a_defect_that_was_asked_for_is_no_failure(self) -> None:
        """After a token of any row the server is ready, and has logged nothing critical."""
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for policy in POLICIES:
            self.app = make_app(dev=True, policy=policy, source=QuickKeys(), algorithms=["ES256"])
            self.app.issuer.policy.start()
            for name in (row.name for row in DEFECTS.values() if "EC" in row.kinds):
                with self.subTest(policy=policy, defect=name):
                    self.assertEqual(self.request("POST", f"/auth?defect={name}")[0].code, 200)
                    self.run_check()
                    self.assert_ready()
        self.assertNotIn("critical", {event["log_level"].name for event in logged})

    def test_a_defect_hides_no_failure(self) -> None:
        """A token that is to verify is checked, although one that is not was asked for since."""
        self.app = make_app(dev=True, source=FaultySource())
        self.request("POST", "/auth")
        self.request("POST", "/auth?defect=sig-flipped")
        self.run_check()
        self.assert_not_ready(key_pair(0).kid)

    def test_a_reset_clears_a_failure(self) -> None:
        """Its key is gone: the server is ready before another token is asked for, and after it."""
        for policy in POLICIES:
            for action in ("reset", "resetkeys"):
                with self.subTest(policy=policy, action=action):
                    self.app = make_app(dev=True, policy=policy, source=FaultySource())
                    self.app.issuer.policy.start()
                    self.request("POST", "/auth")
                    self.run_check()
                    self.assert_not_ready(key_pair(0).kid)
                    self.request("POST", f"/dev?action={action}")
                    self.assert_ready()
                    self.request("POST", "/auth")
                    self.run_check()
                    self.assert_ready()

    def test_a_long_kid_is_cut(self) -> None:
        """Sixty characters of it are shown, be it of a token or of a question."""
        kid = "k" * 10_000
        token = sign(key_pair(0), {"alg": "RS256", "kid": kid}, {}).decode()
        revoked = self.request("POST", "/dev", json={"action": "revoke", "kid": kid})[1]
        told = failure_of(token, key_set([]).body) or ""
        for text in (told, UnknownKey(kid).detail, json.loads(revoked)["detail"]):
            self.assertRegex(text, "k{59}")
            self.assertNotRegex(text, "k{61}")

    def test_a_rotating_server_without_a_key_is_not_ready(self) -> None:
        """It runs, as /healthz says, and could not sign yet."""
        self.app = make_app(policy="rotating", source=Never())
        self.app.issuer.policy.start()
        self.assert_not_ready("no RS256 key yet")
        response, body = self.request("GET", "/healthz")
        self.assertEqual((response.code, json.loads(body)), (200, {"status": "ok"}))

    def test_every_change_of_a_rotation_is_checked(self) -> None:
        """Publishing, taking over and dropping each lead to a check of the set as it is then."""
        self.app = make_app(policy="rotating", source=KeysInOrder())
        self.app.issuer.policy.start()
        checked: list[int] = []
        check = self.app.issuer._self_check
        run, check._run = check._run, lambda work: checked.append(1) or run(work)  # type: ignore[func-returns-value]
        for seconds in (0, SCHEDULE.rotation_interval, SCHEDULE.retention):
            self.app.clock.advance(seconds)
            self.run_check()
        self.assertEqual(len(checked), 3)


class Never(NothingReady):
    """A source without keys."""

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return Deferred()


class FailureTests(HttpTestCase):
    def test_what_a_verifier_would_refuse_is_a_failure(self) -> None:
        """A key that is missing, one that is there twice, another key by the same kid."""
        pair = key_pair(0)
        (token,) = sample_tokens([pair])
        member = pair.member
        wrong = ForgetfulPair(key_pair(0)).member
        self.assertIsNone(failure_of(token, pair.document.body))
        for members, said in (
            ([], "0 published keys"),
            ([member, member], "2 published keys"),
            ([wrong], "does not verify"),
        ):
            with self.subTest(said=said):
                self.assertIn(said, failure_of(token, key_set(members).body) or "")


class Machinery(HttpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.running: list[Any] = []

    def run_later(self, work: Any) -> "Deferred[Any]":
        """A worker thread that takes its time."""
        finished: Deferred[Any] = Deferred()
        self.running.append(lambda: run_at_once(work).chainDeferred(finished))
        return finished

    def published(self) -> Document:
        return key_pair(0).document

    def test_changes_meanwhile_are_one_check_more(self) -> None:
        """One at a time, one a second; of many changes the last counts."""
        check, asked = SelfCheck(self.clock, self.run_later), []
        for number in range(5):
            check.check(lambda number=number: asked.append(number) or [], self.published)  # type: ignore[misc,func-returns-value]
        self.clock.advance(0)
        check.check(lambda: asked.append("later") or [], self.published)  # type: ignore[func-returns-value]
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.running), 1)
        self.running.pop()()
        self.clock.advance(0)
        self.running.pop()()
        self.assertEqual(asked, [4, "later"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_two_checks_begin_a_second_apart(self) -> None:
        """At any time of day: the second waits for the rest of it, and for no more."""
        began = NOW + 0.5
        self.clock.advance(began)
        check, begun = SelfCheck(self.clock, run_at_once), []
        for asked in (0, 0.25, 5):
            while self.clock.seconds() < began + asked:
                self.clock.advance(0.125)
            check.check(lambda: begun.append(self.clock.seconds()) or [], self.published)  # type: ignore[func-returns-value]
            self.clock.advance(0)
        self.assertEqual([time - began for time in begun], [0, 1, 5])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_key_that_is_gone_meanwhile_is_no_failure(self) -> None:
        """Neither one replaced while its check waited, nor one that has expired before it."""
        check, pair = SelfCheck(self.clock, run_at_once), key_pair(0)
        pair.destroy()
        check.check(lambda: sample_tokens([pair]), self.published)
        self.clock.advance(0)
        check.check(lambda: sample_tokens([pair]), lambda: None)
        self.clock.advance(INTERVAL)
        self.assertIsNone(check.failure)

    def test_what_is_found_of_keys_that_were_forgotten_meanwhile_is_no_failure(self) -> None:
        """A check that is under way says nothing of the keys since; the next one does again."""
        check = SelfCheck(self.clock, self.run_later)
        wrong = ForgetfulPair(key_pair(0)).document
        for forgotten in (True, False):
            check.check(lambda: sample_tokens([key_pair(0)]), lambda: wrong)
            self.clock.advance(INTERVAL)
            if forgotten:
                check.forget()
            self.running.pop()()
            self.assertEqual(check.failure is None, forgotten)

    def test_a_check_that_cannot_be_made_is_a_failure(self) -> None:
        """It proves nothing, so the server is not called ready."""
        check = SelfCheck(self.clock, lambda work: fail(RuntimeError("no threads")))
        check.check(list, self.published)
        self.clock.advance(0)
        self.assertEqual(check.failure, "the self-check could not be made")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_after_a_stop_nothing_is_left(self) -> None:
        """No timer, and no check any more."""
        check = SelfCheck(self.clock, run_at_once)
        check.check(list, self.published)
        check.stop()
        check.check(list, self.published)
        self.assertEqual(self.clock.getDelayedCalls(), [])
