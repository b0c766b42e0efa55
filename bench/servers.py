"""Everybody who is measured, each a process of its own on a loopback port, pinned to a core."""

import asyncio
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from common import process, running, wait_until_idle
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT
from load import mint
from start import JWKS, answers, free_port
from tools import Tools, output
from wrk import Shot

FORM = "application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}
CLIENT = {"client_id": "bench", "client_secret": "secret"}
REDIRECT = "https://client.example/cb"

AUTH = Shot("/auth", ("POST",))

NODE_PEERS = ("oauth2-mock-server", "oidc-provider")
PEERS = (*NODE_PEERS, "oidc-provider-mock")

HOP = {"connection", "keep-alive", "date", "server"}
"""Header fields of the connection and the program, in which servers may differ."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; the names of its header fields in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def keys(self) -> list[str]:
        """Of a JWKS, the key identifiers."""
        return [key["kid"] for key in json.loads(self.body)["keys"]]

    @property
    def comparable(self) -> dict[str, str]:
        """The fields that must be the same everywhere; of the ETag, only that it is there."""
        alike = {name: text for name, text in self.fields.items() if name not in HOP}
        return alike | {name: "" for name in ("etag",) if name in alike}


@dataclass(frozen=True)
class Server:
    """One that runs."""

    name: str
    port: int
    pids: tuple[int, ...]
    jwks: str = JWKS
    minting: Shot = AUTH
    member: str = ""
    """Of a token's answer, the JSON member that has the token; none when it is the body."""

    def ask(self, path: str, method: str = "GET", body: str | None = None, **fields: str) -> Answer:
        """One request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in fields.items()}
            )
            response = connection.getresponse()
            told = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, told, response.read())
        finally:
            connection.close()

    def fetch(self) -> Answer:
        """Its JWKS."""
        return self.ask(self.jwks)

    def token(self) -> str:
        """A token, by the request that is measured."""
        if self.minting.script != "load.lua":
            return self._token_of_code_flow()
        _, body, content_type = (*self.minting.arguments, "", "")[:3]
        return self._read(self.ask(self.minting.path, "POST", body, Content_Type=content_type))

    def _token_of_code_flow(self) -> str:
        query = {"response_type": "code", "scope": "openid", "redirect_uri": REDIRECT}
        path = f"/oauth2/authorize?{urlencode(query | {'client_id': 'bench'})}"
        redirect = self.ask(path, "POST", "sub=bench", Content_Type=FORM)
        code = parse_qs(urlsplit(redirect.fields["location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        body = urlencode(form | CLIENT)
        return self._read(self.ask("/oauth2/token", "POST", body, Content_Type=FORM))

    def _read(self, answer: Answer) -> str:
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answers {answer}")
        text = answer.body.decode("ascii")
        return str(json.loads(text)[self.member]) if self.member else text

    def verify(self, algorithm: str) -> None:
        """Check that a token of it has the algorithm, and verifies with its own JWKS."""
        token, answer = self.token(), self.fetch()
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answers {answer}")
        JWT(jwt=token, key=JWKSet.from_json(answer.body), algs=[algorithm], expected_type="JWS")


def pinned(*cores: int) -> list[str]:
    """The beginning of a command that is to run on these cores only."""
    return ["taskset", "-c", ",".join(map(str, cores))]


def options() -> str:
    """The help of ``jwksd serve``, which names the options that it has."""
    return output([sys.executable, "-m", "jwksd", "serve", "--help"])


@contextmanager
def jwksd(name: str, cores: Sequence[int], *arguments: str) -> Iterator[Server]:
    """A jwksd with a full reserve, without an access log where it has that option."""
    quiet = ["--no-access-log"] if "--no-access-log" in options() else []
    with running(*quiet, *arguments, prefix=pinned(*cores)) as daemon:
        daemon.wait_until_idle()
        yield Server(name, daemon.port, (daemon.process.pid,))


@contextmanager
def jwksd_with_keys(name: str, core: int, keys: int, *arguments: str) -> Iterator[Server]:
    """A jwksd with so many live keys, each of a token that it has signed; at first on all cores."""
    bounds = ["--max-keys", str(keys), "--lifetime", "86400"]
    with jwksd(name, sorted(os.sched_getaffinity(0)), *bounds, *arguments) as server:
        asyncio.run(mint(server.port, 32, keys))
        (pid,) = server.pids
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
        wait_until_idle(pid)
        if len(server.fetch().keys) != keys:
            raise RuntimeError(f"{name} does not publish {keys} keys")
        yield server


@contextmanager
def nginx(tools: Tools, core: int, folder: Path, answer: Answer) -> Iterator[Server]:
    """An nginx that serves an answer as a static file, and checks that it does."""
    folder.mkdir()
    port, file = free_port(), folder / "jwks.json"
    file.write_bytes(answer.body)
    passed = {"content-length", "content-type", "etag"}
    lines = [
        f'add_header {name} "{text}";'
        for name, text in answer.comparable.items()
        if name not in passed
    ]
    values = {"USER": getpass.getuser(), "FOLDER": str(folder), "PORT": str(port)}
    values |= {"FIELDS": "\n        ".join(lines), "FILE": str(file)}
    conf = (tools.folder / "nginx.conf").read_text(encoding="utf-8")
    for name, text in values.items():
        conf = conf.replace(name, text)
    (folder / "nginx.conf").write_text(conf, encoding="utf-8")
    folder.parent.chmod(0o755)
    command = [*tools.nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with _started("nginx", [*pinned(core), *command], port, JWKS) as server:
        same(answer, server.fetch(), "nginx")
        yield server


def same(ours: Answer, theirs: Answer, name: str) -> None:
    """Check that two answers have the same status, header fields and body."""
    if (ours.status, ours.comparable, ours.body) != (theirs.status, theirs.comparable, theirs.body):
        raise RuntimeError(f"{name} answers {theirs}\ninstead of {ours}")


def peer_command(tools: Tools, name: str, port: int) -> list[str]:
    """How to start a peer, with one RSA-2048 key; the Node peers' is made before."""
    scripts = {
        "oauth2-mock-server": [*tools.node, tools.folder / "oauth2_mock_server.mjs", tools.key],
        "oidc-provider": [*tools.node, tools.folder / "oidc_provider.mjs", tools.key],
        "oidc-provider-mock": [*tools.python, tools.folder / "provider_mock.py"],
    }
    return [*map(str, scripts[name]), str(port)]


