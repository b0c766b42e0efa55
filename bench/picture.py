"""The picture of the documents: a horizontal bar for each series, group by group, as SVG.

It is readable on light and on dark pages, and needs nothing beside this module.
"""

from collections.abc import Iterable, Sequence
from html import escape

from results import Group, number

WIDTH, MARGIN = 860, 20
NAMES = 260
"""Where the bars begin: left of it are the names."""

LONGEST = 330
"""Of the bars."""

LINE, HEADING, GAP = 24, 30, 16

STYLE = """
  .page { fill: #ffffff } .title { fill: #1f2328; font-weight: 600 } .name { fill: #1f2328 }
  .told { fill: #59636e } .ours { fill: #0969da } .other { fill: #afb8c1 }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .title, .name { fill: #f0f6fc } .told { fill: #9198a1 }
    .ours { fill: #4493f8 } .other { fill: #484f58 }
  }
"""


def draw(groups: Iterable[Group]) -> str:
    """The groups that have something to compare, below each other."""
    shown = [group for group in groups if len(group.values) > 1]
    parts, top = [], MARGIN
    for group in shown:
        parts += _group(group, top)
        top += HEADING + LINE * len(group.values) + GAP
    height = top - GAP + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">'
    )
    title = "<title>jwksd beside nginx and other issuers: medians of one run</title>"
    page = f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>'
    return "\n".join([head, title, f"<style>{STYLE}</style>", page, *parts, "</svg>", ""])


def _group(group: Group, top: int) -> list[str]:
    longest = max(map(group.median, group.values))
    parts = [_text(MARGIN, top + 16, "title", f"{group.title}, {group.unit}")]
    ordered = sorted(group.values, key=group.median, reverse=not _less_is_better(group))
    for place, name in enumerate(ordered):
        parts += _bar(group, name, longest, top + HEADING + LINE * place)
    return parts


def _less_is_better(group: Group) -> bool:
    return group.unit in ("ms", "µs", "MB")


def _bar(group: Group, name: str, longest: float, top: int) -> list[str]:
    value = group.median(name)
    width = max(1.0, LONGEST * value / longest)
    kind = "ours" if _is_ours(group, name) else "other"
    label = " · ".join([number(value), *_ratios(group, name)])
    return [
        _text(NAMES - 10, top + 13, "name", name, ' text-anchor="end"'),
        f'<rect class="{kind}" x="{NAMES}" y="{top}" width="{width:.1f}" height="17" rx="2"/>',
        _text(int(NAMES + width) + 8, top + 13, "told", label),
    ]


def _is_ours(group: Group, name: str) -> bool:
    return name in {figure.ours for figure in group.figures}


def _ratios(group: Group, name: str) -> Sequence[str]:
    """The label behind the bar of one that is compared with another."""
    return [
        f"{group.value(figure):.2f} × {figure.over}"  # noqa: RUF001
        for figure in group.figures
        if figure.ours == name and figure.over
    ]


def _text(x: int, y: int, kind: str, text: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}"{more}>{escape(text)}</text>'
