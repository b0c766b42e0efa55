"""``python -m tests.proofs.mutation [--seed N]``: small changes of the code, each of which must be
noticed by a test.

Needs cosmic-ray installed. All mutants of ``lifecycle`` and of token verifying are tried, and so
many elsewhere as ``--sample`` says, drawn by ``--seed``; each with the tests that mirror its
module, then, if it survives them, with those of its whole package. Survivors are printed.
"""

import argparse
import ast
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from time import monotonic

from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome

from tests.proofs.mutation.equivalents import is_equivalent
from tests.support.processes import CHECKOUT

WHOLE = ("jwksd/lifecycle/", "jwksd/jose/verifying.py")
"""Files of which every mutant is tried."""

LEFT_OUT = ("jwksd/stores/migrations/", "jwksd/__main__.py")
"""Files of steps that are never changed again, and of nothing."""

BOUND = 0.9
"""Share of the mutants that tests must kill."""

PATIENCE = 5
"""How many times longer than without a mutant tests may take, before a mutant is said to hang."""

LEAST_TIME = 10
"""Seconds that they may take in any case."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: whether a test failed, where it is and what was changed."""

    killed: bool
    place: str
    change: str


def mutants() -> list[MutationSpec]:
    """Every mutant of the package, in the order of files and lines."""
    files = [
        path.relative_to(CHECKOUT)
        for path in sorted((CHECKOUT / "jwksd").rglob("*.py"))
        if path.name != "__init__.py" and not str(path.relative_to(CHECKOUT)).startswith(LEFT_OUT)
    ]
    return [
        item.mutations[0] for item in _all_work_items(files, {}) if _is_worth(item.mutations[0])
    ]


def _is_worth(mutant: MutationSpec) -> bool:
    """Whether it changes what the code does, and not its types, memory or words in the log.

    An operator in a type fails at import, which says nothing of the tests. Of what does the same
    when it is changed, ``equivalents`` has the kinds.
    """
    module = CHECKOUT / mutant.module_path
    line = module.read_text("utf-8").splitlines()[mutant.start_pos[0] - 1]
    in_type = any(start <= mutant.start_pos < end for start, end in _types(module))
    if in_type or "slots=True" in line or "_log" in line:
        return False
    return not is_equivalent(mutant, module)


@cache
def _types(module: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a file has annotations and unions of types: from (line, column) to (line, column)."""
    tree = ast.parse(module.read_text("utf-8"))
    found: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            found.append(node.args[1])
    found += [
        node.value for node in tree.body if isinstance(node, ast.Assign) and _is_type(node.value)
    ]
    return [_span(node) for node in found if node is not None]


def _is_type(value: ast.expr) -> bool:
    """Whether it is a union such as ``A | None``, or has parameters as ``Callable[[], A]`` has."""
    union = isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr)
    return union or isinstance(value, ast.Subscript)


def _span(node: ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)


def drawn(everything: Sequence[MutationSpec], sample: int, seed: int) -> list[MutationSpec]:
    """All of the files in ``WHOLE``, and so many of the others."""
    whole = [mutant for mutant in everything if str(mutant.module_path).startswith(WHOLE)]
    others = [mutant for mutant in everything if not str(mutant.module_path).startswith(WHOLE)]
    return whole + Random(seed).sample(others, min(sample, len(others)))


def mirrors(module: Path) -> list[str]:
    """The tests of a module, as arguments of unittest: those that mirror it, then its package's."""
    folder = Path("tests", *module.parent.parts[1:])
    own = folder / f"test_{module.stem}.py"
    name = ".".join(own.with_suffix("").parts)
    nearest = [name] if own.exists() else []
    return [*nearest, f"discover -s {folder} -t ."]


@cache
def limit(command: str) -> float:
    """Seconds that these tests may take; they must pass as long as nothing is changed."""
    began = monotonic()
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    return max(LEAST_TIME, PATIENCE * (monotonic() - began))


def judge(mutant: MutationSpec) -> Verdict:
    """Try one, in the copy of the checkout that this process works in."""
    module = Path(mutant.module_path)
    place = f"{module}:{mutant.start_pos[0]} {mutant.operator_name.removeprefix('core/')}"
    change = ""
    for tests in mirrors(module):
        command = f"{sys.executable} -W ignore -m unittest {tests} -f -q"
        result = mutate_and_test([mutant], command, limit(command))
        if result.test_outcome is not TestOutcome.SURVIVED:
            return Verdict(True, place, "")
        change = result.diff or ""
    return Verdict(False, place, change)


def _move_in(copies: str) -> None:
    """Give this worker a copy of the checkout of its own."""
    own = Path(copies, str(os.getpid()))
    kept_out = shutil.ignore_patterns(
        ".git", ".mypy_cache", ".venv", "_trial_temp*", "node_modules"
    )
    shutil.copytree(CHECKOUT, own, ignore=kept_out)
    os.chdir(own)
    os.environ["PYTHONPATH"] = str(own)


def run(chosen: Sequence[MutationSpec], workers: int) -> list[Verdict]:
    """Judge them all, so many at a time."""
    with tempfile.TemporaryDirectory() as copies:
        pool = ProcessPoolExecutor(workers, initializer=_move_in, initargs=(copies,))
        with pool:
            verdicts = []
            for verdict in pool.map(judge, chosen, chunksize=1):
                verdicts.append(verdict)
                if not verdict.killed:
                    print(f"survived: {verdict.place}\n{verdict.change}", flush=True)
            return verdicts


def main() -> None:
    """Print the share that was killed; exit with 1 where it is below the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="files whose path begins so")
    given = parser.parse_args()
    everything = [m for m in mutants() if str(m.module_path).startswith(given.only)]
    chosen = drawn(everything, given.sample, given.seed)
    verdicts = run(chosen, given.workers)
    killed = sum(verdict.killed for verdict in verdicts)
    share = killed / len(verdicts)
    print(f"{killed} of {len(verdicts)} mutants killed, {share:.1%}; seed {given.seed}")
    sys.exit(0 if share >= BOUND else 1)


if __name__ == "__main__":
    main()
