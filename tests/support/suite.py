"""All tests in several processes, reported as if they had run in one.

The laws of this module:
1. Every process finds all tests, in the same order, and runs them class by class. Which process
   runs which class is settled by a pipe of numbers that all of them read: who is done takes more.
2. A process reports what becomes of each test, a line of JSON each. unittest's own runner is given
   these reports as if the tests had run in its process, so that it prints and counts.
3. A test that was found and not reported is an error, and so is it when none has run.
"""

import json
import os
import subprocess
import sys
import threading
import unittest
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any

from twisted.logger import globalLogBeginner

from tests.support.effort import EVERYTHING

CHECKOUT = Path(__file__).resolve().parent.parent.parent
LONGEST = ("tests.proofs.", "tests.test_", "tests.stores.", "tests.web.")
"""Where the tests are that take longest; they begin first, so that all processes end together."""

_MOST_CLASSES = 2000
_MOST_PROCESSES = 4


def silence_log() -> None:
    """Keep the log off stderr, where Twisted writes errors as long as nobody takes the log.

    Tests see it as before: those of trial fail for each error that they did not expect.
    """
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


# In the process that was started by hand.


def run_all(folder: str = ".") -> bool:
    """Run all tests below a folder, a process for each processor; whether all of them passed."""
    number = min(os.cpu_count() or 1, _MOST_PROCESSES)
    print(f"{_what()}, in {number} processes", file=sys.stderr, flush=True)
    runner = unittest.TextTestRunner(resultclass=_Replay)
    return runner.run(_Processes(folder, number)).wasSuccessful()  # type: ignore[arg-type]


def _what() -> str:
    if EVERYTHING:
        return "all tests, with everything that takes long: about six minutes on two processors"
    return "the quick tests, --test-all has more: about two minutes on two processors"


class _Replay(unittest.TextTestResult):
    """Takes the text of an error for the error."""

    def _exc_info_to_string(self, err: Any, test: Any) -> str:
        return str(err)


class _Reported:
    """A test, or a fixture, of which only the name is known."""

    failureException = AssertionError

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return self._name

    def shortDescription(self) -> None:
        """None: the name says all."""


class _Processes:
    """In the place of a suite: the processes, and what they report."""

    def __init__(self, folder: str, number: int) -> None:
        self._folder = folder
        self._number = number
        self._lock = Lock()
        self._found: set[int] = set()

    def __call__(self, result: _Replay) -> None:
        """Have all tests run, and tell the result."""
        numbers, feed = os.pipe()
        os.write(feed, b"".join(n.to_bytes(2) for n in range(1, _MOST_CLASSES)))
        os.close(feed)
        with ThreadPoolExecutor(self._number) as pool:
            list(pool.map(lambda _: self._follow(numbers, result), range(self._number)))
        os.close(numbers)
        if self._found != {result.testsRun}:
            why = f"found {sorted(self._found)} tests, and {result.testsRun} have run"
            result.addError(_Reported("the processes of the tests"), why)  # type: ignore[arg-type]
        elif result.testsRun == len(result.skipped):
            result.addError(_Reported("the tests"), "no test has run")  # type: ignore[arg-type]

    def _follow(self, numbers: int, result: _Replay) -> None:
        """Start a process, and pass on what it reports until it ends."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", __name__, self._folder, str(numbers), str(writing)]
        with subprocess.Popen(command, cwd=CHECKOUT, pass_fds=[numbers, writing]) as process:
            os.close(writing)
            what, name = "", "a process of the tests"
            with os.fdopen(reading, encoding="utf-8") as reports:
                for line in reports:
                    what, name, *more = json.loads(line)
                    with self._lock:
                        self._replay(result, what, name, more)
        if process.returncode or what != "finished":
            with self._lock:
                why = f"its process ended with code {process.returncode}"
                result.addError(_Reported(name), why)  # type: ignore[arg-type]

    def _replay(self, result: _Replay, what: str, name: str, more: list[Any]) -> None:
        if what == "found":
            self._found.add(*more)
        elif what == "startTest":
            result.testsRun += 1
        elif what != "finished":
            getattr(result, what)(_Reported(name), *more)


# In the others.


def work(folder: str, numbers: int, reports: int) -> None:
    """Run the classes whose numbers are read, and report."""
    silence_log()
    warnings.simplefilter("default")
    classes = find_classes(folder)
    with open(reports, "w", encoding="utf-8", buffering=1) as file:
        result = _Reporter(file)
        result.report("found", "", sum(map(len, classes)))
        while 0 < (number := int.from_bytes(os.read(numbers, 2))) <= len(classes):
            unittest.TestSuite(classes[number - 1]).run(result)
        _end_without_threads(result)
        result.report("finished", "a process of the tests")


def _end_without_threads(result: "_Reporter") -> None:
    """End at once where a test has left a thread behind, for which Python would wait for ever."""
    left = [thread.name for thread in threading.enumerate() if not thread.daemon]
    if left != [threading.main_thread().name]:
        result.report("addError", "a process of the tests", f"threads were left behind: {left}")
        os._exit(1)


def find_classes(folder: str) -> list[list[unittest.TestCase]]:
    """All tests below a folder, by class, those that take longest first."""
    tests = list(_flatten(unittest.defaultTestLoader.discover(folder)))
    classes = [list(group) for _, group in groupby(tests, type)]
    return sorted(classes, key=lambda group: not group[0].id().startswith(LONGEST))


def _flatten(suite: Any) -> Iterator[Any]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flatten(test)
        elif test._testMethodName != "runTest":  # of a class that has no tests itself
            yield test


class _Reporter(unittest.TestResult):
    """Reports each call as it comes."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file

    def report(self, what: str, test: Any, *more: object) -> None:
        """Write a line: what happened, to which test, and how."""
        self._file.write(json.dumps([what, str(test), *more]) + "\n")

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.report("startTest", test)

    def addSuccess(self, test: Any) -> None:
        self.report("addSuccess", test)

    def addError(self, test: Any, err: Any) -> None:
        self.report("addError", test, self._exc_info_to_string(err, test))

    def addFailure(self, test: Any, err: Any) -> None:
        self.report("addFailure", test, self._exc_info_to_string(err, test))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            (self.addFailure if failed else self.addError)(subtest, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self.report("addSkip", test, reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.report("addExpectedFailure", test, self._exc_info_to_string(err, test))

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.report("addUnexpectedSuccess", test)


if __name__ == "__main__":
    work(sys.argv[1], *map(int, sys.argv[2:]))
