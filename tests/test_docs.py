"""The documents: commands are run, links lead somewhere, every option is there."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any
from unittest import TestCase
from urllib.request import urlopen

import jwt

from jwksd import __version__
from jwksd.config.options import OPTIONS
from jwksd.config.settings import resolve
from jwksd.errors import JwksdError
from tests.support.processes import CHECKOUT, Daemon, environment, free_port, running

DOCUMENTS = sorted(
    [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("*/README.md")]
)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


DEV_ROTATING = ("--dev", "--policy", "rotating")


def commands(document: Path) -> list[str]:
    """The shell blocks of a document, but of operations.md, which ``test_operations`` runs."""
    if document.name == "operations.md":
        return []
    return _BLOCK.findall(document.read_text("utf-8"))


def left_to_ci(block: str) -> bool:
    """What installs, or measures, is run by .ci/run as it is written."""
    return "pip install" in block or "bench/" in block


def run(block: str, daemon: Daemon) -> str:
    """Run a shell block, whose port 8080 is read as the daemon's; return what it prints."""
    script = block.replace("localhost:8080", f"127.0.0.1:{daemon.port}")
    script = script.replace("python ", f"{sys.executable} ").replace("curl ", "curl -sS --fail ")
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, ""), (result.stderr, result.stdout)
    return result.stdout


def verify(token: str, daemon: Daemon) -> None:
    """Verify a token as PyJWT does, which has the real time."""
    client = jwt.PyJWKClient(f"{daemon.url}/.well-known/jwks.json")
    key = client.get_signing_key_from_jwt(token)
    jwt.decode(token, key, algorithms=["RS256"], issuer=f"http://localhost:{daemon.port}")


def await_next_key(daemon: Daemon) -> None:
    """Wait until a rotating server has made the key that signs next."""
    while True:
        with urlopen(f"{daemon.url}/dev/keys", timeout=30) as answer:
            if any(key["state"] == "pending" for key in json.load(answer)["keys"]):
                return
        sleep(0.05)


def kid(token: str) -> str:
    """The kid of a token."""
    name: str = jwt.get_unverified_header(token)["kid"]
    return name


class CommandTests(TestCase):
    """A daemon runs; the documents' port 8080 is read as its port."""

    daemon: Daemon

    def setUp(self) -> None:
        folder = self.enterContext(TemporaryDirectory())
        self.daemon = self.enterContext(running(folder, "--dev"))

    def test_every_command_succeeds(self) -> None:
        """Each shell block of each document runs to its end, and no request in it fails."""
        count = 0
        for document in DOCUMENTS:
            for block in commands(document):
                if left_to_ci(block):
                    continue
                count += 1
                with self.subTest(document=document.name, block=block[:60]):
                    self.run_block(block)
        self.assertGreater(count, 5)

    def run_block(self, block: str) -> None:
        run(block, self.daemon)


class RotationTests(TestCase):
    def test_the_recipe_shows_a_rotation(self) -> None:
        """To the letter: two keys sign, one after the other, and both tokens are valid now."""
        text = (CHECKOUT / "docs" / "testing.md").read_text("utf-8")
        section = text.partition("## A rotation, from beginning to end\n")[2]
        block = _BLOCK.findall(section)[0]
        self.assertEqual(re.findall("action=([a-z]+)", block), ["rotate", "advance", "release"])
        with TemporaryDirectory() as folder, running(folder, *DEV_ROTATING) as daemon:
            await_next_key(daemon)
            first, second = re.findall(r"eyJ[\w-]*\.[\w-]*\.[\w-]*", run(block, daemon))
            self.assertNotEqual(kid(first), kid(second))
            for token in (first, second):
                verify(token, daemon)

    def test_without_its_last_step_tokens_are_not_yet_valid(self) -> None:
        """As the document warns."""
        advance = "curl -X POST 'http://localhost:8080/dev?action=advance&seconds=86400'\n"
        with TemporaryDirectory() as folder, running(folder, *DEV_ROTATING) as daemon:
            token = run(f"{advance}curl -X POST http://localhost:8080/auth", daemon)
            with self.assertRaises(jwt.ImmatureSignatureError):
                verify(token.rpartition("}")[2].strip(), daemon)


class ReadmeTests(TestCase):
    TEXT = (CHECKOUT / "README.md").read_text("utf-8")

    def test_the_lines_for_tests_work(self) -> None:
        """As they stand, on another port: a server listens, and the token has expired alone."""
        (block,) = re.findall(r"^```python\n(.*?)^```$", self.TEXT, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(block.split("\n\n")[1].splitlines()), 3)
        script = block.replace("8081", str(free_port()))
        script = script.replace('["jwksd", ', '[sys.executable, "-m", "jwksd", ')
        script = script.replace("stdout=PIPE", "stdout=PIPE, stderr=DEVNULL")
        names: dict[str, Any] = {"sys": sys, "DEVNULL": subprocess.DEVNULL}
        try:
            exec(script, names)  # it is our own README
            claims = jwt.decode(names["expired"], options={"verify_signature": False})
            issuer = claims["iss"]
            client = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")
            key = client.get_signing_key_from_jwt(names["expired"])
            with self.assertRaises(jwt.ExpiredSignatureError):
                jwt.decode(names["expired"], key, algorithms=["RS256"], issuer=issuer)
        finally:
            names["server"].terminate()
            names["server"].communicate()

    def test_it_is_a_first_screen(self) -> None:
        """Few lines lead to the two commands, to a token, and to everything else."""
        self.assertLess(self.TEXT.index("## Where to go on"), 2500)
        self.assertLess(len(self.TEXT.splitlines()), 65)


class DocumentTests(TestCase):
    def test_every_link_leads_to_a_file(self) -> None:
        """Relative links of every document exist."""
        for document in DOCUMENTS:
            for target in _LINK.findall(document.read_text("utf-8")):
                with self.subTest(document=document.name, target=target):
                    self.assertTrue((document.parent / target).exists())

    def test_every_configuration_is_one(self) -> None:
        """Each TOML block of each document is taken by the server as it stands."""
        blocks = [b for d in DOCUMENTS for b in _TOML.findall(d.read_text("utf-8"))]
        self.assertGreaterEqual(len(blocks), 1)
        for block in blocks:
            with self.subTest(block=block):
                resolve({}, {}, tomllib.loads(block))

    def test_the_table_has_every_option(self) -> None:
        """Each option, and no other, stands in it."""
        text = (CHECKOUT / "docs" / "options.md").read_text("utf-8")
        told = set(re.findall(r"^\| `--([a-z-]+)`", text, re.M))
        self.assertEqual(told, {option.name for option in OPTIONS} | {"config"})

    def test_the_reference_has_every_problem(self) -> None:
        """Each error that can be answered has its slug and status in the HTTP reference."""
        text = (CHECKOUT / "docs" / "http-api.md").read_text("utf-8")
        internal = {
            "overloaded",
            "private-half-destroyed",
            "start-up-refused",
            "oauth",
            "induced-fault",
            "envelope-unreadable",
        }
        for error in descendants(JwksdError):
            if error.slug not in internal:
                with self.subTest(slug=error.slug):
                    self.assertRegex(text, rf"\| {error.status} \|[^\n]*`{error.slug}`")

    def test_the_changelog_has_this_version(self) -> None:
        """What is released has an entry."""
        self.assertIn(f"## {__version__} ", (CHECKOUT / "CHANGELOG.md").read_text("utf-8"))


def descendants(kind: type[JwksdError]) -> set[type[JwksdError]]:
    """A class of the tree and all below it."""
    return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))
