"""The case with a seed and a number: the same one each time, whichever was made before."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from tests.proofs.fuzz import bodies, parameters, raw, tokens
from tests.proofs.fuzz.case import Case, Known

Maker = Callable[[Random, Known], Case]

MAKERS: Mapping[str, tuple[tuple[Maker, int], ...]] = MappingProxyType(
    {
        "bodies": ((bodies.body, 25),),
        "parameters": ((parameters.auth, 30), (parameters.token, 6), (parameters.dev, 6)),
        "tokens": ((tokens.introspected, 13),),
        "raw": ((raw.raw, 20),),
    }
)
"""What makes cases of each kind, and how often."""


_ROWS = [(kind, *row) for kind, rows in MAKERS.items() for row in rows]
_WEIGHTS = [row[2] for row in _ROWS]


def make(seed: int, number: int, known: Known, only: str | None = None) -> Case | None:
    """The case of this number, or None where it is not of the ``only`` kind."""
    random = Random(f"{seed}:{number}")
    kind, maker, _ = random.choices(_ROWS, _WEIGHTS)[0]
    return maker(random, known) if only in (None, kind) else None
