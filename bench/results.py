"""What was measured, as a table, as JSON, and in the documents.

A group holds what was measured in turn, in the same rounds; a figure compares two of its series.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from common import CHECKOUT, Report

DOCUMENT = CHECKOUT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True)
class Figure:
    """The median of one series, over that of another if there is one, and its bound."""

    what: str
    ours: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """Such as "≥ 1"."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "–" if self.at_most is None else f"≤ {self.at_most:g}"  # noqa: RUF001


@dataclass(frozen=True)
class Group:
    """Series of values, one a round, by the name of who was measured."""

    title: str
    unit: str
    values: Mapping[str, list[float]]
    figures: list[Figure] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Of one series."""
        return median(self.values[name])

    def spread(self, name: str) -> str:
        """The median of one series, and from where to where it goes."""
        values = self.values[name]
        text = number(self.median(name))
        return f"{text} ({number(min(values))}…{number(max(values))})" if values[1:] else text

    def value(self, figure: Figure) -> float:
        """The figure: a ratio of medians, or a median."""
        return self.median(figure.ours) / (self.median(figure.over) if figure.over else 1)

    def ratios(self, figure: Figure) -> list[float]:
        """The ratio of each round."""
        if not figure.over:
            return []
        pairs = zip(self.values[figure.ours], self.values[figure.over], strict=True)
        return [ours / theirs for ours, theirs in pairs]

    def highest(self, names: Iterable[str]) -> str:
        """Which of the series has the highest median."""
        return max(names, key=self.median)

    def lowest(self, names: Iterable[str]) -> str:
        """Which of the series has the lowest median."""
        return min(names, key=self.median)


@dataclass
class Results:
    """All groups, each printed as soon as it is known; figures are held to their bounds."""

    report: Report
    machine: dict[str, str]
    quick: bool
    groups: list[Group] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def add(self, group: Group, *figures: Figure) -> None:
        """Keep a group, and print it."""
        group.figures.extend(figures)
        self.groups.append(group)
        print(f"\n{group.title}, {group.unit}")
        for name in group.values:
            self.report.note(f"{name:38} {group.spread(name)}")
        for figure in figures:
            bounds = {"at_least": figure.at_least, "at_most": figure.at_most}
            self.report.bounded(figure.what, group.value(figure), **bounds)
            if ratios := group.ratios(figure)[1:] and group.ratios(figure):
                self.report.note(f"by round {min(ratios):.3f} to {max(ratios):.3f}")

    def miss(self, what: str) -> None:
        """Tell of something that could not be measured."""
        self.absent.append(what)
        self.report.note(what)

    def table(self) -> str:
        """All figures, and below them all series, in Markdown."""
        lines = [
            "| figure | measured | over | ratio | by round | bound |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        lines += [row(group, figure) for group in self.groups for figure in group.figures]
        lines += ["", "| what | who | median | from | to |", "|---|---|--:|--:|--:|"]
        for group in self.groups:
            for name, values in group.values.items():
                cells = map(number, (group.median(name), min(values), max(values)))
                lines.append(f"| {group.title}, {group.unit} | {name} | {' | '.join(cells)} |")
        return "\n".join(lines).replace("<kid>.json", "`<kid>.json`")

    def to_json(self) -> str:
        """All of it."""
        groups = [asdict(group) for group in self.groups]
        data = {"machine": self.machine, "quick": self.quick, "absent": self.absent}
        return json.dumps({**data, "groups": groups}, indent=1, ensure_ascii=False) + "\n"

    def write_document(self) -> None:
        """Put machine and tables between the markers of the document."""
        text = DOCUMENT.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        machine = "\n".join(f"| {name} | {what} |" for name, what in self.machine.items())
        parts = [f"| | |\n|---|---|\n{machine}", self.table()]
        if self.quick:
            parts.insert(0, "A quick run: one short round, by which nothing can be judged.")
        parts += [f"- {what}" for what in self.absent]
        DOCUMENT.write_text(
            before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after, encoding="utf-8"
        )


def row(group: Group, figure: Figure) -> str:
    """The line of a figure in the table."""
    ratios = group.ratios(figure)
    by_round = f"{min(ratios):.2f}…{max(ratios):.2f}" if ratios else "–"  # noqa: RUF001
    ours = f"{number(group.median(figure.ours))} {group.unit}"
    theirs = f"{number(group.median(figure.over))} {group.unit}" if figure.over else ""
    value = f"{group.value(figure):.2f}" if figure.over else ""
    return f"| {figure.what} | {ours} | {theirs} | {value} | {by_round} | {figure.bound} |"


def number(value: float) -> str:
    """Three digits or more, as people write them."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write(path: Path, text: str) -> None:
    """Write a file, and say so."""
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")
