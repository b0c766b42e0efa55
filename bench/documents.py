"""Puts what was computed or measured between two markers of a document."""

from pathlib import Path

from common import CHECKOUT

SCALING = CHECKOUT / "docs" / "scaling.md"


def markers(name: str) -> tuple[str, str]:
    """The comments around the part of this name."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def part(document: Path, name: str) -> str:
    """What stands between the markers."""
    begin, end = markers(name)
    return document.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def fill(document: Path, name: str, text: str) -> None:
    """Put a text between the markers, in place of what stands there."""
    begin, end = markers(name)
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{document} has no part {name}")
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
    print(f"wrote {name} into {document}")


def markdown(head: list[str], rows: list[list[str]], *, left: int) -> str:
    """A table whose first columns are texts, and the others numbers."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    lines = ["|".join(["", *rule, ""])]
    told = [f"| {' | '.join(row)} |" for row in [head, *rows]]
    return "\n".join([told[0], *lines, *told[1:]])


def plain(head: list[str], rows: list[list[str]], *, left: int) -> str:
    """The same for a terminal."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )


def digits(value: float, kept: int = 3) -> str:
    """Rounded to so many digits, as people write it."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{kept}g}")
    return f"{rounded:,.0f}" if rounded >= 10 ** (kept - 1) else f"{rounded:g}"
