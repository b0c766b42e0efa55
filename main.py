"""Run jwksd from a checkout: ``python main.py [options]``, or ``python main.py --test``."""

import os
import sys
import unittest
from importlib.util import find_spec
from pathlib import Path

from jwksd.cli import serve

TEST_MODULES = (
    *("alembic", "psycopg", "sqlalchemy"),
    *("authlib", "httplint", "hypothesis", "jose", "joserfc", "jwt"),
)


def self_test(arguments: list[str]) -> None:
    """Run the tests; further arguments go to unittest. Exits with 0 only if all pass."""
    missing = [name for name in TEST_MODULES if find_spec(name) is None]
    if missing:
        sys.exit(f"the tests need {', '.join(missing)}: python -m pip install -e '.[test]'")
    os.chdir(Path(__file__).parent)
    unittest.main(module=None, argv=["main.py --test", *arguments])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--test"]:
        self_test(sys.argv[2:])
    else:
        serve(sys.argv[1:])