@contextmanager
def peer(tools: Tools, core: int, name: str) -> Iterator[Server]:
    """A running peer, whose tokens verify."""
    port = free_port()
    command = [*pinned(core), *peer_command(tools, name, port)]
    with _started(name, command, port, "/jwks") as started:
        server = Server(name, port, started.pids, "/jwks", *_mintings()[name])
        server.verify("RS256")
        wait_until_idle(server.pids[0])
        yield server


def _mintings() -> dict[str, tuple[Shot, str]]:
    """By peer, the shortest way to a signed token, and the member of its answer that has it."""
    return {
        "oauth2-mock-server": (Shot("/token", ("POST", urlencode(GRANT), FORM)), "access_token"),
        "oidc-provider": (
            Shot("/token", ("POST", urlencode(GRANT | CLIENT), FORM)),
            "access_token",
        ),
        "oidc-provider-mock": (Shot("/", (), "code_flow.lua"), "id_token"),
    }


@contextmanager
def _started(name: str, command: list[str], port: int, path: str) -> Iterator[Server]:
    with process(command) as child:
        deadline = time.monotonic() + 60
        while not answers(port, path):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer; exit code {child.poll()}")
            time.sleep(0.02)
        yield Server(name, port, (child.pid, *_children(child.pid)), path)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]
