"""Changes that no test can notice, because the code does the same after them.

Each kind has its reason. What a test would notice, if there were one, is never among them.
"""

import ast
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cosmic_ray.work_item import MutationSpec

Position = tuple[int, int]
"""Line and column; the column counts characters."""

Operation = ast.BinOp | ast.Compare


def is_equivalent(mutant: MutationSpec, module: Path) -> bool:
    """Return whether the module does the same with this mutant."""
    name = mutant.operator_name.removeprefix("core/")
    if name.startswith("ReplaceBinaryOperator_"):
        changed = _operation_at(mutant.start_pos, module)
        if changed is None:
            # The asterisk or slash of a signature, or two asterisks before a mapping: most other
            # marks are no Python there, and a slash for an asterisk lets an argument be given by
            # its place, which nobody does. One asterisk for two gives names in place of values.
            return name != "ReplaceBinaryOperator_Pow_Mul"
        return name in _UNIONS and _shares_nothing(changed, name)
    if name in _IDENTITIES:
        changed = _operation_at(mutant.start_pos, module)
        return isinstance(changed, ast.Compare) and _is_with_constant(changed)
    # What was remembered is found again, only later.
    return name == "RemoveDecorator" and _line(mutant, module).startswith(("@lru_cache", "@cache"))


_UNIONS = ("ReplaceBinaryOperator_BitOr_BitXor", "ReplaceBinaryOperator_BitOr_Add")
"""The union of what shares nothing is the symmetric difference as well, and of flags the sum."""

_IDENTITIES = ("ReplaceComparisonOperator_Is_Eq", "ReplaceComparisonOperator_IsNot_NotEq")
"""Members of an enumeration, and texts that are only ever handed on, are equal if identical."""


def _shares_nothing(union: Operation, name: str) -> bool:
    """Return whether all operands are flags of a module, or sets of different texts."""
    operands = list(_operands(union))
    if all(isinstance(node, ast.Attribute) and _is_flag(node) for node in operands):
        return True
    sets = [node for node in operands if isinstance(node, ast.Set)]
    texts = [ast.dump(text) for node in sets for text in node.elts]
    has_sum = name.endswith("_Add")  # sets have none: that is an error
    return not has_sum and len(sets) == len(operands) and len(texts) == len(set(texts))


def _is_flag(node: ast.Attribute) -> bool:
    module = node.value
    return isinstance(module, ast.Name) and module.id in ("os", "re") and node.attr.isupper()


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what a chain of operators joins."""
    if isinstance(node, ast.BinOp):
        yield from _operands(node.left)
        yield from _operands(node.right)
    else:
        yield node


def _is_with_constant(comparison: ast.Compare) -> bool:
    """Return whether the right side is a name in capitals: ``State.RETIRED``, ``IDLE``."""
    right = comparison.comparators[-1]
    name = right.attr if isinstance(right, ast.Attribute) else getattr(right, "id", "")
    return len(comparison.comparators) == 1 and name.isupper()


def _operation_at(position: Position, module: Path) -> Operation | None:
    """Return the operation whose operator stands there; None if what stands there is none."""
    for node, start, end in _operations(module):
        if start <= position < end:
            return node
    return None


@cache
def _operations(module: Path) -> list[tuple[Operation, Position, Position]]:
    """All operations of a module, each with what lies between its operands."""
    text = module.read_text("utf-8")
    lines = [line.encode("utf-8") for line in text.splitlines()]

    def position(line: int, octets: int) -> Position:
        return line, len(lines[line - 1][:octets].decode("utf-8"))

    found: list[tuple[Operation, Position, Position]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.BinOp):
            gaps = [(node.left, node.right)]
        elif isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            gaps = list(itertools.pairwise(operands))
        else:
            continue
        for left, right in gaps:
            start = position(left.end_lineno or 0, left.end_col_offset or 0)
            found.append((node, start, position(right.lineno, right.col_offset)))
    return found


def _line(mutant: MutationSpec, module: Path) -> str:
    return module.read_text("utf-8").splitlines()[mutant.start_pos[0] - 1].strip()
