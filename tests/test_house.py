"""The house rules: who may import whom, and what the domain must not touch."""

import ast
from pathlib import Path
from unittest import TestCase

from tests.support.processes import CHECKOUT

PACKAGE = CHECKOUT / "jwksd"

# From the ground up: each module may import what stands on its own floor or below.
FLOORS = {
    "errors": 0,
    "jose": 1,
    "lifecycle": 1,
    "dev": 2,
    "interfaces": 2,
    "waiters": 2,
    "issuing": 2,
    "keysources": 3,
    "stores": 3,
    "web": 3,
    "config": 4,
    "cli": 4,
    "service": 4,
    "signals": 4,
    "tap": 4,
    "__main__": 4,
}
DOMAIN, ADAPTERS, EDGES = 1, 3, 4
FORBIDDEN_IN_DOMAIN = {"twisted", "treq", "time", "secrets", "random", "os", "sqlite3", "uuid"}


def room(module: str) -> str:
    """``jwksd.web.auth`` is in the room ``web``."""
    return module.removeprefix("jwksd").removeprefix(".").split(".")[0]


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    return {
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def imports(path: Path, *, nested: bool = True) -> set[str]:
    """What a file imports, as dotted names; only at its top level where ``nested`` is false."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


class HouseTests(TestCase):
    def rooms_imported(self, path: Path) -> set[str]:
        own = {name for name in imports(path) if name.split(".")[0] == "jwksd"}
        return {room(name) for name in own} & set(FLOORS)

    def test_every_room_has_a_floor(self) -> None:
        """A new module is given its place in the house before it can land."""
        self.assertEqual({room(name) for name in modules()} - {""}, set(FLOORS))

    def test_nothing_imports_what_stands_above_it(self) -> None:
        """Edges import adapters, adapters the application, it the domain, the domain errors."""
        for name, path in modules().items():
            floor = FLOORS.get(room(name), 0)
            above = {other for other in self.rooms_imported(path) if FLOORS[other] > floor}
            self.assertEqual(above, set(), name)

    def test_adapters_do_not_know_one_another(self) -> None:
        """Web and key source, which serve the same issuer, can be changed apart."""
        for name, path in modules().items():
            if FLOORS.get(room(name)) == ADAPTERS:
                others = self.rooms_imported(path) - {room(name)}
                self.assertEqual({o for o in others if FLOORS[o] == ADAPTERS}, set(), name)

    def test_the_domain_is_pure(self) -> None:
        """No Twisted, no clock, no randomness, no I/O in the domain: they come in as arguments."""
        for name, path in modules().items():
            if FLOORS.get(room(name), 9) <= DOMAIN:
                outside = {imported.split(".")[0] for imported in imports(path)}
                self.assertEqual(outside & FORBIDDEN_IN_DOMAIN, set(), name)

    def test_the_reactor_is_imported_in_functions_of_the_edges_only(self) -> None:
        """Importing jwksd installs no reactor, so whoever embeds it can choose one."""
        for name, path in modules().items():
            reactor = "twisted.internet.reactor"
            self.assertNotIn(reactor, imports(path, nested=False), name)
            if FLOORS.get(room(name), 0) < EDGES:
                self.assertNotIn(reactor, imports(path), name)

    def test_the_plugin_file_imports_nothing_of_jwksd(self) -> None:
        """twistd loads every plugin file to list its commands, so ours costs next to nothing."""
        plugin = CHECKOUT / "twisted" / "plugins" / "jwksd_plugin.py"
        self.assertEqual({name for name in imports(plugin) if name.startswith("jwksd")}, set())

    def test_the_tree_never_shadows_twisted(self) -> None:
        """An __init__.py below twisted/ would hide Twisted itself, or the plugin."""
        self.assertEqual(list((CHECKOUT / "twisted").rglob("__init__.py")), [])

    def test_every_module_says_what_it_is_for(self) -> None:
        """Each module opens with a docstring."""
        for name, path in modules().items():
            self.assertTrue(ast.get_docstring(ast.parse(path.read_text("utf-8"))), name)
