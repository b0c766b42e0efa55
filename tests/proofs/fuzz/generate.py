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


def make(seed: int, number: int, known: Known, only: str | None = None) -> Case:
    """The case of this number; ``only`` of one kind."""
    random = Random(f"{seed}:{number}")
    rows = [row for kind, rows in MAKERS.items() if only in (None, kind) for row in rows]
    makers, weights = zip(*rows, strict=True)
    return random.choices(makers, weights)[0](random, known)
