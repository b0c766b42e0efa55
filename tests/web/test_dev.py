"""The dev surface: the clock, the keys, the faults; over HTTP in memory."""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.dev.clock import DevClock
from jwksd.dev.defects import DEFECTS
from tests.support.app import SCHEDULE, make_app
from tests.support.http import HttpTestCase
from tests.support.keys import NOW, key_pair

JWKS = "/.well-known/jwks.json"


class DevTestCase(HttpTestCase):
    def act(self, action: str, **parameters: Any) -> Any:
        """The answer to an action, which must succeed."""
        response, body = self.request("POST", "/dev", json={"action": action, **parameters})
        self.assertEqual(response.code, 200, body)
        return json.loads(body)

    def mint(self, **wish: Any) -> Any:
        _, body = self.request("POST", "/auth", json=wish, headers={"Accept": "application/json"})
        return json.loads(body)

    def kids(self) -> list[str]:
        return [key["kid"] for key in json.loads(self.request("GET", JWKS)[1])["keys"]]


class ClockTests(DevTestCase):
    def test_tokens_and_expiry_follow_the_clock(self) -> None:
        """59 minutes 59 seconds on a token is active, one second more and it is not; its key is
        gone, and real time has not moved."""
        minted = self.mint()
        self.act("freeze")
        self.assertEqual(self.act("advance", seconds=3599)["now"], NOW + 3599)
        self.assertEqual(self.kids(), [minted["kid"]])
        self.assertIsNotNone(self.app.issuer.introspect(minted["token"]))
        self.act("advance", seconds=1)
        self.assertEqual(self.kids(), [])
        self.assertIsNone(self.app.issuer.introspect(minted["token"]))
        self.assertEqual(self.app.clock.seconds(), NOW)

    def test_a_token_is_issued_at_the_time_that_was_set(self) -> None:
        """As seconds, as text of seconds, or as a date of RFC 3339."""
        for time, iat in (
            (2_000_000_000, 2_000_000_000),
            ("2000000001", 2_000_000_001),
            ("2030-01-01T00:00:00Z", 1_893_456_000),
            ("2030-01-01T01:00:00+01:00", 1_893_456_000),
        ):
            with self.subTest(time=time):
                self.act("set", time=time)
                self.assertEqual(self.mint()["iat"], iat)

    def test_released_it_goes_with_real_time_again(self) -> None:
        """At real time, not at a distance from it."""
        self.act("freeze")
        self.act("advance", seconds=100)
        self.app.clock.advance(5)
        state = self.act("release")
        self.assertEqual((state["now"], state["frozen"], state["offset"]), (NOW + 5, False, 0))

    def test_times_that_are_none_are_refused(self) -> None:
        """The detail says what a time looks like."""
        for action, parameters in (
            ("set", {}),
            ("set", {"time": "tomorrow"}),
            ("set", {"time": "2030-01-01T00:00:00"}),
            ("set", {"time": -1}),
            ("set", {"time": True}),
            ("set", {"time": [1]}),
            ("advance", {}),
            ("advance", {"seconds": -1}),
            ("advance", {"seconds": "1h"}),
            ("advance", {"seconds": 253_402_300_799}),
        ):
            with self.subTest(action=action, parameters=parameters):
                wish = {"action": action, **parameters}
                response, body = self.request("POST", "/dev", json=wish)
                problem = self.assert_problem(response, body, 400, "invalid-parameter")
                self.assertRegex(problem["detail"], "time|seconds")


