"""The fast path: what it repeats, what it does not, and that it repeats nothing outdated."""

import json
import re
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jwksd.dev.clock import DevClock
from jwksd.dev.faults import Fault, Faults
from jwksd.issuing.mintrequest import MintRequest
from jwksd.web.http import fastpath
from jwksd.web.http.answers import AnswerToRequest
from jwksd.web.http.fastpath import FastPath, FastPathChannel
from jwksd.web.http.repeat import Repeat
from jwksd.web.root import Dev
from tests.support.app import SCHEDULE
from tests.support.fastpath import FastPathTestCase
from tests.support.http import JWKS, Connection, get, masked
from tests.support.keys import NOW
from tests.support.primitives import octets


class Partial:
    """A socket that takes so many octets at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""

    def send(self, octets: bytes) -> int:
        return self.sendmsg([octets])

    def sendmsg(self, pieces: Sequence[bytes]) -> int:
        self.taken += b"".join(pieces)[: self.room]
        return len(self.taken)


class RepeatTests(FastPathTestCase):
    def test_plain_requests_for_documents_are_repeated(self) -> None:
        """GET, HEAD and 304 of each document, whatever the media type."""
        kid = json.loads(self.issuer.policy.keys.key_set().body)["keys"][0]["kid"]
        etag = self.issuer.policy.keys.key_set().etag.decode()
        for request in (
            get(JWKS),
            get(JWKS, method="HEAD"),
            get(JWKS, "Accept: application/jwk-set+json"),
            get(JWKS, f"If-None-Match: {etag}"),
            get(JWKS, f"If-None-Match: {etag}", method="HEAD"),
            get(f"{JWKS}?x=1"),
            get(f"/.well-known/{kid}.json"),
            get("/.well-known/openid-configuration"),
        ):
            with self.subTest(request=request):
                self.assertTrue(self.is_repeated(request))

    def test_other_requests_take_the_ordinary_path(self) -> None:
        """Errors, other methods, bodies, closing connections and older versions."""
        for request in (
            get("/nothing"),
            get("/readyz"),
            get(JWKS, method="OPTIONS"),
            get(JWKS, method="POST"),
            get(JWKS, "Content-Length: 2") + b"{}",
            get(JWKS, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            get(JWKS, "Connection: close"),
            get(JWKS).replace(b"1.1", b"1.0"),
            get(JWKS, f"X: {'x' * fastpath.MAX_HEAD}"),
        ):
            with self.subTest(request=request[:60]):
                client = Connection(self.site)
                client.send(request)
                self.assertEqual(self.site.fast_path.answers, {})

    def test_an_expectation_is_met_each_time(self) -> None:
        """Who waits for 100 before an answer gets it, whether or not it came before."""
        for _ in range(3):
            answers = self.connection.send(get(JWKS, "Expect: 100-continue"))
            self.assertTrue(answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"))

    def test_a_document_that_is_not_sent_is_counted(self) -> None:
        """An answer to HEAD, and 304, keep it in memory as the whole answer does."""
        document = self.issuer.policy.keys.key_set()
        for request in (
            get(JWKS, method="HEAD"),
            get(JWKS, "If-None-Match: *"),
        ):
            before = self.site.fast_path.octets
            self.assertTrue(self.is_repeated(request))
            self.assertGreater(self.site.fast_path.octets - before, 2 * len(document.body))

    def test_the_date_is_of_the_moment(self) -> None:
        """Whatever else is repeated, each answer has the Date of the second in which it is sent."""
        for request in (get(JWKS), get("/auth", method="POST"), get(JWKS, "If-None-Match: *")):
            self.assertTrue(self.is_repeated(request))
            for seconds in (NOW, NOW + 0.9, NOW + 1, NOW + 86_400, NOW + 5):
                with patch("jwksd.web.http.fastpath.time", lambda now=seconds: now):
                    answer = self.connection.send(request)
                (date,) = re.findall(rb"\r\nDate: (.*)\r\n", answer)
                self.assertEqual(date.decode(), formatdate(int(seconds), usegmt=True))

    def test_however_much_the_socket_takes_each_octet_is_sent_once(self) -> None:
        """In order, be the answer one piece or two, and whether what is left is short or long."""
        self.connection.send(get(JWKS))
        whole = masked(self.connection.send(get(JWKS)))
        for one_piece in (0, fastpath.MAX_SENT):
            for taken in (
                0,
                1,
                whole.index(b"{") - 1,
                whole.index(b"{"),
                len(whole) - 1,
                len(whole),
            ):
                with patch("jwksd.web.http.answers._ONE_PIECE", one_piece):
                    client = Connection(self.make_site())
                    client.send(get(JWKS))
                    client.channel._socket = sock = Partial(taken)
                    client.transport.dataBuffer, client.transport._tempDataBuffer = b"", []  # type: ignore[attr-defined]
                    rest = client.send(get(JWKS))
                with self.subTest(one_piece=one_piece, taken=taken):
                    self.assertEqual(masked(sock.taken + rest), whole)
                    self.assertEqual(len(sock.taken), taken)

    def test_the_access_log_has_the_same_line(self) -> None:
        """Client, request, status and length; nothing where it is off."""
        written: list[str] = []
        for access_log, lines in ((True, 2), (False, 0)):
            self.site = self.make_site(access_log=access_log)
            self.site._logFile = type("Log", (), {"write": written.append})
            client = Connection(self.site)
            for _ in range(2):
                client.send(get(f"{JWKS}?password=x"))
            self.assertEqual((len(written), len(set(written))), (lines, min(1, lines)))
            written.clear()

    def test_an_idle_connection_is_closed_when_it_has_been_idle(self) -> None:
        """Sixty seconds after the last answer, of either path; not sooner."""
        self.connection.send(get(JWKS))
        self.clock.advance(59)
        self.connection.send(get(JWKS))
        self.clock.advance(59)
        self.assertFalse(self.connection.transport.disconnecting)
        self.connection.send(get("/readyz"))
        self.clock.advance(59.5)
        self.connection.send(get(JWKS))
        self.clock.advance(59.5)
        self.assertFalse(self.connection.transport.disconnecting)
        self.clock.advance(0.5)
        self.assertTrue(self.connection.transport.disconnecting)


class ChangeTests(FastPathTestCase):
    """What changes between two identical requests is never answered stale."""

    def set_is_current(self, client: Connection | None = None) -> None:
        _, _, body = (client or self.connection).send(get(JWKS)).partition(b"\r\n\r\n")
        self.assertEqual(body, self.issuer.policy.keys.key_set().body)

    def test_a_rotation_is_seen_in_the_next_answer(self) -> None:
        """Takeover, end and new keys, with and without timers."""
        for seconds in (SCHEDULE.rotation_interval, SCHEDULE.retention, 10 * SCHEDULE.propagation):
            self.set_is_current()
            self.clock.rightNow += seconds
            self.set_is_current()
            self.clock.advance(0)
            self.set_is_current()

    def test_a_revocation_is_seen_in_the_next_answer(self) -> None:
        """In the set, in the headers, and by the document of the key."""
        kid = self.mint().kid
        for _ in range(2):
            self.assertIn(b" 200 OK", self.connection.send(get(f"/.well-known/{kid}.json")))
            self.set_is_current()
        self.successResultOf(Deferred.fromCoroutine(self.issuer.policy.revoke(kid)))
        self.assertIn(b"404 Not Found", self.connection.send(get(f"/.well-known/{kid}.json")))
        self.assertIn(b"max-age=60\r\n", self.connection.send(get(JWKS)))
        self.set_is_current()
        self.clock.advance(SCHEDULE.propagation)
        self.assertIn(b"max-age=1000,", Connection(self.site).send(get(JWKS)))

    def test_a_tag_that_is_old_is_answered_with_the_set(self) -> None:
        """304 as long as the set is the same, 200 then."""
        conditional = get(JWKS, f"If-None-Match: {self.issuer.policy.keys.key_set().etag.decode()}")
        for _ in range(3):
            self.assertIn(b" 304 Not Modified", self.connection.send(conditional))
        self.successResultOf(Deferred.fromCoroutine(self.issuer.reset_keys()))
        self.assertIn(b" 200 OK", self.connection.send(conditional))

    def test_a_fault_is_met_by_the_next_request(self) -> None:
        """As many as it has answers; then the set is well again."""
        faults = Faults(self.clock)
        self.site = self.make_site(dev=Dev(DevClock(self.clock), faults))
        client = Connection(self.site)
        for _ in range(2):
            self.set_is_current(client)
        faults.add(Fault("status", count=2, until=None))
        codes = [client.send(get(JWKS)).split()[1] for _ in range(4)]
        self.assertEqual(codes, [b"503", b"503", b"200", b"200"])

    def test_tokens_that_have_expired_alone_are_made_on_it(self) -> None:
        """Each another one, as on the ordinary path."""
        request = get("/auth?expired=token", method="POST")
        self.assertTrue(self.is_repeated(request))
        tokens = [self.connection.send(request).rpartition(b"\r\n\r\n")[2] for _ in range(2)]
        exps = [json.loads(octets(t.decode().split(".")[1]))["exp"] for t in tokens]
        self.assertNotEqual(*tokens)
        self.assertEqual(exps, [NOW - 3600, NOW - 3600])

    def test_no_token_is_made_for_a_connection_that_ends(self) -> None:
        """What comes after the end has begun is not answered, and makes no key."""
        request = get("/auth", method="POST")
        self.assertTrue(self.is_repeated(request))
        made: list[MintRequest] = []
        mint_now = self.issuer.mint_now
        self.issuer.mint_now = lambda wish: made.append(wish) or mint_now(wish)
        self.connection.transport.disconnecting = True
        self.connection.channel.dataReceived(request)
        self.assertEqual(made, [])

    def test_the_answer_of_a_server_that_stops_says_so(self) -> None:
        """Its first answer is its last, though it was known before."""
        self.connection.send(get(JWKS))
        self.site.drain()
        client = Connection(self.site)
        self.assertIn(b"Connection: close\r\n", client.send(get(JWKS)))
        self.assertTrue(client.transport.disconnecting)
        client.lose()
        self.connection.lose()

    def test_a_server_that_stops_answers_no_more(self) -> None:
        """An idle connection is closed, and what comes on it is not answered."""
        self.connection.send(get(JWKS))
        self.site.drain()
        self.assertEqual(self.connection.send(get(JWKS)), b"")
        self.connection.lose()


class PerTokenChangeTests(FastPathTestCase):
    policy = "per-token"

    def test_a_token_is_seen_in_the_next_answer(self) -> None:
        """Its key is in the set from its answer on, and gone at its second."""
        for _ in range(3):
            self.connection.send(get(JWKS))
            kid = self.mint().kid.encode()
            self.assertIn(kid, self.connection.send(get(JWKS)))
            self.assertIn(kid, self.connection.send(get(JWKS)))
        self.clock.rightNow += 3600
        self.assertTrue(self.connection.send(get(JWKS)).endswith(b'{"keys":[]}'))


class KindTests(FastPathTestCase):
    """A key's document is answered as another key's was, with its own body, length and tag."""

    policy = "per-token"

    def ask(self, kid: str, *fields: str, method: str = "GET") -> bytes:
        return self.connection.send(get(f"/.well-known/{kid}.json", *fields, method=method))

    def ordinary(self, kid: str, *fields: str, method: str = "GET") -> bytes:
        """Return the answer without the fast path."""
        return Connection(self.make_site()).send(
            get(f"/.well-known/{kid}.json", *fields, method=method)
        )

    def test_another_key_is_answered_without_the_ordinary_path(self) -> None:
        """Whatever the method and the fields; of those asked for in a row each once."""
        for method, fields in (("GET", ()), ("HEAD", ()), ("GET", ("Accept: text/html", "X: %b"))):
            self.ask(self.mint().kid, *fields, method=method)
            for _ in range(3):
                kid = self.mint().kid
                ordinary = self.ordinary(kid, *fields, method=method)
                with patch.object(FastPathChannel, "_learn") as learn:
                    answer = self.ask(kid, *fields, method=method)
                self.assertEqual(masked(answer), masked(ordinary))
                self.assertEqual(learn.mock_calls, [])

    def test_who_is_asked_for_again_is_known_by_all_bytes(self) -> None:
        """The second time the ordinary path answers, and from then on the fast path."""
        self.ask(self.mint().kid)
        kid = self.mint().kid
        request = get(f"/.well-known/{kid}.json")
        self.ask(kid)
        self.assertNotIn(request, self.site.fast_path.answers)
        self.ask(kid)
        self.assertIn(request, self.site.fast_path.answers)
        self.assertTrue(self.is_repeated(request))

    def test_the_unknown_and_the_expired_are_not_found(self) -> None:
        """A kid that is none, one that is not live, one that is live no more."""
        kids = [self.mint().kid for _ in range(3)]
        self.assertIn(b" 200 OK", self.ask(kids[0]))
        for kid in ("A" * 43, "%" * 43, "/" * 43, "." * 43, "A" * 44):
            with self.subTest(kid=kid):
                self.assertIn(b" 404 Not Found", self.ask(kid))
        self.assertIn(b" 200 OK", self.ask(kids[1]))
        self.clock.rightNow += 3600
        self.assertIn(b" 404 Not Found", self.ask(kids[1]))
        self.assertIn(b" 404 Not Found", self.ask(kids[2]))

    def test_a_condition_is_met_by_the_tag_of_the_key(self) -> None:
        """304 for one kid says nothing of another."""
        one, two = self.mint().kid, self.mint().kid
        key = self.issuer.policy.keys.get(one)
        assert key is not None
        condition = f"If-None-Match: {key.etag.decode()}"
        for _ in range(3):
            self.assertIn(b" 200 ", self.ask(two, condition))
            self.assertIn(b" 304 ", self.ask(one, condition))

    def test_the_access_log_names_the_kid(self) -> None:
        """Each line has the kid that was asked for, and the length that was sent."""
        written: list[str] = []
        self.site = self.make_site(access_log=True)
        self.site._logFile = type("Log", (), {"write": written.append})
        self.connection = Connection(self.site)
        for number in range(3):
            kid = self.mint().kid
            length = len(self.ask(kid).partition(b"\r\n\r\n")[2])
            line = f'"GET /.well-known/{kid}.json HTTP/1.1" 200 {length}\n'
            self.assertIn(line, written[number])

    def test_a_kid_elsewhere_decides_nothing(self) -> None:
        """In the host, a field, a fragment, or spelt otherwise: there it is no key's."""
        one, two = self.mint().kid, self.mint().kid
        spelt = "".join(f"%{ord(letter):02x}" for letter in one)
        for target, fields in (
            (f"http://{one}.localhost/.well-known/{spelt}.json", ()),
            (f"http://{one}@localhost/.well-known/{spelt}.json", ()),
            (f"http://localhost/.well-known/{one}.json", ()),
            (f"/.well-known/{spelt}.json#{one}", ()),
            (f"/.well-known/{spelt}.json?{one}", ()),
            (f"/.well-known/{spelt}.json", (f"Cookie: {one}",)),
            (f"/.well-known/{one}.json", (f"Cookie: {one}",)),
            (f"/.well-known/{one}.json?{one}", ()),
        ):
            with self.subTest(target=target, fields=fields):
                for kid in (one, two):
                    request = get(target, *fields).replace(one.encode(), kid.encode())
                    ordinary = Connection(self.make_site()).send(request)
                    self.assertEqual(masked(self.connection.send(request)), masked(ordinary))
                self.assertEqual(self.site.fast_path.kinds, {})

    def test_a_client_that_asks_oddly_takes_nothing_from_others(self) -> None:
        """After hosts and fields of all kinds, the kind is known as before; memory is bounded."""
        for number in range(2 * fastpath.MAX_KINDS):
            self.connection.send(
                get(f"http://{'h' * number}.localhost/.well-known/{self.mint().kid}.json")
            )
            self.assertIn(b" 200 OK", self.ask(self.mint().kid, f"X: {number}"))
            self.assertLessEqual(len(self.site.fast_path.kinds), fastpath.MAX_KINDS)
        self.ask(self.mint().kid)
        kid = self.mint().kid
        with patch.object(FastPathChannel, "_learn") as learn:
            self.assertIn(b" 200 OK", self.ask(kid))
        self.assertEqual(learn.mock_calls, [])


