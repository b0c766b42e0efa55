"""The plan of the house: its rooms, who imports whom, and how long its functions are.

``python -m tests.house`` prints rooms, imports and measures; with ``--write`` it puts the first two
into docs/architecture.md, where ``test_house`` compares them with the code.
"""

import argparse
import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.support.processes import CHECKOUT

PACKAGE = CHECKOUT / "jwksd"
ARCHITECTURE = CHECKOUT / "docs" / "architecture.md"
BEGIN = "<!-- made by python -m tests.house --write -->"
END = "<!-- end -->"

_NESTED = ("web.http", "web.endpoints", "stores.migrations")
"""Packages within packages that are rooms of their own; the longest name that fits counts."""


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name without ``jwksd``; itself is ``""``."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .removesuffix("."): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def room(module: str) -> str:
    """``web.http.channel`` is in the room ``web.http``, ``web.auth`` in ``web``."""
    fitting = [name for name in _NESTED if f"{module}.".startswith(f"{name}.")]
    return fitting[0] if fitting else module.partition(".")[0]


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


def rooms_imported(path: Path) -> set[str]:
    """The rooms of this package that a file imports from, nested imports included."""
    own = {name.removeprefix("jwksd.") for name in imports(path) if name.startswith("jwksd.")}
    return {room(name) for name in own} - {"__version__"}


def arrows() -> dict[str, set[str]]:
    """By room, the rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        own = room(name)
        found.setdefault(own, set()).update(rooms_imported(path) - {own, ""})
    return found


@dataclass(frozen=True)
class Measure:
    """Where a function or class is, how many lines it has from first to last, its methods."""

    place: str
    lines: int
    methods: int = 0


def functions() -> list[Measure]:
    """Every function and method."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        Measure(f"{name}:{node.name}", _lines(node))
        for name, node in _nodes()
        if isinstance(node, kinds)
    ]


def classes() -> list[Measure]:
    """Every class."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        Measure(
            f"{name}:{node.name}",
            _lines(node),
            sum(isinstance(child, kinds) for child in node.body),
        )
        for name, node in _nodes()
        if isinstance(node, ast.ClassDef)
    ]


def files() -> list[Measure]:
    """Every file."""
    return [
        Measure(name, len(path.read_text("utf-8").splitlines())) for name, path in modules().items()
    ]


def percentile(numbers: Iterable[int], share: float) -> int:
    """The least number that so large a share of them does not exceed."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _nodes() -> Iterator[tuple[str, ast.AST]]:
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield name, node


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def listing() -> str:
    """The rooms with their files, then who imports whom, as Markdown."""
    return f"```\n{_tree()}```\n\n{_table(arrows())}"


def _tree() -> str:
    lines = []
    by_room: dict[str, list[str]] = {}
    for name in modules():
        if name:
            by_room.setdefault(room(name), []).append(name)
    for own, names in sorted(by_room.items()):
        if names == [own] and not (PACKAGE / own).is_dir():
            lines.append(f"{own + '.py':20}{_purpose(own)}")
            continue
        lines.append(f"{own.replace('.', '/') + '/':20}{_purpose(own)}")
        inner = [name.removeprefix(own + ".") for name in names if name != own]
        # The steps of the schema tell their own story in their folder.
        lines += [
            f"  {name + '.py':18}{_purpose(f'{own}.{name}')}" for name in inner if "." not in name
        ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _purpose(module: str) -> str:
    """The first sentence of a module's docstring, without the name before its colon."""
    path = modules()[module]
    first = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n\n")[0]
    sentence = " ".join(first.split())
    name, colon, rest = sentence.partition(": ")
    return rest if colon and " " not in name else sentence


def _table(found: Mapping[str, set[str]]) -> str:
    rows = [
        f"| `{own}` | {', '.join(f'`{name}`' for name in sorted(others)) or 'nothing'} |"
        for own, others in sorted(found.items())
        if own
    ]
    return "\n".join(["| room | imports from |", "|---|---|", *rows]) + "\n"


def documented() -> str:
    """What docs/architecture.md has between its two marks."""
    text = ARCHITECTURE.read_text("utf-8")
    return text.partition(BEGIN)[2].partition(END)[0].strip() + "\n"


def write() -> None:
    """Put the listing between the two marks."""
    text = ARCHITECTURE.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    ARCHITECTURE.write_text(f"{head}{BEGIN}\n{listing()}{END}{tail}", "utf-8")


def report() -> str:
    """The measures, the largest by name."""
    lengths = [measure.lines for measure in functions()]
    lines = [
        f"{len(lengths)} functions: median {median(lengths):.0f} lines,"
        f" 90th percentile {percentile(lengths, 0.9)}, longest {max(lengths)}"
    ]
    for what, measures in (("functions", functions()), ("classes", classes()), ("files", files())):
        largest = sorted(measures, key=lambda measure: -measure.lines)[:5]
        lines.append(f"{what}: " + ", ".join(f"{one.place} {one.lines}" for one in largest))
    most = sorted(classes(), key=lambda measure: -measure.methods)[:5]
    lines.append("methods: " + ", ".join(f"{one.place} {one.methods}" for one in most))
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/architecture.md")
    if parser.parse_args().write:
        write()
    else:
        print(listing())
        print(report())
