"""How much the tests do: what is quick by default, everything with ``main.py --test-all``.

The environment variable ``JWKSD_TEST_ALL`` says so to every process of the tests, and to ``trial``.
"""

import os
from typing import TypeVar

T = TypeVar("T")

EVERYTHING = os.environ.get("JWKSD_TEST_ALL", "") not in ("", "0")
"""Whether tests may take minutes."""


def pick(quick: T, everything: T) -> T:
    """The one or the other, by how much the tests are to do."""
    return everything if EVERYTHING else quick