class ParameterTests(DevTestCase):
    def refusal(self, path: str, **arguments: Any) -> str:
        """What is said of a request that is refused."""
        response, body = self.request("POST", path, **arguments)
        detail: str = self.assert_problem(response, body, 400, "invalid-parameter")["detail"]
        return detail

    def test_a_parameter_that_an_action_does_not_take_is_refused(self) -> None:
        """Passed over, it would leave a developer with another state than was asked for."""
        for query, said in (
            ("action=freeze&time=0", "freeze takes no parameter, not time"),
            ("action=advance&seconds=1&delay=2", "advance takes seconds, not delay"),
            ("action=set&time=0&seconds=1", "set takes time, not seconds"),
            ("action=reset&kid=x", "reset takes no parameter, not kid"),
            ("action=revoke&kid=x&alg=RS256", "revoke takes kid, not alg"),
            ("action=fault&fault=empty&time=1", "not time"),
        ):
            with self.subTest(query=query):
                self.assertIn(said, self.refusal(f"/dev?{query}"))

    def test_a_misspelt_parameter_is_refused(self) -> None:
        """In query, form and JSON; those that mean something else are ignored in the first two."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for name, right in (
            ("Action", "action"),
            ("actoin", "action"),
            ("retry-after", "retry_after"),
            ("seconds[]", "seconds"),
            ("second", "seconds"),
            ("KID", "kid"),
        ):
            said = f"did you mean {right}?"
            with self.subTest(name=name):
                self.assertIn(said, self.refusal(f"/dev?action=reset&{name}=1"))
                data = f"action=reset&{name}=1".encode()
                self.assertIn(said, self.refusal("/dev", data=data, headers=form))
                self.assertIn(said, self.refusal("/dev", json={"action": "reset", name: 1}))
        self.assertEqual(self.request("POST", "/dev?action=reset&username=u&x=1")[0].code, 200)
        data = b'{"action": "reset"}'
        self.assertIn("application/json", self.refusal("/dev", data=data, headers=form))

    def test_values_are_read_as_at_auth(self) -> None:
        """null is absent, the same number is no conflict, and half a time is no time."""
        self.assertEqual(self.act("reset", kid=None)["removed"], 0)
        response, _ = self.request(
            "POST", "/dev?action=advance&seconds=5", json={"action": "advance", "seconds": 5.0}
        )
        self.assertEqual(response.code, 200)
        self.assertIn("not null", self.refusal("/dev", json={"action": None}))
        self.assertIn("not true", self.refusal("/dev", json={"action": "advance", "seconds": True}))
        for wish in ({"count": 1.5}, {"status": 503.5}, {"retry_after": "0.5"}):
            detail = self.refusal("/dev", json={"action": "fault", "fault": "status", **wish})
            self.assertIn("and whole", detail)

    def test_every_number_is_taken_up_to_its_bounds(self) -> None:
        """A million answers, any status of an error, a day of waiting, an hour of delay."""
        for name, low, high in (
            ("count", 1, 1_000_000),
            ("status", 400, 599),
            ("retry_after", 0, 86_400),
            ("delay", 0, 3600),
            ("seconds", 0, 86_400),
        ):
            kind = "delay" if name == "delay" else "status"
            for value in (low, high):
                self.act("fault", fault=kind, **{name: value})
            for value in (low - 1, high + 1):
                with self.subTest(name=name, value=value):
                    wish = {"action": "fault", "fault": kind, name: value}
                    self.assertIn(f"{name} must be a number", self.refusal("/dev", json=wish))


class RotatingTests(DevTestCase):
    """The dev surface of a server with the rotating policy."""

    def setUp(self) -> None:
        super().setUp()
        self.app = make_app(dev=True, policy="rotating")
        self.app.issuer.policy.start()

    def told(self) -> dict[str, str]:
        keys = json.loads(self.request("GET", "/dev/keys")[1])["keys"]
        return {key["kid"]: key["state"] for key in keys}

    def test_a_rotation_is_driven_by_the_clock(self) -> None:
        """Advanced, the server has slept: the next key takes over, and another is published."""
        first, second = self.told()
        self.act("advance", seconds=SCHEDULE.rotation_interval)
        self.assertEqual(self.mint()["kid"], second)
        self.assertEqual(list(self.told().values()), ["retired", "active", "pending"])
        self.act("advance", seconds=SCHEDULE.retention)
        self.assertNotIn(first, self.kids())

    def test_a_clock_that_is_set_rotates_nothing(self) -> None:
        """No time has passed, so no cache is older; nor does one that stands, however often."""
        first = self.mint()["kid"]
        self.act("set", time=NOW + 30 * SCHEDULE.rotation_interval)
        self.assertEqual(self.mint()["kid"], first)
        self.act("freeze")
        self.app.clock.advance(SCHEDULE.rotation_interval)
        self.assertEqual(self.mint()["kid"], first)
        self.act("release")
        self.assertEqual(self.mint()["kid"], first)

    def test_an_early_rotation_says_when(self) -> None:
        """The kid that takes over, and the second in which it will."""
        first, second = self.told()
        answer = self.act("rotate", alg="RS256")
        self.assertEqual(
            answer, {"action": "rotate", "kid": second, "at": NOW + SCHEDULE.propagation}
        )
        self.assertEqual(self.mint()["kid"], first)
        self.act("advance", seconds=SCHEDULE.propagation)
        self.assertEqual(self.mint()["kid"], second)
        for wish in ({"alg": "HS256"}, {"alg": 5}):
            response, body = self.request("POST", "/dev", json={"action": "rotate", **wish})
            self.assert_problem(response, body, 400, "invalid-parameter")

    def test_a_revocation_is_seen_in_the_headers(self) -> None:
        """The key is gone, the next signs, and documents are cached for a minute at most."""
        first = self.mint()["kid"]
        self.act("revoke", kid=first)
        response, body = self.request("GET", JWKS)
        self.assertEqual(self.header(response, "cache-control"), "public, max-age=60")
        self.assertNotIn(first.encode(), body)
        self.assertNotEqual(self.mint()["kid"], first)

    def test_a_reset_begins_anew(self) -> None:
        """Other keys, the first of which signs at once."""
        before = set(self.told())
        self.act("resetkeys")
        self.assertFalse(before & set(self.told()))
        self.assertIn(self.mint()["kid"], self.told())

    def test_a_defect_is_signed_by_the_key_that_verifiers_know(self) -> None:
        """A control is accepted by all of them, caches included; an unpublished key is another."""
        self.assertIn(self.mint(defect="control")["kid"], self.told())
        self.assertNotIn(self.mint(defect="key-revoked")["kid"], self.told())


class DevClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.real = Clock()
        self.clock = DevClock(self.real)
        self.ran: list[float] = []

    def test_timers_follow_it(self) -> None:
        """Forward they run in order at once, frozen not at all, released on real time."""
        for delay in (20, 10, 30):
            self.clock.callLater(delay, self.ran.append, delay)
        self.clock.advance(20)
        self.assertEqual(self.ran, [10, 20])
        self.clock.freeze()
        self.real.advance(1000)
        self.assertEqual(self.ran, [10, 20])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.release()
        self.assertEqual(self.ran, [10, 20, 30])
        self.assertEqual(self.real.getDelayedCalls(), [])

    def test_left_alone_it_is_real_time(self) -> None:
        """A timer runs when the reactor gets there."""
        self.clock.callLater(5, self.ran.append, 5)
        self.real.advance(4.9)
        self.assertEqual(self.ran, [])
        self.real.advance(0.1)
        self.assertEqual((self.ran, self.clock.seconds()), ([5], 5))

    def test_set_back_timers_wait_longer(self) -> None:
        """Time that is to be lived again is waited for again."""
        self.real.advance(100)
        self.clock.callLater(10, self.ran.append, 10)
        self.clock.set(50)
        self.real.advance(59)
        self.assertEqual(self.ran, [])
        self.real.advance(1)
        self.assertEqual(self.ran, [10])

    def test_a_cancelled_timer_does_not_run(self) -> None:
        """And the reactor's call for it does no harm."""
        self.clock.callLater(5, self.ran.append, 5).cancel()
        self.real.advance(5)
        self.assertEqual(self.ran, [])


