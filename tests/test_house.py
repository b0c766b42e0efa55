"""The house rules: who may import whom, what is pure, and how large anything may get."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from unittest import TestCase

from tests import house
from tests.support.processes import CHECKOUT

_GROUND = {"errors", "jose", "lifecycle", "interfaces", "waiters"}

MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "jose": {"errors"},
    "lifecycle": {"errors", "jose"},
    "interfaces": {"errors", "jose", "lifecycle"},
    "waiters": {"errors"},
    "issuing": _GROUND,
    "keysources": _GROUND,
    "stores": _GROUND | {"stores.migrations"},
    "stores.migrations": {"stores"},
    "dev": {"errors", "jose"},
    "web.http": {"errors", "jose"},
    "web": _GROUND | {"issuing", "dev", "web.http"},
    "web.endpoints": {"errors", "config", "web.http"},
    "config": {"errors", "jose", "lifecycle"},
}
"""By room, the rooms that it may import from. The edges, which are not here, may see everything."""

EDGES = {"service", "signals", "logs", "tap", "cli", "__main__"}
"""Nobody but they import one another."""

PURE = ("jose", "lifecycle")
"""No Twisted, no clock, no randomness of their own, no I/O: these come in as arguments."""

IMPURE = {"twisted", "treq", "time", "secrets", "random", "os", "socket", "sqlite3", "uuid"}

KNOW_DEV = {"web.mintparameters", "web.dev", "web.faults", "web.root"}
"""The modules of ``web`` that may import ``dev``."""

READ_THEIR_OWN_JSON = {
    "issuing.selfcheck",
    "jose.keys",
    "stores.database",
    "stores.schema",
    "web.faults",
}
"""Modules that read again what jwksd has written: keys in a store, key sets."""

TABLES = {"dev.defects"}
"""Files of rows, which may be as long as there are rows."""

MANY_METHODS = {"stores.database:Database"}
"""A method a change that a store can make: cut in two, each half would need the other."""


class ImportTests(TestCase):
    def test_every_room_has_a_rule(self) -> None:
        """A new package is given its place in the house before it can land."""
        self.assertEqual(set(house.arrows()) - EDGES, set(MAY_IMPORT))

    def test_nobody_imports_what_the_rules_do_not_allow(self) -> None:
        """What a room may import from stands in ``MAY_IMPORT``."""
        for name, path in house.modules().items():
            own = house.room(name)
            if own not in EDGES:
                others = house.rooms_imported(path) - {own, ""}
                self.assertEqual(others - MAY_IMPORT[own], set(), name)

    def test_the_rules_allow_no_circle(self) -> None:
        """A room that is changed never has to be changed for those that import it."""
        left = {room: set(may) for room, may in MAY_IMPORT.items()}
        left["stores"].discard("stores.migrations")  # loaded by Alembic, not imported
        while left:
            lowest = {room for room, may in left.items() if not may & set(left)}
            self.assertNotEqual(lowest, set(), left)
            left = {room: may for room, may in left.items() if room not in lowest}

    def test_only_what_dev_opens_knows_dev(self) -> None:
        """A resource that is there without ``--dev`` can not reach what is only for it."""
        for name, path in house.modules().items():
            if house.room(name) == "web" and name not in KNOW_DEV:
                self.assertNotIn("dev", house.rooms_imported(path), name)

    def test_the_pure_rooms_are_pure(self) -> None:
        """What decides about keys and tokens is given the time and everything random."""
        for name, path in house.modules().items():
            if house.room(name) in PURE:
                outside = {imported.partition(".")[0] for imported in house.imports(path)}
                self.assertEqual(outside & IMPURE, set(), name)

    def test_the_reactor_is_imported_in_functions_of_the_edges_only(self) -> None:
        """Importing jwksd installs no reactor, so a program that embeds it can choose one."""
        for name, path in house.modules().items():
            reactor = "twisted.internet.reactor"
            self.assertNotIn(reactor, house.imports(path, nested=False), name)
            if house.room(name) not in EDGES:
                self.assertNotIn(reactor, house.imports(path), name)

    def test_the_plugin_file_imports_nothing_of_jwksd(self) -> None:
        """twistd loads every plugin file to list its commands, so ours costs next to nothing."""
        plugin = CHECKOUT / "twisted" / "plugins" / "jwksd_plugin.py"
        ours = {name for name in house.imports(plugin) if name.startswith("jwksd")}
        self.assertEqual(ours, set())

    def test_the_tree_never_shadows_twisted(self) -> None:
        """An __init__.py below twisted/ would hide Twisted itself, or the plugin."""
        self.assertEqual(list((CHECKOUT / "twisted").rglob("__init__.py")), [])


class JsonTests(TestCase):
    def calls(self, *names: str) -> Iterator[tuple[str, ast.Call]]:
        """Every call of these functions, by the name of its module."""
        for module, path in house.modules().items():
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                    yield module, node

    def test_json_is_written_with_finite_numbers_only(self) -> None:
        """NaN and Infinity, which Python writes unless told otherwise, are no JSON (RFC 8259)."""
        found = 0
        for module, call in self.calls(
            "json.dumps", "json.dump", "JSONEncoder", "json.JSONEncoder"
        ):
            finite = {word.arg: ast.unparse(word.value) for word in call.keywords}
            self.assertEqual(finite.get("allow_nan"), "False", f"{module}:{call.lineno}")
            found += 1
        self.assertGreater(found, 5)

    def test_json_from_outside_is_read_in_one_place(self) -> None:
        """Who else reads JSON reads what jwksd has written itself."""
        read = {module for module, _ in self.calls("json.loads", "json.load", "JSONDecoder")}
        self.assertEqual(read - READ_THEIR_OWN_JSON, {"jose.jsontext"})


class DocumentTests(TestCase):
    def test_every_module_says_what_it_is_for(self) -> None:
        """Each module opens with a docstring."""
        for name, path in house.modules().items():
            self.assertTrue(ast.get_docstring(ast.parse(path.read_text("utf-8"))), name)

    def test_the_architecture_lists_the_rooms_that_there_are(self) -> None:
        """``python -m tests.house --write`` has been run since the last change of an import."""
        self.assertEqual(house.documented(), house.listing())

    def test_every_package_is_installed(self) -> None:
        """setup.cfg names each by hand, so that neither tests nor main are."""
        listed = (CHECKOUT / "setup.cfg").read_text("utf-8")
        for init in Path(house.PACKAGE).rglob("__init__.py"):
            package = ".".join(init.parent.relative_to(CHECKOUT).parts)
            self.assertRegex(listed, rf"(?m)^    {package}$")

    def test_only_text_is_kept(self) -> None:
        """What a tool has downloaded or built, such as a package of Debian's, is not committed."""
        if not (CHECKOUT / ".git").exists():
            self.skipTest("no repository, but an archive of it")
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True)
        for path in map(Path, listed.stdout.decode("utf-8").split("\0")[:-1]):
            if (CHECKOUT / path).exists():
                with self.subTest(path=path):
                    (CHECKOUT / path).read_text("utf-8")


class SizeTests(TestCase):
    def test_functions_are_short(self) -> None:
        """Half have at most 6 lines, nine in ten at most 14, docstring included; none over 40."""
        lengths = [measure.lines for measure in house.functions()]
        self.assertLessEqual(median(lengths), 6)
        self.assertLessEqual(house.percentile(lengths, 0.9), 14)
        self.assertEqual([one for one in house.functions() if one.lines > 40], [])

    def test_classes_do_one_thing(self) -> None:
        """None has more than 250 lines or 20 methods, the database aside."""
        large = [
            one
            for one in house.classes()
            if (one.lines > 250 or one.methods > 20) and one.place not in MANY_METHODS
        ]
        self.assertEqual(large, [])

    def test_files_can_be_read_in_one_go(self) -> None:
        """None has more than 400 lines, tables aside."""
        long = [one for one in house.files() if one.lines > 400 and one.place not in TABLES]
        self.assertEqual(long, [])
