"""The composition: what the options make, where it listens, and what start-up refuses."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import treq
from jwcrypto.jwk import JWK
from twisted.application.service import IServiceMaker
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.plugin import getPlugins
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from jwksd import __version__
from jwksd.cli.serve import greeting
from jwksd.errors import StartUpRefused
from jwksd.issuing.firstkeys import Readers
from jwksd.issuing.mintrequest import MintRequest
from jwksd.jose.envelopes import write_kek
from jwksd.service import Daemon
from jwksd.tap import Options, makeService
from jwksd.web.endpoints.listener import base_url, is_loopback


def options(*arguments: str) -> Options:
    """Options as if from the command line, with an empty environment."""
    parsed = Options()
    with patch.dict("os.environ", clear=True):
        parsed.parseOptions(arguments)
    return parsed


class OptionsTests(SynchronousTestCase):
    def test_flags_and_parameters_arrive_in_the_settings(self) -> None:
        """Long, short, flag and repeated ones."""
        settings = options("-p", "0", "--lifetime", "2m", "--dev").settings
        self.assertEqual((settings.server.port, settings.server.dev), (0, True))
        self.assertEqual(settings.issuer.lifetime, 120)
        listen = options("--listen", "unix:a", "--listen", "unix:b").settings.server.listen
        self.assertEqual(listen, ("unix:a", "unix:b"))
        hosts = options(
            "--allowed-host", "a", "--allowed-host", "b.example."
        ).settings.server.allowed_host
        self.assertEqual(hosts, ("a", "b.example."))
        origins = ("http://[::1]:8080", "moz-extension://x")
        arguments = [part for origin in origins for part in ("--cors-origin", origin)]
        self.assertEqual(options(*arguments).settings.server.cors_origin, origins)

    def test_where_keys_are_kept_arrives_too(self) -> None:
        """The store, every KEK file in order, and how long it may be away."""
        settings = options(
            *("--policy", "rotating", "--store", "sqlite:///keys.db", "--outage", "2h"),
            *("--kek-file", "new.txt", "--kek-file", "old.txt"),
        ).settings.issuer
        self.assertEqual(settings.store, "sqlite:///keys.db")
        self.assertEqual((settings.kek_file, settings.outage), (("new.txt", "old.txt"), 7200))

    def test_a_file_is_read(self) -> None:
        """By flag or by environment."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "jwksd.toml"
            file.write_text("lifetime = '2h'\n")
            self.assertEqual(options("--config", str(file)).settings.issuer.lifetime, 7200)
            with patch.dict("os.environ", {"JWKSD_CONFIG": str(file)}, clear=True):
                parsed = Options()
                parsed.parseOptions([])
            self.assertEqual(parsed.settings.issuer.lifetime, 7200)

    def test_what_cannot_be_read_is_refused_in_one_line(self) -> None:
        """Unknown options, arguments and unreadable files end the start."""
        with TemporaryDirectory() as folder:
            broken = Path(folder) / "broken.toml"
            broken.write_text("port =")
            for arguments, said in (
                (["--prot", "1"], "option --prot not recognized"),
                (["more"], "Wrong number of arguments"),
                (["--config", f"{folder}/none"], "cannot read"),
                (["--config", str(broken)], "is not TOML"),
            ):
                with self.subTest(said=said), self.assertRaises(StartUpRefused) as caught:
                    options(*arguments)
                self.assertIn(said, str(caught.exception))
                self.assertNotIn("\n", str(caught.exception.code))

    def test_the_version_is_ours(self) -> None:
        """--version prints jwksd's, not Twisted's, and exits with 0."""
        with patch("sys.stdout", new=StringIO()) as out:
            with self.assertRaises(SystemExit) as caught:
                options("--version")
            self.assertEqual((out.getvalue(), caught.exception.code), (f"jwksd {__version__}\n", 0))

    def test_the_help_has_the_defaults(self) -> None:
        """Every option stands in the help."""
        text = " ".join(str(Options()).split())
        for part in (
            "--max-keys=",
            "(default: 10000)",
            "--dev",
            "--listen=",
            "--kek-file=",
            "--allowed-host=",
        ):
            self.assertIn(part, text)


class PluginTests(SynchronousTestCase):
    def test_twistd_finds_the_command(self) -> None:
        """The plugin is found, and names the options and the maker of the service."""
        from twisted import plugins

        (maker,) = (
            plugin for plugin in getPlugins(IServiceMaker, plugins) if plugin.tapname == "jwksd"
        )
        self.assertIs(maker.options, Options)
        self.assertIs(namedAny(maker.module).makeService, makeService)