class KeyTests(DevTestCase):
    def test_every_key_is_listed_with_its_token(self) -> None:
        """Of a key for one token: it is published until that has expired, and may go then."""
        minted = self.mint(lifetime=60)
        self.assertEqual(
            json.loads(self.request("GET", "/dev/keys")[1]),
            {
                "policy": "per-token",
                "next_change": NOW + 60,
                "keys": [
                    {
                        "kid": minted["kid"],
                        "alg": "RS256",
                        "state": "retired",
                        "since": NOW,
                        "until": NOW + 60,
                        "signed": 1,
                        "last_exp": NOW + 60,
                        "safe_to_drop_at": NOW + 60,
                    }
                ],
            },
        )

    def test_a_revoked_key_is_gone_at_once(self) -> None:
        """The others stay; a kid of no key is refused."""
        gone, stays = self.mint()["kid"], self.mint()["kid"]
        self.assertEqual(self.act("revoke", kid=gone), {"action": "revoke", "kid": gone})
        self.assertEqual(self.kids(), [stays])
        response, body = self.request("POST", f"/dev?action=revoke&kid={gone}")
        self.assert_problem(response, body, 404, "unknown-key")
        response, body = self.request("POST", "/dev?action=revoke")
        self.assert_problem(response, body, 400, "invalid-parameter")

    def test_rotate_publishes_a_fresh_key(self) -> None:
        """The set changes although no token was signed; the key lives as long as any."""
        kid = self.act("rotate")["kid"]
        self.assertEqual(self.kids(), [kid])
        self.act("advance", seconds=3600)
        self.assertEqual(self.kids(), [])

    def test_reset_makes_everything_as_at_the_start(self) -> None:
        """Keys, faults and clock; resetkeys the keys alone."""
        self.mint()
        self.act("freeze")
        self.act("fault", fault="empty", count=3)
        self.assertEqual(self.act("resetkeys")["removed"], 1)
        state = json.loads(self.request("GET", "/dev")[1])
        self.assertTrue(state["clock"]["frozen"])
        self.assertEqual(len(state["faults"]), 1)
        self.assertEqual(self.act("reset"), {"action": "reset", "removed": 0, "cleared": 1})
        state = json.loads(self.request("GET", "/dev")[1])
        self.assertEqual((state["clock"]["frozen"], state["faults"]), (False, []))


