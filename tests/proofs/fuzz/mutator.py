"""The mutator: octets flipped, taken out, put in, cut, doubled, and spliced with others."""

from collections.abc import Callable, Sequence
from random import Random

_DICTIONARY = (
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b"\xff",
        b"\xef\xbb\xbf",
        b"%",
        b"%00",
    ),
    *(b"[", b"]", b"{", b"}", b'"', b"\\", b"\\ud800", b"1e999", b"-", b"0", b",", b"=", b"&"),
    *(
        b"NaN",
        b"null",
        b"true",
        b".",
        b"..",
        b";",
        b"#",
        b"?",
        b"\x7f",
        b"\xc0\x80",
        b"\xed\xa0\x80",
    ),
)


def _flip(random: Random, octets: bytes, others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(octets))
    return octets[:at] + bytes([octets[at] ^ (1 << random.randrange(8))]) + octets[at + 1 :]


def _replace(random: Random, octets: bytes, others: Sequence[bytes]) -> bytes:
    at, width = random.randrange(len(octets)), random.randint(0, 3)
    return octets[:at] + random.choice(_DICTIONARY) + octets[at + width :]


def _delete(random: Random, octets: bytes, others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(octets))
    return octets[:at] + octets[at + random.randint(1, 8) :]


def _cut(random: Random, octets: bytes, others: Sequence[bytes]) -> bytes:
    return octets[: random.randrange(len(octets))]


def _double(random: Random, octets: bytes, others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(octets))
    part = octets[at : at + random.randint(1, 40)]
    return octets[:at] + part * random.randint(2, 30) + octets[at:]


def _splice(random: Random, octets: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others) if others else octets
    return octets[: random.randrange(len(octets))] + other[random.randrange(len(other) or 1) :]


_WAYS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip,
    _replace,
    _delete,
    _cut,
    _double,
    _splice,
)


def mutate(random: Random, octets: bytes, others: Sequence[bytes] = ()) -> tuple[bytes, str]:
    """The octets, changed once to thrice; and how they were changed at last."""
    how = "empty"
    for _ in range(random.randint(1, 3)):
        if octets:
            way = random.choice(_WAYS)
            octets, how = way(random, octets, others), way.__name__.strip("_")
    return octets, how