class AddressTests(SynchronousTestCase):
    def test_only_loopback_is_local(self) -> None:
        """127.0.0.0/8, ::1 and the name localhost; nothing else, wildcards least of all."""
        for host, local in (
            ("127.0.0.1", True),
            ("127.9.9.9", True),
            ("::1", True),
            ("localhost", True),
            ("0.0.0.0", False),
            ("::", False),
            ("10.0.0.1", False),
            ("fe80::1%eth0", False),
            ("example.com", False),
            ("", False),
        ):
            with self.subTest(host=host):
                self.assertIs(is_loopback(host), local)

    def test_an_address_has_a_url_where_it_has_a_port(self) -> None:
        """IPv6 in brackets; a UNIX socket has none."""
        self.assertEqual(base_url(IPv4Address("TCP", "127.0.0.1", 80)), "http://127.0.0.1:80")
        self.assertEqual(base_url(IPv6Address("TCP", "::1", 80)), "http://[::1]:80")
        self.assertIsNone(base_url(UNIXAddress("/tmp/s")))


@implementer(IAgentEndpointFactory)
class Endpoints:
    """The one endpoint, whatever is asked for."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint


class DaemonTests(TestCase):
    """The whole service in this process, on a real port."""

    def start(self, *arguments: str) -> Daemon:
        service = makeService(options("--port", "0", "--reserve", "0", *arguments))
        service.privilegedStartService()
        service.startService()
        self.addCleanup(lambda: service.running and service.stopService())
        return service

    def client(self) -> treq.client.HTTPClient:
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        return treq.client.HTTPClient(Agent(reactor, pool=pool))

    async def test_it_signs_and_publishes(self) -> None:
        """A token over TCP, and its key; the issuer's default name has the real port."""
        service = self.start()
        (url,) = (base_url(address) for address in service.listener.addresses)
        client = self.client()
        answer = await client.post(f"{url}/auth", headers={"Accept": "application/json"})
        kid = (await answer.json())["kid"]
        document = await client.get(f"{url}/.well-known/{kid}.json")
        self.assertEqual([key["kid"] for key in (await document.json())["keys"]], [kid])
        port = service.listener.addresses[0].port
        self.assertEqual(service.issuer.name, f"http://localhost:{port}")
        self.assertIn(f"curl -X POST {url}/auth", greeting(service))

    async def test_after_the_stop_nobody_listens(self) -> None:
        """The port is closed, and nothing of the service is left in the reactor."""
        service = self.start()
        port = service.listener.addresses[0].port
        await service.stopService()
        with self.assertRaises(ConnectError):
            await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(
                Factory.forProtocol(Protocol)
            )

    async def test_a_stop_does_not_wait_for_readers_of_keys(self) -> None:
        """Who is held until there are keys is told at once, with 503, that there will be none."""
        service = self.start("--policy", "rotating", "--alg", "ES256")
        (url,) = (base_url(address) for address in service.listener.addresses)
        client = self.client()
        await client.post(f"{url}/auth")
        readers = service.issuer.policy.readers
        assert isinstance(readers, Readers)
        readers.follow(["ES256"], empty=True, revoked=False)
        asked = client.get(f"{url}/.well-known/jwks.json")
        while not len(readers):
            await deferLater(reactor, 0.01)
        await service.stopService()
        answer = await asked
        self.assertEqual(answer.code, 503)
        self.assertEqual((await answer.json())["type"], "urn:jwksd:problem:stopping")

    async def test_services_may_start_without_privileges(self) -> None:
        """Whoever embeds the service may call startService alone."""
        service = makeService(options("--port", "0"))
        service.startService()
        self.assertEqual(len(service.listener.addresses), 1)
        await service.stopService()

    async def test_ipv6_and_unix_sockets(self) -> None:
        """Loopback of either family, and sockets in the file system, are local."""
        with TemporaryDirectory() as folder:
            arguments = ["--listen", f"unix:{folder}/s", "--issuer", "https://issuer.example"]
            service = makeService(options(*arguments))
            service.startService()
            self.assertEqual(service.issuer.name, "https://issuer.example")
            self.assertIn("is ready", greeting(service))
            await service.stopService()
        service = makeService(options("--interface", "::1", "--port", "0"))
        service.startService()
        self.assertIn("[::1]", greeting(service))
        await service.stopService()

    async def test_what_cannot_listen_is_refused(self) -> None:
        """A busy port, an address of nobody, an open one, and no port to name the issuer by."""
        busy = str(self.start().listener.addresses[0].port)
        with TemporaryDirectory() as folder:
            for arguments, said in (
                (
                    ["--port", busy],
                    f"cannot listen on 127.0.0.1 port {busy}: Address already in use",
                ),
                (["--interface", "192.0.2.1"], "cannot listen on 192.0.2.1"),
                (["--interface", "0.0.0.0", "--port", "0"], "--allow-remote-minting"),
                (["--listen", "tcp:0"], "--allow-remote-minting"),
                (
                    ["--interface", "0.0.0.0", "--port", "0", "--allow-remote-minting", "--dev"],
                    "--allow-remote-dev",
                ),
                (["--listen", f"unix:{folder}/s"], "give --issuer"),
                (["--listen", "nonsense:1"], "no endpoint description"),
            ):
                with self.subTest(arguments=arguments):
                    self.assertIn(said, await self.refusal(*arguments))

    async def refusal(self, *arguments: str) -> str:
        """Why a start with these arguments is refused."""
        with self.assertRaises(StartUpRefused) as caught:
            service = makeService(options(*arguments))
            try:
                service.privilegedStartService()
            finally:
                await service.listener.stopService()
        return str(caught.exception)

    async def test_keys_in_a_store_outlive_the_server(self) -> None:
        """Started again with the same file and KEK it signs with the same key; else not at all."""
        with TemporaryDirectory() as folder:
            kek = Path(folder) / "kek.txt"
            kek.write_text(write_kek(JWK.generate(kty="oct", size=256)))
            kek.chmod(0o600)
            store = [
                *("--port", "0", "--policy", "rotating", "--alg", "ES256"),
                *("--store", f"sqlite:///{folder}/keys.db"),
            ]
            kids = []
            for _ in range(2):
                service = self.start(*store, "--kek-file", str(kek))
                kids.append((await service.issuer.mint(MintRequest())).kid)
                await service.stopService()
            self.assertEqual(kids[0], kids[1])
            self.assertIn("give it by --kek-file", await self.refusal(*store))
            kek.write_text(write_kek(JWK.generate(kty="oct", size=256)))
            said = await self.refusal(*store, "--kek-file", str(kek))
            self.assertRegex(said, "cannot be decrypted: .* which was not given")
            per_token = ["--port", "0", "--store", f"sqlite:///{folder}/keys.db"]
            self.assertIn("start with --policy rotating", await self.refusal(*per_token))

    async def statuses(self, arguments: Sequence[str], hosts: Sequence[str]) -> list[int]:
        """What a server that is started so answers to these hosts."""
        service = self.start(*arguments)
        client = self.client()
        url = f"http://127.0.0.1:{service.listener.addresses[0].port}/healthz"
        answers = [(await client.get(url, headers={"Host": host})).code for host in hosts]
        await service.stopService()
        return answers

    async def test_a_server_is_asked_by_its_names(self) -> None:
        """On loopback, with --dev, or once names are given; the issuer's host is one of them."""
        remote = ("--interface", "0.0.0.0", "--allow-remote-minting")
        issuer = ("--issuer", "https://u@Issuer.Example:8443/x")
        given = ("--allowed-host", "more.example", "--allowed-host", "Last.Example")
        hosts = ("localhost", "127.0.0.1:1", "issuer.example", "more.example", "last.example", "x")
        for arguments, expected in (
            ((), [200, 200, 421, 421, 421, 421]),
            (issuer, [200, 200, 200, 421, 421, 421]),
            ((*issuer, *given), [200, 200, 200, 200, 200, 421]),
            (remote, [200] * 6),
            ((*remote, "--dev", "--allow-remote-dev"), [200, 200, 421, 421, 421, 421]),
            ((*remote, *given), [200, 200, 421, 200, 200, 421]),
            (("--allow-remote-minting",), [200, 200, 421, 421, 421, 421]),
        ):
            with self.subTest(arguments=arguments):
                self.assertEqual(await self.statuses(arguments, hosts), expected)

    async def test_pages_of_other_sites_are_kept_out_everywhere(self) -> None:
        """On every bind; the issuer's pages and those of listed origins are let in."""
        remote = ("--interface", "0.0.0.0", "--allow-remote-minting")
        issuer = ("--issuer", "https://Issuer.example:443/x")
        listed = ("--cors-origin", "https://App.example:443", "--cors-origin", "http://b.example")
        pages = ("https://issuer.example", "https://app.example", "http://b.example", "null")
        for arguments, expected in (
            (issuer, [200, 403, 403, 403]),
            ((*issuer, *remote), [200, 403, 403, 403]),
            ((*issuer, *listed), [200, 200, 200, 403]),
            (remote, [403, 403, 403, 403]),
        ):
            with self.subTest(arguments=arguments):
                service = self.start(*arguments, "--alg", "ES256")
                client = self.client()
                url = f"http://127.0.0.1:{service.listener.addresses[0].port}/auth"
                answers = [await client.post(url, headers={"Origin": page}) for page in pages]
                self.assertEqual([answer.code for answer in answers], expected)
                await service.stopService()

    async def test_a_unix_socket_is_asked_by_any_name(self) -> None:
        """What a proxy on this machine passes on as Host is the proxy's affair."""
        with TemporaryDirectory() as folder:
            issuer = "https://issuer.example"
            service = makeService(options("--listen", f"unix:{folder}/s", "--issuer", issuer))
            service.startService()
            endpoint = UNIXClientEndpoint(reactor, f"{folder}/s")
            agent = Agent.usingEndpointFactory(reactor, Endpoints(endpoint))
            answer = await treq.client.HTTPClient(agent).get("http://any.example/healthz")
            self.assertEqual((answer.code, await answer.text()), (200, '{"status":"ok"}'))
            await service.stopService()

    async def test_a_store_that_refuses_lets_the_ports_go(self) -> None:
        """The port was bound before the store was opened; another server can have it at once."""
        with TemporaryDirectory() as folder:
            (Path(folder) / "keys.db").write_text("no database" * 99)
            (Path(folder) / "keys.db").chmod(0o600)
            service = makeService(
                options("--port", "0", "--store", f"sqlite:///{folder}/keys.db"), reactor
            )
            ports = []
            bind = service.listener.privilegedStartService

            def remember() -> None:
                bind()
                ports.extend(address.port for address in service.listener.addresses)

            with patch.object(service.listener, "privilegedStartService", remember):
                refused = self.assertRaises(StartUpRefused, service.privilegedStartService)
            self.assertIn("--store cannot be used", str(refused))
            self.assertEqual(service.listener.addresses, [])
            await service.listener.stopService()
            again = makeService(options("--port", str(ports[0])))
            again.startService()
            await again.stopService()

    async def test_nobody_is_answered_before_the_issuer_is_there(self) -> None:
        """Whoever connects while the store is being opened waits, and is then answered."""
        service = makeService(options("--port", "0", "--reserve", "0"))
        answers = []
        build = service._build

        def slowly(addresses: Any) -> Any:
            # The kernel takes the connection here; the server does in the reactor's next turn.
            answers.append(self.client().get(f"{base_url(addresses[0])}/.well-known/jwks.json"))
            return build(addresses)

        service._build = slowly
        service.startService()
        answer = await answers[0]
        self.assertEqual((answer.code, await answer.json()), (200, {"keys": []}))
        await service.stopService()

    async def test_a_program_that_embeds_it_gives_it_a_clock(self) -> None:
        """The times of tokens, and what they verify with, are those of that clock."""
        clock = Clock()
        clock.advance(1_000_000)
        service = makeService(options("--port", "0", "--alg", "ES256"), reactor, clock)
        service.startService()
        token = await service.issuer.mint(MintRequest())
        self.assertEqual((token.iat, token.exp), (1_000_000, 1_003_600))
        clock.advance(3600)
        self.assertEqual(len(service.issuer.policy.keys), 0)
        await service.stopService()

    def test_an_issuer_without_a_name_is_nobodys(self) -> None:
        """Before the start, when no port is known, nothing can be signed in the wrong name."""
        service = makeService(options("--port", "0"))
        self.assertRaises(RuntimeError, lambda: service.issuer)

    async def test_other_machines_are_let_in_on_demand(self) -> None:
        """With the alarming option it listens on all interfaces."""
        service = self.start("--interface", "0.0.0.0", "--allow-remote-minting")
        self.assertEqual(service.listener.addresses[0].host, "0.0.0.0")
        await service.stopService()
