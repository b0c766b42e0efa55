"""The documents: commands are run, links lead somewhere, every option is there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import TestCase

from jwksd import __version__
from jwksd.config.options import OPTIONS
from jwksd.config.settings import resolve
from jwksd.errors import JwksdError
from tests.support.processes import CHECKOUT, Daemon, environment, running

DOCUMENTS = sorted(
    [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("*/README.md")]
)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def commands(document: Path) -> list[str]:
    """The shell blocks of a document, but of operations.md, which ``test_operations`` runs."""
    if document.name == "operations.md":
        return []
    return _BLOCK.findall(document.read_text("utf-8"))


def left_to_ci(block: str) -> bool:
    """What installs, or measures, is run by .ci/run as it is written."""
    return "pip install" in block or "bench/" in block


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
        script = block.replace("localhost:8080", f"127.0.0.1:{self.daemon.port}")
        script = script.replace("python ", f"{sys.executable} ").replace(
            "curl ", "curl -sS --fail "
        )
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=CHECKOUT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)


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

    def test_the_readme_has_every_option(self) -> None:
        """Each option, and no other, stands in its table."""
        told = set(
            re.findall(r"^\| `--([a-z-]+)`", (CHECKOUT / "README.md").read_text("utf-8"), re.M)
        )
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
