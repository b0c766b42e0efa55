"""Verifiers that start at the same moment as a rotating server: each takes its first six tokens.

    python -m tests.proofs.interop.start --tools DIR

Each fetches the key set as soon as the port is open, which is before there is a key, and has its
defaults, by which it does not soon fetch again. The server makes RSA keys of 2,048 bits, and then
of 4,096, which takes longer. What is missing is installed first, into DIR.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from urllib.request import Request, urlopen

from tests.proofs.interop import oauth_tools
from tests.support.processes import environment, free_port, running

SOURCES = Path(__file__).resolve().parent / "start"
AUDIENCE = "https://api.example"
ALG = "RS256"
TOKENS = 6
BITS = (2048, 4096)

PYTHON_PACKAGES = ("guardpost[jwt]", "fastapi-jwks", "pyjwt[crypto]")
"""In an environment of their own: they want other versions than jwksd."""

DEBIAN_PACKAGES = (
    *("golang-github-coreos-go-oidc-dev", "golang-gopkg-square-go-jose.v2-dev"),
    *("golang-github-pquerna-cachecontrol-dev", "golang-golang-x-oauth2-dev"),
    *("golang-golang-x-net-dev", "golang-golang-x-crypto-dev"),
)
"""go-oidc and what it imports. With Debian's Go they are unpacked, and not installed."""

PYTHON = "python/bin/python"

VERIFIERS = {
    "PyJWT": [PYTHON, "-W", "ignore", "verifiers.py", "pyjwt"],
    "ten lines that fetch once": [PYTHON, "-W", "ignore", "verifiers.py", "once"],
    "guardpost": [PYTHON, "-W", "ignore", "verifiers.py", "guardpost"],
    "fastapi-jwks": [PYTHON, "-W", "ignore", "verifiers.py", "fastapi-jwks"],
    "npm jose": ["node", "start.mjs", "jose"],
    "express-oauth2-jwt-bearer": ["node", "start.mjs", "express"],
    "@hapi/jwt": ["node", "start.mjs", "hapi"],
    "go-oidc": ["./start-go"],
}
"""How each is started; issuer, audience and algorithm follow."""


def install(tools: Path) -> None:
    """Put what is missing into the folder."""
    tools.mkdir(parents=True, exist_ok=True)
    oauth_tools.install_npm(SOURCES, tools)
    if not (tools / "python").is_dir():
        oauth_tools.quietly(sys.executable, "-m", "venv", str(tools / "python"))
        oauth_tools.quietly(str(tools / PYTHON), "-m", "pip", "install", *PYTHON_PACKAGES)
    if not (tools / "start-go").is_file():
        _build_go(tools)


def _build_go(tools: Path) -> None:
    root = tools / "go"
    release = _debian_go()
    toolchain = (f"golang-{release}-go", f"golang-{release}-src")
    with TemporaryDirectory(dir=tools) as folder:
        oauth_tools.quietly("apt-get", "download", *toolchain, *DEBIAN_PACKAGES, cwd=Path(folder))
        for package in Path(folder).glob("*.deb"):
            oauth_tools.quietly("dpkg-deb", "--extract", str(package), str(root))
    go = {
        "GOROOT": str(root / "usr" / "lib" / f"go-{release}"),
        "GOPATH": str(root / "usr" / "share" / "gocode"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
        "GOCACHE": str(tools / "go-cache"),
    }
    settings = [f"{name}={value}" for name, value in go.items()]
    program = f"{go['GOROOT']}/bin/go"
    oauth_tools.quietly("env", *settings, program, "build", "-o", "start-go", "start.go", cwd=tools)


def _debian_go() -> str:
    """Return the release of Go that Debian's golang-go is, such as 1.19."""
    ask = ["apt-cache", "depends", "golang-go"]
    told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    found = re.search(r"golang-([0-9.]+)-go", told)
    if found is None:
        raise SystemExit("there is no golang-go: run apt-get update first")
    return found[1]


@dataclass
class Verifier:
    """A verifier of its own process."""

    name: str
    process: "subprocess.Popen[str]"

    def read(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def refusal(self, token: str) -> str:
        """Return why it refuses a token; empty when it accepts it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{token}\n")
        self.process.stdin.flush()
        why: str = json.loads(self.read() or '"it has ended"')
        return why


@contextmanager
def verifiers(tools: Path, issuer: str) -> Iterator[list[Verifier]]:
    """All of them, loaded; each waits for the issuer's port."""
    with ExitStack() as stack:
        started = [
            Verifier(name, _start(stack, [*command, issuer, AUDIENCE, ALG], tools))
            for name, command in VERIFIERS.items()
        ]
        for verifier in started:
            if verifier.read() != "ready":
                raise SystemExit(f"{verifier.name} does not start")
        yield started


def _start(stack: ExitStack, command: Sequence[str], tools: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        command,
        cwd=tools,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(oauth_tools.stop, process)
    return process


def mint(server: str) -> str:
    """A token for the audience."""
    wish = json.dumps({"claims": {"aud": AUDIENCE, "sub": "user"}}).encode()
    request = Request(f"{server}/auth", wish, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        token: str = answer.read().decode("ascii")
    return token


def failures(started: Sequence[Verifier], server: str) -> Iterator[str]:
    """What is refused, though it must not be."""
    tokens = [mint(server) for _ in range(TOKENS)]
    for verifier in started:
        fetched = json.loads(verifier.read() or '"it has ended"')
        if fetched:
            yield f"{verifier.name} could not fetch the keys: {fetched}"
        for number, token in enumerate(tokens, 1):
            why = verifier.refusal(token)
            if why:
                yield f"{verifier.name} refuses token {number}: {why}"


def drive(tools: Path, bits: int) -> bool:
    """Start a server beside all verifiers, and report; return whether all was well."""
    port = free_port()
    issuer = f"http://localhost:{port}"
    options = ["--policy", "rotating", "--alg", ALG, "--rsa-bits", str(bits), "--port", str(port)]
    with TemporaryDirectory() as folder, verifiers(tools, issuer) as started:
        began = monotonic()
        with running(folder, *options, "--issuer", issuer) as daemon:
            found = list(failures(started, daemon.url))
    print(
        f"RSA {bits}: {len(started)} verifiers, {TOKENS} tokens each, {len(found)} failures,"
        f" {monotonic() - began:.1f} s",
        *(f"FAILED: {what}" for what in found),
        sep="\n",
        flush=True,
    )
    return not found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tools", type=Path, required=True, help="where the packages go")
    tools = parser.parse_args().tools.resolve()
    install(tools)
    passed = [drive(tools, bits) for bits in BITS]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
