"""Commands of jwksd as processes that are forks of one that has imported it.

They end as any process does, and a fork costs a tenth of what a new Python costs that imports all.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from jwksd.cli import command
from jwksd.stores import migrate, sql  # noqa: F401 (with SQLAlchemy and Alembic)
from tests.support.processes import CHECKOUT, MAIN, ProcessTestCase, environment

Call = tuple[str, Sequence[str], Mapping[str, str]]
"""``main``, as ``python -m jwksd`` calls it, or ``serve``, as ``main.py`` does; its arguments; and
environment variables."""

MODULE = [sys.executable, "-m", "jwksd"]

LONGEST = 30
"""Seconds after which a command that does not end is killed."""


def run_forks(folder: Path, calls: Sequence[Call]) -> list[tuple[str, int, str]]:
    """Run commands side by side in a folder: what each writes to stdout, exit code, stderr."""
    with TemporaryDirectory() as outputs:
        ended = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps([str(folder), outputs, calls]),
            cwd=CHECKOUT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        texts = [
            [Path(outputs, f"{number}.{stream}").read_text() for stream in (1, 2)]
            for number in range(len(calls))
        ]
    codes = json.loads(ended.stdout)
    return [(out, code, err) for code, (out, err) in zip(codes, texts, strict=True)]


def _fork(folder: str, outputs: str, calls: Sequence[Call]) -> None:
    """Fork for each of the calls; the forks return from here with their call's end."""
    gc.freeze()  # what is not looked through is not copied
    forks = []
    for number, (name, arguments, variables) in enumerate(calls):
        fork = os.fork()
        if not fork:
            for stream in (1, 2):
                os.dup2(os.open(f"{outputs}/{number}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
            os.chdir(folder)
            os.environ.update(variables)
            signal.alarm(LONGEST)
            called: Callable[[Sequence[str]], None] = getattr(command, name)
            called(arguments)
            return
        forks.append(fork)
    codes = [os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) for fork in forks]
    json.dump(codes, sys.stdout)


class EndTestCase(ProcessTestCase):
    """Commands that end by themselves."""

    def end(self, command: list[str]) -> tuple[str, int, str]:
        """What a command greets with if it starts after all, its exit code and its stderr."""
        process = self.start(*command)
        greeting = process.stdout.readline()
        if greeting:
            process.kill()
        _, error = process.communicate()
        return greeting, process.returncode, error

    def ends(
        self, commands: list[list[str]], variables: Sequence[Mapping[str, str]] = ()
    ) -> list[tuple[str, int, str]]:
        """How several end, each with variables of its own; where they can be they are forks."""
        started = zip(commands, variables or [{}] * len(commands), strict=True)
        calls = [(*call, more) for command, more in started if (call := as_call(command))]
        forks = iter(run_forks(self.folder, calls))
        return [next(forks) if as_call(command) else self.end(command) for command in commands]

    def assert_refusal(self, said: str, greeting: str, code: int, error: str) -> None:
        """How a command that is refused ends."""
        self.assertEqual(greeting, "")
        self.assertGreater(code, 0)
        self.assertRegex(error, r"\Ajwksd: [^\n]+\n\Z")
        self.assertIn(said, error)


def as_call(command: list[str]) -> tuple[str, list[str]] | None:
    """A command in the way of ``run_forks``; None for what is no plain command of jwksd."""
    for start, name in ((MAIN, "serve"), (MODULE, "main")):
        if command[: len(start)] == start and len(command) > len(start):
            return name, command[len(start) :]
    return None


if __name__ == "__main__":
    _fork(*json.load(sys.stdin))
