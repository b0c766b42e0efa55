"""Names of parameters: near misses, and names that are near none."""

from collections.abc import Callable, Collection
from random import Random

_FOLDED = {"s": "\u017f", "k": "\u212a"}
"""Letters that fold to these, and are others: the long s, and the sign of kelvin."""

UNKNOWN = (
    *("foo", "state", "redirect_uri", "grant_type", "scope", "nonce", "x", "_", "utm_source", "q"),
    *("response_mode", "1234567", "ünbekannt", "日本", "a[b]", "code.verifier"),
)
"""Names that plain clients send, and that are near none of ours."""


def _upper(random: Random, name: str) -> str:
    return random.choice((name.upper(), name.title(), name.swapcase()))


def _one_upper(random: Random, name: str) -> str:
    at = random.randrange(len(name))
    return name[:at] + name[at].upper() + name[at + 1 :]


def _brackets(random: Random, name: str) -> str:
    return name + random.choice(("[]", "[0]", "[sub]", "[ ]", "[][]"))


def _spaces(random: Random, name: str) -> str:
    return random.choice((f" {name}", f"{name} ", f"\t{name}", f"{name}\n", f" {name} "))


def _wide(random: Random, name: str) -> str:
    """A letter that NFKC makes the right one."""
    at = random.choice([index for index, letter in enumerate(name) if letter.isalpha()])
    return name[:at] + chr(ord(name[at]) + 0xFEE0) + name[at + 1 :]


def _accented(random: Random, name: str) -> str:
    """A letter with an accent, or an octet of no width in between."""
    at = random.randrange(1, len(name))
    return name[:at] + random.choice(("\u0301", "\u200b", "\u200d", "\ufeff")) + name[at:]


def _punctuated(random: Random, name: str) -> str:
    """As other tools write it."""
    ways = ("{}.", "{}.x", "-{}", "--{}", '"{}"', "'{}'", "${}", "{}:", "{}[x][y]", "({})", "?{}")
    return random.choice(ways).format(name)


def _folded(random: Random, name: str) -> str:
    places = [index for index, letter in enumerate(name) if letter in _FOLDED]
    if not places:
        return _upper(random, name)
    at = random.choice(places)
    return name[:at] + _FOLDED[name[at]] + name[at + 1 :]


def _delete(random: Random, name: str) -> str:
    at = random.randrange(len(name))
    return name[:at] + name[at + 1 :]


def _insert(random: Random, name: str) -> str:
    at = random.randrange(len(name) + 1)
    return name[:at] + random.choice("aesx_-1") + name[at:]


def _change(random: Random, name: str) -> str:
    at = random.randrange(len(name))
    return name[:at] + random.choice("qzj7") + name[at + 1 :]


def _swap(random: Random, name: str) -> str:
    at = random.choice([i for i in range(len(name) - 1) if name[i] != name[i + 1]])
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]


def _both(random: Random, name: str) -> str:
    """A wrong letter, and a wrong case or a bracket."""
    return random.choice((_upper, _brackets, _spaces))(random, _delete(random, name))


Way = Callable[[Random, str], str]
_FOR_ALL: tuple[Way, ...] = (
    _upper,
    _one_upper,
    _brackets,
    _spaces,
    _wide,
    _folded,
    _accented,
    _punctuated,
)
_FOR_LONG: tuple[Way, ...] = (_delete, _insert, _change, _swap, _both)
_LONG = 5
"""Letters of a name of which one may be wrong."""


def misspell(random: Random, name: str, known: Collection[str]) -> tuple[str, str]:
    """A near miss of a name that is no other known name, and how it was made."""
    ways = _FOR_ALL + (_FOR_LONG if len(name) >= _LONG else ())
    while True:
        way = random.choice(ways)
        missed = way(random, name)
        if missed not in known and missed:
            return missed, way.__name__.strip("_")
