"""``main.py --test`` without names: several processes, and what goes wrong in any is reported."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import TestCase

from tests.support.processes import CHECKOUT, environment

PASSING = """
from unittest import TestCase
from twisted.logger import Logger
class First(TestCase):
    def test_a(self): pass
    def test_b(self): Logger().critical("an error that a test expects")
class Second(TestCase):
    def test_c(self): pass
class Third(Second):
    pass
"""
FAILING = """
import os, sys
from unittest import TestCase
class Failing(TestCase):
    def test_failure(self): self.fail("so it is")
    def test_error(self): 1 / 0
    def test_parts(self):
        for number in range(3):
            with self.subTest(number=number): self.assertNotEqual(number, 1)
class Fixture(TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("nothing to stand on")
    def test_never(self): pass
"""


class SuiteTests(TestCase):
    def report(self, **modules: str) -> tuple[int, str]:
        """Exit code and stderr of a run of these modules, which print nothing else."""
        with TemporaryDirectory() as folder:
            for name, text in modules.items():
                (Path(folder) / f"test_{name}.py").write_text(text)
            program = "import sys; from tests.support.suite import run_all"
            ended = subprocess.run(
                [sys.executable, "-c", f"{program}; sys.exit(not run_all(sys.argv[1]))", folder],
                cwd=CHECKOUT,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=120,
            )
        self.assertEqual(ended.stdout, "")
        return ended.returncode, ended.stderr

    def test_all_tests_run_once_and_nothing_else_is_printed(self) -> None:
        """A line before, dots, the number of tests, OK; not what is logged."""
        code, report = self.report(one=PASSING, two=PASSING)
        self.assertEqual(code, 0, report)
        self.assertRegex(
            report, r"\A[^\n]+--test-all[^\n]+\n\.{8}\n-+\nRan 8 tests in [0-9.]+s\n\nOK\n\Z"
        )

    def test_each_failure_is_reported_with_its_name_and_reason(self) -> None:
        """Failures, errors, parts of a test, fixtures, and modules that cannot be imported."""
        code, report = self.report(one=PASSING, two=FAILING, three="import nonsense")
        self.assertEqual(code, 1, report)
        for kind, name, why in (
            ("FAIL", "test_failure (test_two.Failing", "AssertionError: so it is"),
            ("ERROR", "test_error (test_two.Failing", "ZeroDivisionError"),
            ("FAIL", "test_parts (test_two.Failing", "AssertionError: 1 == 1"),
            ("ERROR", "setUpClass (test_two.Fixture)", "OSError: nothing to stand on"),
            ("ERROR", "test_three", "No module named 'nonsense'"),
        ):
            told = rf"(?s)\n{kind}: {re.escape(name)}(?:(?!\n=====).)*{re.escape(why)}"
            self.assertRegex(report, told)
        self.assertRegex(report.splitlines()[-1], r"\AFAILED \(failures=2, errors=[0-9]\)\Z")

    def test_a_process_that_ends_in_the_middle_is_an_error(self) -> None:
        """Even if it says that all is well: its test is named, and others run what is left."""
        silent = """
import os
from unittest import TestCase
class Silent(TestCase):
    def test_it(self): os._exit(0)
"""
        code, report = self.report(one=PASSING, two=silent)
        self.assertEqual(code, 1, report)
        self.assertRegex(
            report, r"ERROR: test_it \(test_two\.Silent[^\n]+\n-+\n[^\n]* ended with code 0\n"
        )
        self.assertIn("\nRan 5 tests", report)

    def test_no_test_at_all_is_an_error(self) -> None:
        """Where there is none, and where each is skipped."""
        skipped = PASSING.replace("class", "import unittest\n@unittest.skip('no')\nclass")
        for modules in ({}, {"one": skipped}):
            with self.subTest(modules=modules):
                code, report = self.report(**modules)
                self.assertEqual(code, 1, report)
                self.assertIn("\nno test has run\n", report)
