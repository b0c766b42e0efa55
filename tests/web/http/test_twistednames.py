"""The private names of Twisted: all in one list, all there, and what happens where one is not."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from unittest import TestCase
from unittest.mock import patch

import jwt
from twisted.internet import tcp
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.web.http import HTTPChannel

from jwksd.web.http import twistednames
from jwksd.web.http.channel import Channel
from jwksd.web.http.fastpath import FastPathChannel
from jwksd.web.http.site import Site
from jwksd.web.http.transport import SmallReads, read_little
from jwksd.web.http.twistednames import FAST_PATH, NAMES, SMALL_READS, TwistedName
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.http import JWKS, Connection, get
from tests.support.keys import NOW
from tests.support.processes import CHECKOUT, environment

LISTED = {row.name for row in NAMES}
PACKAGE = CHECKOUT / "jwksd"
NOT_IMPORTABLE = ("migrations", "__main__")
"""Alembic's environment, which Alembic alone can run; and what runs when it is imported."""


PUBLIC = {"_replace", "_JWKSD_COMPLETE"}
"""Documented: of named tuples, and the variable of click's completion."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_names(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Each private name that is used on or in an object, and whether it is defined there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            on_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            yield node.attr, on_self and isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from ((name, True) for name in [node.name] if is_private(name))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield from ((name, True) for name in [node.id] if is_private(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value.isidentifier() else []  # for getattr, in __slots__
            yield from ((name, False) for name in names if is_private(name))


@cache
def of_twisted(twisted: type) -> set[str]:
    """The private names of a class of Twisted and of its instances."""
    tree = ast.parse(dedent(inspect.getsource(twisted)))
    return {name for name, defined in private_names(tree) if defined}


def modules() -> list[Path]:
    paths = PACKAGE.rglob("*.py")
    return [path for path in paths if not any(part in str(path) for part in NOT_IMPORTABLE)]


def classes(path: Path) -> Iterator[type]:
    """The classes that a module defines."""
    name = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
    for found in vars(import_module(name)).values():
        if inspect.isclass(found) and found.__module__ == name:
            yield found


class ListTests(TestCase):
    def test_the_installed_twisted_has_every_name(self) -> None:
        """A version of Twisted that lacks one is noticed here, not by a client."""
        channel = HTTPChannel()
        channel.site = channel.factory = Site(make_root(make_issuer(Clock())), Clock())
        channel.makeConnection(StringTransport())
        seen: set[str] = set()
        for octets in (b"POST / HTTP/1.1\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n"):
            channel.dataReceived(octets)
            for example in (channel, channel._transferDecoder):
                seen |= {row.name for row in NAMES if hasattr(example, row.name)}
        for row in NAMES:
            example = twistednames._EXAMPLES[row.owner]()
            self.assertTrue(row.name in seen or hasattr(example, row.name), row)

    def test_no_private_name_is_used_that_we_neither_define_nor_list(self) -> None:
        """Whatever begins with an underscore is ours, or is in the list."""
        trees = {path: ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
        found = {path: list(private_names(tree)) for path, tree in trees.items()}
        defined = {name for names in found.values() for name, is_here in names if is_here}
        for path, names in found.items():
            foreign = {name for name, is_here in names if not is_here} - defined
            self.assertEqual(foreign - LISTED - PUBLIC, set(), path)

    def test_no_class_of_ours_touches_what_is_private_to_its_base(self) -> None:
        """A name of ours that Twisted's base class has too would be overridden by accident."""
        seen = 0
        for path in modules():
            for ours in classes(path):
                bases = [base for base in ours.__mro__ if base.__module__.startswith("twisted.")]
                theirs = set().union(*map(of_twisted, bases))
                names = {
                    name for name, _ in private_names(ast.parse(dedent(inspect.getsource(ours))))
                }
                self.assertEqual(names & theirs - LISTED, set(), ours)
                seen += bool(names & theirs)
        self.assertGreater(seen, 2)

    def test_every_name_in_the_list_is_used(self) -> None:
        """A name that is needed no more leaves the list."""
        for row in NAMES:
            uses = [path for path in PACKAGE.rglob("*.py") if row.name in path.read_text("utf-8")]
            self.assertGreater(len(uses), 1, row)


class FallBackTests(TestCase):
    """A Twisted without a name that only the fast path needs is served as rightly, and slower."""

    def assert_right(self, answers: list[str]) -> None:
        """Two tokens, and twice the key set that verifies both."""
        bodies = []
        for answer in answers:
            self.assertTrue(answer.startswith("HTTP/1.1 200 OK\r\n"), answer)
            bodies.append(answer.partition("\r\n\r\n")[2])
        *tokens, one, two = bodies
        self.assertEqual(one, two)
        keys = jwt.PyJWKSet.from_dict(json.loads(one))
        for token in tokens:
            key = keys[jwt.get_unverified_header(token)["kid"]]
            jwt.decode(token, key, algorithms=["RS256"], options=NO_TIMES)

    def test_twisted_without_any_of_the_names_is_served_by_the_plain_channel(self) -> None:
        """Twisted's own source has other names for all: GET and POST work, one line is logged."""
        names = [row.name for row in NAMES if row.needed_by in (FAST_PATH, SMALL_READS)]
        command = [sys.executable, "-W", "ignore", "-m", "tests.web.http.renamed", *names]
        child = subprocess.run(
            command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
        )
        found = json.loads(child.stdout)
        self.assertEqual(found["channel"], "Channel")
        self.assert_right(found["answers"])
        (warning,) = found["warnings"]
        for row in NAMES:
            if row.needed_by == FAST_PATH:
                self.assertIn(f"{row.owner.__name__}.{row.name}", warning)

    def test_each_name_alone_is_missed(self) -> None:
        """One is enough for the site to do without the fast path, and to log which it is."""
        for row in NAMES:
            with self.subTest(name=row.name), patch.object(twistednames, "NAMES", without(row)):
                lines, site = self.make_site()
                is_plain = row.needed_by == FAST_PATH
                self.assertIs(site.protocol, Channel if is_plain else FastPathChannel)
                self.assertEqual(len(lines), is_plain)
                self.assertTrue(all(f"{row.name}_renamed" in line for line in lines))
                connection = Connection(site)
                requests = [get("/auth", method="POST")] * 2 + [get(JWKS)] * 2
                self.assert_right([connection.send(request).decode() for request in requests])

    def test_small_reads_are_done_without(self) -> None:
        """Where Twisted cannot be handed what was read, its own transport reads."""
        row = next(row for row in NAMES if row.needed_by == SMALL_READS)
        for names, transport in ((NAMES, SmallReads), (without(row), tcp.Server)):
            port = tcp.Port(0, None, reactor=Clock())
            with patch.object(twistednames, "NAMES", names):
                read_little(port)
            self.assertIs(port.transport, transport)

    def make_site(self) -> tuple[list[str], Site]:
        """A site, and the names that were logged when it was made."""
        lines: list[str] = []

        def observe(event: dict[str, object]) -> None:
            if "names" in event:
                lines.append(str(event["names"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        clock = Clock()
        clock.advance(NOW)
        return lines, Site(make_root(make_issuer(clock)), clock)


def without(missed: TwistedName) -> tuple[TwistedName, ...]:
    """The list as it would be for a Twisted that lacks one of the names."""
    return tuple(
        row._replace(name=f"{row.name}_renamed") if row is missed else row for row in NAMES
    )


NO_TIMES = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
"""The tokens are of the fake clock."""
