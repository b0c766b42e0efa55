"""Run jwksd from a checkout: ``python main.py [options]``, or ``python main.py --test``."""

import os
import sys
import unittest
from importlib.util import find_spec
from pathlib import Path

from jwksd.cli.command import serve

TEST_MODULES = (
    *("alembic", "psycopg", "sqlalchemy"),
    *("authlib", "httplint", "hypothesis", "jose", "joserfc", "jwt"),
)


class Loader(unittest.TestLoader):
    """Loads test methods only: each class of trial has a ``runTest``, which is none, and which
    unittest takes where a class has no other, or no other that ``-k`` asks for."""

    def loadTestsFromTestCase(self, case: type[unittest.TestCase]) -> unittest.TestSuite:
        return self.suiteClass(map(case, self.getTestCaseNames(case)))


class Result(unittest.TextTestResult):
    """Counts the tests that passed."""

    passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed += 1


class Runner(unittest.TextTestRunner):
    """Does not call it a success when nothing was run."""

    resultclass = Result

    def run(self, test: unittest.TestSuite) -> Result:
        if test.countTestCases() == 0:
            sys.exit("NOTHING RUN: no test was found")
        result = super().run(test)
        if result.wasSuccessful() and not result.passed + len(result.expectedFailures):
            sys.exit("NOTHING RUN: every test was skipped")
        return result


def self_test(arguments: list[str]) -> None:
    """Run the tests; further arguments go to unittest. Exits with 0 only if there are some, and
    all pass."""
    missing = [name for name in TEST_MODULES if find_spec(name) is None]
    if missing:
        sys.exit(f"the tests need {', '.join(missing)}: python -m pip install -e '.[test]'")
    os.chdir(Path(__file__).parent)
    from tests.support import suite

    if not arguments:
        sys.exit(not suite.run_all())
    suite.silence_log()
    unittest.main(
        module=None, argv=["main.py --test", *arguments], testLoader=Loader(), testRunner=Runner
    )


if __name__ == "__main__":
    if sys.argv[1:2] in (["--test"], ["--test-all"]):
        if sys.argv[1] == "--test-all":
            os.environ["JWKSD_TEST_ALL"] = "1"
        self_test(sys.argv[2:])
    else:
        serve(sys.argv[1:])
