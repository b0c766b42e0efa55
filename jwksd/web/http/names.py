"""Which known name a client probably meant by one that it misspelt: a pure function.

Unknown names in a query or a form are ignored, as plain clients expect. One that was meant for a
known one is not: who asks for ``Expired=true`` would take a good token for an expired one.
"""

import re
from collections.abc import Iterable
from unicodedata import category, normalize

_WORD = re.compile(r"\w[\w-]*")
_LONG = 5
"""Letters of a name from which on one may be wrong; in shorter ones that would be another word."""

_LONGEST = 60


def meant(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that this one is but for its spelling, or None.

    That is: but for case, compatible forms and accents, what stands around it or behind it in
    brackets or after a full stop, ``-`` and ``_``; and, in names of five letters or more, one
    letter that is left out, added or changed, or two neighbours that are swapped.
    """
    given = _skeleton(name)
    for right in known:
        letters = _skeleton(right)
        if given == letters or (len(letters) >= _LONG and _one_letter_apart(given, letters)):
            return right
    return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question to add to a refusal of this name, or nothing."""
    right = meant(name, known)
    return "" if right is None else f" (did you mean {right}?)"


def _skeleton(name: str) -> str:
    plain = normalize("NFKD", name[: 2 * _LONGEST]).casefold()
    letters = "".join(c for c in plain if category(c) not in ("Mn", "Cf", "Cc"))
    word = _WORD.search(letters)
    return word[0].replace("_", "").replace("-", "")[:_LONGEST] if word else ""


def _one_letter_apart(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    pairs = enumerate(zip(shorter, longer, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), len(shorter))
    short, long = shorter[same:], longer[same:]
    if len(short) < len(long):
        return short == long[1:]
    return short[1:] == long[1:] or (short[:2] == long[1::-1] and short[2:] == long[2:])