class FaultTests(DevTestCase):
    """Those that break the connection are shown on a socket, in ``test_faults``."""

    def get(self) -> tuple[Any, bytes]:
        return self.request("GET", JWKS, allow_redirects=False)

    def test_each_fault_is_as_asked_and_the_next_answer_is_clean(self) -> None:
        """A status, a redirect, broken bytes, other keys: once, and then the set as it is."""
        kids = [self.mint()["kid"]]
        self.act("advance", seconds=1)
        kids.append(self.mint()["kid"])
        clean = self.get()[1]
        for fault, parameters, check in (
            ("status", {"status": 429, "retry_after": 7}, self.is_429),
            ("redirect", {"location": "https://elsewhere.example/"}, self.is_redirect),
            ("malformed", {}, lambda r, b: self.assertRaises(ValueError, json.loads, b)),
            ("empty", {}, lambda r, b: self.assertEqual(b, b'{"keys":[]}')),
            ("missing", {}, lambda r, b: self.assertEqual(of(b, "kid"), kids[:1])),
            ("missing", {"kid": kids[0]}, lambda r, b: self.assertEqual(of(b, "kid"), kids[1:])),
            ("duplicate", {}, lambda r, b: self.assertEqual(of(b, "kid").count(kids[1]), 2)),
            ("unknown-type", {}, lambda r, b: self.assertIn("urn:example:unknown", of(b, "kty"))),
            ("media-type", {}, self.is_html),
        ):
            with self.subTest(fault=fault):
                self.act("fault", fault=fault, **parameters)
                check(*self.get())
                response, body = self.get()
                self.assertEqual((response.code, body), (200, clean))

    def is_429(self, response: Any, body: bytes) -> None:
        self.assert_problem(response, body, 429, "induced-fault")
        self.assertEqual(self.header(response, "retry-after"), "7")

    def is_redirect(self, response: Any, body: bytes) -> None:
        self.assertEqual(response.code, 302)
        self.assertEqual(self.header(response, "location"), "https://elsewhere.example/")

    def is_html(self, response: Any, body: bytes) -> None:
        self.assertEqual(self.header(response, "content-type"), "text/html; charset=utf-8")

    def test_a_status_without_more_is_503(self) -> None:
        """And has no Retry-After."""
        self.act("fault", fault="status")
        response, _ = self.get()
        self.assertEqual((response.code, self.header(response, "retry-after")), (503, None))

    def test_a_stale_set_lacks_what_came_later(self) -> None:
        """It is the set as it was when the fault was asked for."""
        first = self.mint()["kid"]
        self.act("fault", fault="stale", count=1)
        self.act("advance", seconds=1)
        second = self.mint()["kid"]
        self.assertEqual(of(self.get()[1], "kid"), [first])
        self.assertEqual(of(self.get()[1], "kid"), [first, second])

    def test_a_delayed_answer_is_late_and_right(self) -> None:
        """Nothing until the delay is over, then the set as it is then."""
        self.act("fault", fault="delay", delay=2.5)
        asked = self.app.client.get("http://localhost:8080" + JWKS)
        self.app.clock.advance(2.4)
        self.app.client.flush()
        self.assertNoResult(asked)
        kid = self.mint()["kid"]
        self.app.clock.advance(0.1)
        self.app.client.flush()
        body = self.successResultOf(self.successResultOf(asked).content())
        self.assertEqual(of(body, "kid"), [kid])

    def test_zero_is_a_value(self) -> None:
        """Asked for, no delay is none, and not the second that it is where none is asked for; no
        wait is told as such, and no time for a fault is none."""
        for delay, seconds in (({"delay": 0}, 0), ({"delay": "0"}, 0), ({}, 1)):
            with self.subTest(delay=delay):
                self.act("fault", fault="delay", **delay)
                asked = self.app.client.get("http://localhost:8080" + JWKS)
                self.app.clock.advance(seconds)
                self.app.client.flush()
                self.assertEqual(self.successResultOf(asked).code, 200)
        self.act("fault", fault="status", retry_after=0)
        self.assertEqual(self.header(self.get()[0], "retry-after"), "0")
        self.act("fault", fault="status", seconds=0)
        self.assertEqual(self.get()[0].code, 200)

    def test_faults_are_counted_or_timed_and_queued(self) -> None:
        """Three answers of one, then ten seconds of the next, by real time."""
        self.act("fault", fault="empty", count=2)
        self.act("fault", fault="status", status=500, seconds=10)
        self.act("freeze")
        codes = [self.get()[0].code for _ in range(5)]
        self.assertEqual(codes, [200, 200, 500, 500, 500])
        self.app.clock.advance(9)
        state = json.loads(self.request("GET", "/dev")[1])["faults"]
        self.assertEqual(state, [{"fault": "status", "count": None, "seconds": 1}])
        self.app.clock.advance(1)
        self.assertEqual(self.get()[0].code, 200)

    def test_faults_can_be_cleared(self) -> None:
        """The next answer is well again."""
        self.act("fault", fault="status", count=100)
        self.assertEqual(self.act("clearfaults"), {"action": "clearfaults", "cleared": 1})
        self.assertEqual(self.get()[0].code, 200)

    def test_an_empty_set_can_be_faulty_too(self) -> None:
        """Faults that take keys away or double them find none, and answer an empty set."""
        for fault in ("missing", "duplicate"):
            self.act("fault", fault=fault)
            self.assertEqual(self.get()[1], b'{"keys":[]}')

    def test_the_document_of_one_key_is_always_well(self) -> None:
        """Faults are of jwks.json."""
        kid = self.mint()["kid"]
        self.act("fault", fault="status", count=9)
        self.assertEqual(self.request("GET", f"/.well-known/{kid}.json")[0].code, 200)

    def test_faults_that_are_none_are_refused(self) -> None:
        """Each with what is allowed."""
        for parameters, said in (
            ({}, "fault must be one of delay"),
            ({"fault": "explode"}, "fault must be one of delay"),
            ({"fault": "empty", "count": 0}, "count must be a number from 1"),
            ({"fault": "empty", "count": "many"}, "count must be"),
            ({"fault": "status", "status": 200}, "status must be a number from 400"),
            ({"fault": "delay", "delay": 99_999}, "delay must be"),
            ({"fault": "redirect", "location": "a b"}, "location must be"),
            ({"fault": "redirect", "location": "a\r\nSet-Cookie: x"}, "location must be"),
            ({"fault": "missing", "kid": 1}, "kid must be a string"),
            ({"fault": "status", "delay": 3}, "status takes count, fault, retry_after, seconds"),
            ({"fault": "delay", "status": 500}, "delay takes count, delay, fault, seconds, not"),
            ({"fault": "cut", "kid": "x"}, "cut takes count, fault, seconds, not kid"),
        ):
            with self.subTest(parameters=parameters):
                wish = {"action": "fault", **parameters}
                response, body = self.request("POST", "/dev", json=wish)
                problem = self.assert_problem(response, body, 400, "invalid-parameter")
                self.assertIn(said, problem["detail"])