class RotatingKindTests(KindTests):
    """Where what may be cached, and for how long, changes with the keys."""

    policy = "rotating"

    def mint(self, **wish: Any) -> Any:
        """A token of a key that has just begun to sign."""
        self.clock.rightNow += SCHEDULE.rotation_interval + SCHEDULE.propagation
        return super().mint(**wish)

    def test_the_unknown_and_the_expired_are_not_found(self) -> None:
        """A key that is revoked is not found."""
        kids = [self.mint().kid for _ in range(3)]
        for kid in kids[1:]:
            self.assertIn(b" 200 OK", self.ask(kid))
        self.successResultOf(Deferred.fromCoroutine(self.issuer.policy.revoke(kids[2])))
        self.assertIn(b" 404 Not Found", self.ask(kids[2]))
        answer = self.ask(kids[1])
        self.assertEqual(masked(answer), masked(self.ordinary(kids[1])))
        self.assertIn(b"max-age=60\r\n", answer)


class BoundTests(SynchronousTestCase):
    """What is remembered is bounded."""

    answer = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nab"

    def learn(self, known: FastPath, request: bytes, answer: bytes = answer) -> None:
        known.learn(request, answer, Repeat(lambda: b"ab"), "summary", bodiless=False)

    def test_the_oldest_give_way(self) -> None:
        """Past so many entries."""
        known = FastPath()
        for number in range(fastpath.MAX_ANSWERS + 5):
            self.learn(known, b"%d" % number)
        self.assertEqual(len(known.answers), fastpath.MAX_ANSWERS)
        self.assertNotIn(b"4", known.answers)
        self.assertIn(b"5", known.answers)

    def test_octets_are_bounded_too(self) -> None:
        """Of requests and answers together; forgetting gives all of them back."""
        known, long = FastPath(), self.answer + b"x" * 100_000
        for number in range(200):
            self.learn(known, b"%d" % number, long)
            self.assertLessEqual(known.octets, fastpath.MAX_OCTETS)
        for request in list(known.answers):
            known.forget(request)
        known.forget(b"unknown")
        self.assertEqual(known.octets, 0)

    def test_what_would_leave_no_room_is_not_remembered(self) -> None:
        """The others stay."""
        known = FastPath()
        self.learn(known, b"1")
        self.learn(known, b"2", self.answer + b"x" * fastpath.MAX_OCTETS)
        self.assertEqual(list(known.answers), [b"1"])

    def test_what_is_odd_is_not_remembered(self) -> None:
        """Another status, or a head without exactly one date."""
        for answer in (
            b"HTTP/1.1 404 Not Found\r\nDate: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nab\r\nDate: x\r\n",
            b"HTTP/1.1 200 OK\r\nDate: x\r\nDate: y\r\n\r\n",
        ):
            known = FastPath()
            self.learn(known, b"1", answer)
            self.assertEqual(known.answers, {})

    def test_an_answer_without_the_fields_that_differ_serves_no_kind(self) -> None:
        """Date, tag and length, in this order, are what is filled in for each key."""
        for fields, made in (
            (b"Date: x\r\nETag: y\r\nContent-Length: 2", 1),
            (b"Date: x\r\nContent-Length: 2\r\nETag: y", 0),
            (b"ETag: y\r\nDate: x\r\nContent-Length: 2", 0),
            (b"Date: x\r\nContent-Length: 2", 0),
            (b"Date: x\r\nETag: y", 0),
        ):
            known = FastPath()
            repeat = Repeat(lambda: b"ab", 2, b"kid", lambda kid: (b"ab", b"y"))
            answer = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nab"
            known.learn(b"GET /kid", answer, repeat, "GET /kid", bodiless=False)
            self.assertEqual((len(known.answers), len(known.kinds)), (1, made))

    def test_the_same_octets_elsewhere_are_another_request(self) -> None:
        """Two requests may be alike but for their holes, and have these in different places."""
        known = FastPath()
        repeat = Repeat(lambda: b"ab", 2, b"kid", lambda kid: (b"ab", b"y"))
        answer = b"HTTP/1.1 200 OK\r\nDate: x\r\nETag: y\r\nContent-Length: 2\r\n\r\nab"
        known.learn(b"GET /kid/", answer, repeat, "GET /kid/", bodiless=False)
        known.learn(b"PUT //kid.", answer, repeat, "PUT //kid.", bodiless=False)
        self.assertIsNotNone(known.find_kind(b"GET /one/"))
        self.assertIsNone(known.find_kind(b"GET //one"))

    def test_a_large_body_is_not_copied(self) -> None:
        """It is sent as the second piece."""
        body = b"x" * 100_000
        answer = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100000\r\n\r\n" + body
        remembered = AnswerToRequest(answer, Repeat(lambda: body), "summary", bodiless=False)
        head, sent = remembered.message(b"y") or (b"", b"")
        self.assertIs(sent, body)
        self.assertIn(b"Date: y\r\n", head)
