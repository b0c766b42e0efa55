"""Which requests are let in: the judgement as a table, and on connections of all kinds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar
from unittest import TestCase

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from jwksd.errors import CrossSite, TooManyKeys, WrongHost
from jwksd.web.http import admission
from jwksd.web.http.admission import Admission, host_names, judge, origin_of
from jwksd.web.http.site import Site
from tests.support.fastpath import FastPathTestCase
from tests.support.http import JWKS, Connection, get

APP, ISSUER = b"https://app.example", b"https://issuer.example"
OURS = Admission(
    hosts=host_names([b"issuer.example:8080", b"Jwksd", b"10.0.0.1", b"a b"]),
    issuer=ISSUER,
    cors_origins=frozenset({APP}),
)
"""What a server lets in that has two more names, and lets in the pages of one more origin."""


class HostTests(TestCase):
    def is_let_in(self, *hosts: bytes, policy: Admission = OURS) -> bool:
        error = judge(policy, b"GET", hosts=hosts, origins=(), sites=())
        if error is not None:
            self.assertIsInstance(error, WrongHost)
            self.assertIn("--allowed-host", error.detail)
        return error is None

    def test_addresses_localhost_and_names_of_ours_are_let_in(self) -> None:
        """In any case, with any port, and with one dot at the end."""
        for host in (
            b"localhost",
            b"LOCALHOST",
            b"localhost.",
            b"localhost:8080",
            b"localhost.:8080",
            b"localhost:",
            b"a.localhost",
            b"a.b_c.localhost.:1",
            b"127.0.0.1",
            b"192.0.2.7:80",
            b"127.0.0.1.",
            b"[::1]",
            b"[2001:DB8::1]:8080",
            b"[::ffff:127.0.0.1]",
            b"issuer.example",
            b"ISSUER.example:443",
            b"jwksd",
            b"jwksd.:99999",
        ):
            with self.subTest(host=host):
                self.assertTrue(self.is_let_in(host))

    def test_what_another_could_be_called_is_refused(self) -> None:
        """Names of others, also when they contain one of ours, and what is no name at all."""
        for host in (
            b"evil.example",
            b"evil.example:8080",
            b"localhost.evil.example",
            b"127.0.0.1.evil.example",
            b"127.0.0.1.localhost.example",
            b"notlocalhost",
            b"a.issuer.example",
            b"example",
            b"localhost..",
            b"..localhost",
            b".localhost",
            b"localhost:80:80",
            b"localhost:x",
            b"localhost:8080.evil.example",
            b"a@localhost",
            b"localhost@evil.example",
            b"evil.example/.localhost",
            b"evil.example#.localhost",
            b"localhost, evil.example",
            b"local\x00host",
            b"\xc5\xbf.localhost",
            b"a b",
            b"256.0.0.1",
            b"127.1",
            b"0x7f000001",
            b"2130706433",
            b"127.0.0.01",
            b"[::1",
            b"[localhost]",
            b"[127.0.0.1]",
            b"[::1].evil.example",
            b"[::1%25lo]",
            b"::1",
            b"",
            b":8080",
            b".",
            b"x." * 160 + b"localhost",
            b"x" * 100_000 + b".localhost",
        ):
            with self.subTest(host=host[:60]):
                self.assertFalse(self.is_let_in(host))

    def test_every_host_of_a_request_counts(self) -> None:
        """That of an absolute target, that of the field, and a second field; none is let in."""
        self.assertTrue(self.is_let_in())
        self.assertTrue(self.is_let_in(b"localhost", b"jwksd"))
        self.assertFalse(self.is_let_in(b"localhost", b"evil.example"))
        self.assertFalse(self.is_let_in(b"evil.example", b"localhost"))

    def test_where_nothing_is_checked_every_host_is_let_in(self) -> None:
        """As on an address that other machines know by names of their own."""
        open_to_all = replace(OURS, check_host=False)
        self.assertTrue(self.is_let_in(b"evil.example", policy=open_to_all))

    def test_a_server_without_names_of_its_own_has_those_of_the_machine(self) -> None:
        """And an issuer whose URL has no name adds none."""
        for policy in (Admission(), Admission(hosts=host_names([b"", b"[::1", b"*"]))):
            self.assertEqual(policy.hosts, {b"localhost"})
            self.assertFalse(self.is_let_in(b"", policy=policy))

    def test_what_is_known_of_hosts_is_bounded(self) -> None:
        """However many there are, and however long."""
        for number in range(3000):
            self.is_let_in(b"%d.example" % number)
        before = admission._name.cache_info()
        self.assertLessEqual(before.currsize, 1024)
        self.is_let_in(b"x" * 1000)
        self.assertEqual(admission._name.cache_info(), before)


class OriginTests(TestCase):
    def is_let_in(
        self,
        *,
        origins: Sequence[bytes] = (),
        sites: Sequence[bytes] = (),
        method: bytes = b"POST",
        hosts: Sequence[bytes] = (b"localhost:8080",),
        policy: Admission = OURS,
    ) -> bool:
        error = judge(policy, method, hosts=hosts, origins=origins, sites=sites)
        if error is not None:
            self.assertIsInstance(error, CrossSite)
            self.assertIn("--cors-origin", error.detail)
        return error is None

    def test_what_is_no_browser_is_let_in(self) -> None:
        """It sends neither field; with any method, and without a Host."""
        for method in (b"POST", b"PUT", b"DELETE", b"BREW"):
            self.assertTrue(self.is_let_in(method=method))
            self.assertTrue(self.is_let_in(method=method, hosts=()))

    def test_reading_is_never_cross_site(self) -> None:
        """Documents are for pages of every site; what changes anything is not."""
        for method, let_in in (
            (b"GET", True),
            (b"HEAD", True),
            (b"OPTIONS", True),
            (b"POST", False),
            (b"PUT", False),
            (b"DELETE", False),
            (b"TRACE", False),
            (b"get", False),
            (b"", False),
        ):
            with self.subTest(method=method):
                found = self.is_let_in(method=method, sites=[b"cross-site"], origins=[b"null"])
                self.assertIs(found, let_in)

    def test_the_site_decides_where_it_is_given(self) -> None:
        """Only these two are ours, so written and alone; another port is same-site, and foreign."""
        for sites, let_in in (
            ([b"same-origin"], True),
            ([b"none"], True),
            ([b"same-site"], False),
            ([b"cross-site"], False),
            ([b""], False),
            ([b"Same-Origin"], False),
            ([b"same-origin, cross-site"], False),
            ([b"same-origin;x=1"], False),
            ([b"same-origin", b"same-origin"], False),
            ([b"same-origin", b"cross-site"], False),
            ([b"none", b""], False),
        ):
            for origins in ([], [b"http://localhost:8080"], [b"https://evil.example"], [b"null"]):
                with self.subTest(sites=sites, origins=origins):
                    self.assertIs(self.is_let_in(sites=sites, origins=origins), let_in)

    def test_else_the_origin_decides(self) -> None:
        """That of the host which was asked, or the issuer's; written as browsers do."""
        for host, origin, let_in in (
            (b"localhost:8080", b"http://localhost:8080", True),
            (b"localhost:8080", b"https://localhost:8080", True),
            (b"LocalHost:8080", b"http://localhost:8080", True),
            (b"localhost", b"http://localhost", True),
            (b"localhost:80", b"http://localhost", True),
            (b"localhost:443", b"https://localhost", True),
            (b"[::1]:8080", b"http://[::1]:8080", True),
            (b"localhost:8080", ISSUER, True),
            (b"localhost:443", b"http://localhost", False),
            (b"localhost:80", b"https://localhost", False),
            (b"localhost:8080", b"http://localhost", False),
            (b"localhost:8080", b"http://localhost:5173", False),
            (b"localhost:8080", b"http://127.0.0.1:8080", False),
            (b"localhost:8080", b"ftp://localhost:8080", False),
            (b"localhost:8080", b"localhost:8080", False),
            (b"localhost:8080", b"http://localhost:8080/", False),
            (b"localhost:8080", b"http://localhost:8080.evil.example", False),
            (b"localhost:8080", b"http://evil.example/http://localhost:8080", False),
            (b"localhost:8080", b"http://localhost:8080 https://evil.example", False),
            (b"localhost:8080", b"http://localhost:8080, http://localhost:8080", False),
            (b"localhost:8080", b"http://issuer.example", False),
            (b"localhost:8080", b"https://issuer.example:8443", False),
            (b"localhost:8080", b"null", False),
            (b"localhost:8080", b"", False),
            (b"localhost:8080", b"http://", False),
        ):
            with self.subTest(host=host, origin=origin):
                self.assertIs(self.is_let_in(hosts=[host], origins=[origin]), let_in)

    def test_without_a_host_no_origin_is_its(self) -> None:
        """None, an empty one, and two that differ."""
        for hosts in ([], [b""], [b"localhost", b"localhost:8080"]):
            unchecked = replace(OURS, check_host=False)
            for origin in (b"http://localhost", b"http://", b""):
                found = self.is_let_in(hosts=hosts, origins=[origin], policy=unchecked)
                self.assertFalse(found, (hosts, origin))

    def test_without_an_issuer_no_origin_is_its(self) -> None:
        """An empty one is not, either."""
        self.assertFalse(self.is_let_in(origins=[b""], policy=Admission()))
        self.assertFalse(self.is_let_in(origins=[ISSUER], policy=Admission()))

    def test_several_origins_are_nobodys(self) -> None:
        """Also when each would be let in, and with a site: nothing says for which one it is."""
        for origins in ([APP, APP], [ISSUER, ISSUER], [APP, b"https://evil.example"]):
            self.assertFalse(self.is_let_in(origins=origins))
            self.assertFalse(self.is_let_in(origins=origins, sites=[b"cross-site"]))

    def test_a_listed_origin_is_let_in(self) -> None:
        """From whatever site, and by exactly this origin."""
        for sites in ([], [b"cross-site"], [b"same-site"], [b"same-origin"]):
            self.assertTrue(self.is_let_in(origins=[APP], sites=sites))
        for origin in (
            b"http://app.example",
            b"https://app.example:8443",
            b"https://a.app.example",
        ):
            self.assertFalse(self.is_let_in(origins=[origin]))
            self.assertFalse(self.is_let_in(origins=[origin], sites=[b"cross-site"]))

    def test_the_origin_is_looked_at_where_no_host_is(self) -> None:
        """Every bind has pages as its clients."""
        unchecked = replace(OURS, check_host=False)
        evil = [b"http://evil.example"]
        self.assertFalse(self.is_let_in(origins=evil, policy=unchecked))
        self.assertTrue(self.is_let_in(hosts=[b"evil.example"], origins=evil, policy=unchecked))

    def test_an_origin_is_written_as_browsers_do(self) -> None:
        """In lower case, without the default port, path and user."""
        for url, origin in (
            ("https://Issuer.Example:443/realms/x", b"https://issuer.example"),
            ("http://user:secret@localhost:8080", b"http://localhost:8080"),
            ("HTTP://[::1]:80/", b"http://[::1]"),
            ("http://localhost:443", b"http://localhost:443"),
            ("app-1://x", b"app-1://x"),
        ):
            self.assertEqual(origin_of(url), origin)