def of(body: bytes, member: str) -> list[str]:
    """One member of each key in a set."""
    return [key[member] for key in json.loads(body)["keys"]]


class DefectTests(DevTestCase):
    def test_the_catalogue_is_listed(self) -> None:
        """Every row with its verdict."""
        _, body = self.request("GET", "/dev/defects")
        told = {row["name"]: row["verdict"] for row in json.loads(body)["defects"]}
        self.assertEqual(told, {name: row.verdict for name, row in DEFECTS.items()})

    def test_a_defect_is_asked_for_by_name(self) -> None:
        """In the query too; its key is published unless the row says otherwise."""
        response, body = self.request("POST", "/auth?defect=alg-none")
        self.assertEqual(response.code, 200)
        self.assertTrue(body.endswith(b"."))
        # The first key of the source is the foreign one of the draft.
        self.assertEqual(self.kids(), [key_pair(1).kid])
        self.mint(defect="key-revoked")
        self.assertEqual(self.kids(), [key_pair(1).kid])

    def test_a_defect_that_cannot_be_is_refused(self) -> None:
        """An unknown name, and one that does not exist for the algorithm."""
        for name, said in (
            ("no-such", "GET /dev/defects"),
            ("", "GET /dev/defects"),
            ("ecdsa-zero", "exists for EC keys only"),
        ):
            with self.subTest(name=name):
                response, body = self.request("POST", f"/auth?defect={name}")
                problem = self.assert_problem(response, body, 400, "invalid-parameter")
                self.assertIn(said, problem["detail"])

    def test_without_dev_no_defect_is_signed(self) -> None:
        """It is refused with the reason, never passed over and answered with a good token."""
        self.app = make_app(dev=False)
        for arguments in ({"json": {"defect": "control"}}, {"data": {"defect": "control"}}):
            response, body = self.request("POST", "/auth", **arguments)
            problem = self.assert_problem(response, body, 400, "invalid-parameter")
            self.assertIn("--dev", problem["detail"])

    def test_without_dev_no_action_exists(self) -> None:
        """Each is a 404 like any unknown path, by whatever method."""
        _, body = self.request("POST", "/dev?action=none")
        actions = json.loads(body)["detail"].split(" one of ")[1].split(", not ")[0].split(", ")
        self.assertGreaterEqual(len(actions), 10)
        self.app = make_app(dev=False)
        for path in ("/dev", "/dev/defects", *(f"/dev?action={action}" for action in actions)):
            for method in ("GET", "POST", "OPTIONS"):
                with self.subTest(path=path, method=method):
                    response, body = self.request(method, path)
                    self.assert_problem(response, body, 404, "unknown-path")
