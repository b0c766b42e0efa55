"""Which requests are let in: the judgement as a table, and on connections of all kinds."""

from dataclasses import replace
from typing import Any
from unittest import TestCase

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from jwksd.errors import WrongHost
from jwksd.web import admission
from jwksd.web.admission import Admission, judge, names
from tests.test_lane import JWKS, Client, LaneTestCase, get

OURS = Admission(hosts=names([b"issuer.example:8080", b"Jwksd", b"10.0.0.1", b"a b"]))
"""What a server lets in that has two more names."""


class HostTests(TestCase):
    def is_let_in(self, *hosts: bytes, policy: Admission = OURS) -> bool:
        error = judge(policy, hosts=hosts)
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
        for policy in (Admission(), Admission(hosts=names([b"", b"[::1", b"*"]))):
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


class ConnectionTests(LaneTestCase):
    """The judgement comes before every resource, and the lane keeps to it."""

    policy = "per-token"

    def connect(self, address: IAddress | None = None) -> Any:
        return Client(self.site, address)

    def status(self, client: Client, request: bytes) -> int:
        return int(client.send(request).split(b" ")[1])

    def test_a_wrong_host_is_told_as_a_problem(self) -> None:
        """421 with the option that helps; the connection goes on."""
        client = self.connect()
        answer = client.send(ask("POST /auth", "evil.example:80"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n"), answer)
        self.assertIn(b"Content-Type: application/problem+json\r\n", answer)
        self.assertEqual(answer.count(b"\r\nDate: "), 1)
        self.assertIn(b'"urn:jwksd:problem:wrong-host"', answer)
        self.assertIn(b"evil.example", answer)
        self.assertIn(b"--allowed-host", answer)
        self.assertEqual(self.issuer.live_keys, 0)
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
                self.assertEqual(self.status(self.client, ask(start, "evil.example")), 421)
            self.assertEqual(len(self.site.lane.entries), 1)
            self.site.lane.forget(ask(start, "localhost"))

    def test_a_sibling_of_an_allowed_request_is_refused_by_its_host(self) -> None:
        """One key's document was answered; another's is asked by a wrong name."""
        for _ in range(3):
            path = f"GET /.well-known/{self.mint().kid}.json"
            self.assertEqual(self.status(self.client, ask(path, "localhost")), 200)
            self.assertEqual(self.status(self.client, ask(path, "evil.example")), 421)
        self.assertEqual(len(self.site.lane.templates), 1)

    def test_on_a_unix_socket_no_host_is_looked_at(self) -> None:
        """And what was remembered there is not answered to others."""
        request = ask(f"GET {JWKS}", "evil.example")
        local = self.connect(UNIXAddress(b"/run/jwksd"))
        for _ in range(3):
            self.assertEqual(self.status(local, request), 200)
        self.assertIn(request, self.site.unix_lane.entries)
        for address in (None, IPv4Address("TCP", "127.0.0.1", 40_000)):
            self.assertEqual(self.status(self.connect(address), request), 421)


def ask(start: str, host: str, *fields: str) -> bytes:
    """A request by this name."""
    method, _, target = start.partition(" ")
    return get(target, *fields, method=method).replace(b"Host: localhost", f"Host: {host}".encode())