class ConnectionTests(FastPathTestCase):
    """The judgement comes before every resource, and the fast path keeps to it."""

    policy = "per-token"

    def connect(self, address: IAddress | None = None) -> Any:
        return Connection(self.site, address)

    def status(self, client: Connection, request: bytes) -> int:
        return int(client.send(request).split(b" ")[1])

    def test_a_wrong_host_gets_a_problem(self) -> None:
        """421 with the option that helps; the connection goes on."""
        client = self.connect()
        answer = client.send(ask("POST /auth", "evil.example:80"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n"), answer)
        self.assertIn(b"Content-Type: application/problem+json\r\n", answer)
        self.assertEqual(answer.count(b"\r\nDate: "), 1)
        self.assertIn(b'"urn:jwksd:problem:wrong-host"', answer)
        self.assertIn(b"evil.example", answer)
        self.assertIn(b"--allowed-host", answer)
        self.assertEqual(len(self.issuer.policy.keys), 0)
        self.assertEqual(self.status(client, ask("POST /auth", "localhost")), 200)

    def test_a_wrong_host_is_refused_whatever_is_asked(self) -> None:
        """Documents, unknown paths, every method, the server as a whole."""
        for start in (f"GET {JWKS}", f"HEAD {JWKS}", "GET /no", "OPTIONS /auth", "BREW /auth"):
            with self.subTest(start=start):
                self.assertEqual(self.status(self.connect(), ask(start, "evil.example")), 421)
        self.assertEqual(self.status(self.connect(), ask("OPTIONS *", "evil.example")), 421)

    def test_without_host_nothing_is_looked_at(self) -> None:
        """Health checks speak HTTP/1.0 without one; with one it counts there as well."""
        bare = b"GET /healthz HTTP/1.0\r\n\r\n"
        self.assertEqual(self.status(self.connect(), bare), 200)
        named = b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n"
        self.assertEqual(self.status(self.connect(), named), 421)

    def test_a_refused_request_is_never_remembered(self) -> None:
        """However often it comes, and whatever was answered to others."""
        for start in (f"GET {JWKS}", "POST /auth"):
            self.assertTrue(self.is_repeated(ask(start, "localhost")))
            for _ in range(3):
                self.assertEqual(self.status(self.connection, ask(start, "evil.example")), 421)
            self.assertEqual(len(self.site.fast_path.answers), 1)
            self.site.fast_path.forget(ask(start, "localhost"))

    def test_another_key_of_an_allowed_request_is_refused_by_its_host(self) -> None:
        """One key's document was answered; another's is asked by a wrong name."""
        for _ in range(3):
            path = f"GET /.well-known/{self.mint().kid}.json"
            self.assertEqual(self.status(self.connection, ask(path, "localhost")), 200)
            self.assertEqual(self.status(self.connection, ask(path, "evil.example")), 421)
        self.assertEqual(len(self.site.fast_path.kinds), 1)

    def test_on_a_unix_socket_no_host_is_looked_at(self) -> None:
        """And what was remembered there is not answered to others."""
        request = ask(f"GET {JWKS}", "evil.example")
        local = self.connect(UNIXAddress(b"/run/jwksd"))
        for _ in range(3):
            self.assertEqual(self.status(local, request), 200)
        self.assertIn(request, self.site.unix_fast_path.answers)
        for address in (None, IPv4Address("TCP", "127.0.0.1", 40_000)):
            self.assertEqual(self.status(self.connect(address), request), 421)


class PageTests(FastPathTestCase):
    """What a page in a browser may do, on a connection with the fast path."""

    policy = "per-token"
    FOREIGN: ClassVar = (
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Origin: https://app.example", "Origin: https://app.example"),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site", "Origin: http://localhost:5173"),
        ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"),
    )

    def make_site(self, **options: Any) -> Site:
        site = super().make_site(**options)
        site.admission = OURS
        return site

    def head(self, request: bytes) -> list[str]:
        return self.connection.send(request).partition(b"\r\n\r\n")[0].decode().split("\r\n")

    def test_a_page_without_an_origin_is_told_to_have_one(self) -> None:
        """`null` is no value of --cors-origin."""
        answer = self.connection.send(get("/auth", "Origin: null", method="POST"))
        self.assertIn(b"whose origin is null", answer)
        self.assertIn(b"serve it from an origin", answer)

    def test_a_page_of_another_site_changes_nothing(self) -> None:
        """403 with the option that helps, wherever it posts, and no key is made."""
        for target in ("/auth", "/token", "/introspect", "/dev?action=resetkeys", "/no"):
            for fields in self.FOREIGN:
                with self.subTest(target=target, fields=fields):
                    answer = self.connection.send(get(target, *fields, method="POST"))
                    self.assertTrue(answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"), answer)
                    self.assertIn(b"Content-Type: application/problem+json\r\n", answer)
                    self.assertIn(b'"urn:jwksd:problem:cross-site"', answer)
                    self.assertIn(b"--cors-origin", answer)
                    self.assertNotIn(b"Access-Control", answer)
        self.assertEqual(len(self.issuer.policy.keys), 0)

    def test_a_page_of_another_site_is_never_remembered(self) -> None:
        """Neither before nor after the same request of others is repeated."""
        for fields in self.FOREIGN:
            for _ in range(2):
                foreign = get("/auth", *fields, method="POST")
                self.assertIn("403", self.head(foreign)[0])
                self.assertIn("403", self.head(foreign)[0])
                self.assertNotIn(foreign, self.site.fast_path.answers)
                self.assertTrue(self.is_repeated(get("/auth", method="POST")))

    def test_pages_of_our_own_are_answered_on_the_fast_path(self) -> None:
        """By site, or by an origin that is the host's."""
        for fields in (("Sec-Fetch-Site: same-origin",), ("Origin: http://localhost",)):
            self.assertTrue(self.is_repeated(get("/auth", *fields, method="POST")))

    def test_documents_are_for_every_page(self) -> None:
        """Public keys are; a listed origin changes nothing there."""
        for fields in (*self.FOREIGN, (f"Origin: {APP.decode()}",)):
            head = self.head(get(JWKS, *fields))
            self.assertEqual(head[0], "HTTP/1.1 200 OK")
            self.assertIn("Access-Control-Allow-Origin: *", head)
            self.assertIn("Vary: Accept", head)

    def test_a_page_of_a_listed_origin_reads_its_token(self) -> None:
        """The first on the ordinary path, the next on the fast path; caches learn what varies."""
        request = get("/auth", "Origin: https://app.example", method="POST")
        self.assertTrue(self.is_repeated(request))
        head = self.head(request)
        self.assertIn("Access-Control-Allow-Origin: https://app.example", head)
        self.assertIn("Vary: Accept, Origin", head)
        self.assertNotIn("Access-Control", str(self.head(get("/auth", method="POST"))))

    def test_a_page_of_a_listed_origin_reads_what_is_wrong(self) -> None:
        """At both endpoints; at others it is let in, and reads nothing."""
        for target, status, told in (
            ("/auth?expired=maybe", "400", True),
            ("/token", "401", True),
            ("/introspect", "401", False),
            ("/no", "404", False),
        ):
            head = self.head(get(target, "Origin: https://app.example", method="POST"))
            self.assertIn(f" {status} ", head[0])
            allowed = "Access-Control-Allow-Origin: https://app.example" in head
            self.assertIs(allowed, told, target)

    def test_a_preflight_of_a_listed_origin_is_answered(self) -> None:
        """With what is asked there; of any other it is answered without leave."""
        for target in ("/auth", "/token"):
            head = self.head(get(target, "Origin: https://app.example", method="OPTIONS"))
            self.assertEqual(head[0], "HTTP/1.1 204 No Content")
            for line in (
                "Access-Control-Allow-Origin: https://app.example",
                "Access-Control-Allow-Methods: POST",
                "Access-Control-Allow-Headers: Authorization, Content-Type",
                "Access-Control-Max-Age: 7200",
                "Vary: Origin",
            ):
                self.assertIn(line, head)
            for fields in ((), *self.FOREIGN):
                head = self.head(get(target, *fields, method="OPTIONS"))
                self.assertEqual(head[0], "HTTP/1.1 204 No Content")
                self.assertNotIn("Access-Control", str(head))
                self.assertIn("Vary: Origin", head)

    def test_a_page_of_a_listed_origin_can_read_every_error(self) -> None:
        """What the server says of host, method, body, media type and load; and its fields."""
        app = "Origin: https://app.example"
        self.patch(self.issuer, "mint_now", refuse)
        for request, status in (
            (get("/auth", app), 405),
            (get("/token", app), 405),
            (get("/auth", app, method="POST"), 503),
            (get("/auth", app, method="POST").replace(b"localhost", b"evil.example"), 421),
            (get("/auth", app, method="POST").replace(b"localhost", b"a@localhost"), 400),
            (post("/auth", "text/plain", b"x", app), 415),
            (post("/auth", "application/json", b" " * 70_000, app), 413),
            (post("/token", "application/json", b"{}", app), 415),
        ):
            with self.subTest(request=request[:80]):
                head = self.connect(request)
                self.assertIn(f" {status} ", head[0])
                self.assertIn("Access-Control-Allow-Origin: https://app.example", head)
                self.assertIn(EXPOSED, head)
                self.assertIn("Origin", next(line for line in head if line.startswith("Vary: ")))

    def test_answers_vary_by_origin_only_where_one_is_listed(self) -> None:
        """A cache that has the answer to one page does not give it to another."""
        for fields in ((), ("Origin: http://localhost",)):
            self.assertIn("Vary: Accept, Origin", self.head(get("/auth", *fields, method="POST")))
        self.site.admission = replace(OURS, cors_origins=frozenset())
        head = self.connect(get("/auth", "X: 1", method="POST"))
        self.assertIn("Vary: Accept", head)

    def test_every_page_can_read_every_answer_of_a_public_path(self) -> None:
        """Also what is not found, not served, not modified, refused, or percent-encoded."""
        kid = self.mint().kid
        unknown = f"/.well-known/{'A' * 43}.json"
        for request, status in (
            (get(JWKS), 200),
            (get(JWKS, method="HEAD"), 200),
            (get(JWKS, "If-None-Match: *"), 304),
            (get("/%2Ewell-known/jwks%2ejson"), 200),
            (get("http://localhost" + JWKS), 200),
            (get(f"/.well-known/{kid}.json"), 200),
            (get(unknown), 404),
            (get("/.well-known/nothing"), 404),
            (get("/.well-known/openid-configuration/x"), 404),
            (get(JWKS, "Origin: http://localhost", method="POST"), 405),
            (get(JWKS, "Sec-Fetch-Site: cross-site", method="POST"), 403),
            (get(JWKS).replace(b"localhost", b"evil.example"), 421),
            (get(JWKS, "Host: localhost"), 400),
        ):
            for fields in (b"", b"Origin: null\r\n", b"Origin: https://app.example\r\n"):
                if status in (403, 405) and fields:
                    continue  # decided by the origin that it has
                with self.subTest(request=request, fields=fields):
                    head = self.connect(request[:-2] + fields + b"\r\n")
                    self.assertIn(f" {status} ", head[0])
                    self.assertIn("Access-Control-Allow-Origin: *", head)
                    self.assertIn(EXPOSED, head)
                    self.assertEqual(str(head).count("Access-Control-"), 2)

    def test_every_page_may_ask_a_public_path_with_any_field(self) -> None:
        """The preflight is answered for a key that is not there too, or its 404 is not read."""
        for path in (JWKS, f"/.well-known/{'A' * 43}.json", "/.well-known/openid-configuration"):
            with self.subTest(path=path):
                asked = ("Origin: https://evil.example", "Access-Control-Request-Method: GET")
                head = self.head(get(path, *asked, method="OPTIONS"))
                self.assertEqual(head[0], "HTTP/1.1 204 No Content")
                for line in (
                    "Access-Control-Allow-Origin: *",
                    "Access-Control-Allow-Methods: GET, HEAD",
                    "Access-Control-Allow-Headers: Authorization, Content-Type, *",
                    "Access-Control-Max-Age: 7200",
                ):
                    self.assertIn(line, head)

    def test_no_page_can_read_anything_else(self) -> None:
        """Not the state of the server, nor the errors around it."""
        for path in ("/", "/healthz", "/readyz", "/dev", "/dev/keys", "/introspect", "/no", "*"):
            for method in ("GET", "POST", "OPTIONS"):
                for fields in (("Origin: https://app.example",), *self.FOREIGN):
                    head = self.connect(get(path, *fields, method=method))
                    self.assertNotIn("Access-Control", str(head), (path, method, fields))

    def connect(self, request: bytes) -> list[str]:
        """The head of the answer to a request on a connection of its own."""
        answer = Connection(self.site).send(request)
        return answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")


EXPOSED = "Access-Control-Expose-Headers: Allow, ETag, Retry-After, WWW-Authenticate"


def refuse(*_: Any) -> None:
    raise TooManyKeys("there are as many as may be", retry_after=1)


def post(path: str, media_type: str, body: bytes, *fields: str) -> bytes:
    """Return the octets of a request with a body."""
    lines = (f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *fields)
    return get(path, *lines, method="POST") + body


def ask(start: str, host: str, *fields: str) -> bytes:
    """A request by this name."""
    method, _, target = start.partition(" ")
    return get(target, *fields, method=method).replace(b"Host: localhost", f"Host: {host}".encode())
