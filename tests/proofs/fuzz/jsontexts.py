"""JSON: values that are right as claims, their texts in many spellings, and texts that are none."""

import json
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

from tests.proofs.fuzz.case import chance

NAMES = (
    "roles",
    "Name",
    "Email",
    "groups",
    "http://x.example/y",
    "a.b",
    "",
    "ünï",
    "日本",
    "\U0001f511",
)
_TEXTS = (
    "",
    "x",
    "alice",
    "ß",
    "𝄞",
    "a\nb",
    '"\\/',
    "\0",
    "\x7f",
    "\u2028",
    "null",
    "%s",
    "é" * 40,
)

DEEPEST, TOO_DEEP = 50, 70
"""Levels that are read everywhere, and that are read nowhere; the bound lies between."""


def value(random: Random, depth: int = 3) -> Any:
    """Any JSON value that is no trouble."""
    chosen = random.random()
    if depth and chosen < 0.2:
        return [value(random, depth - 1) for _ in range(random.randint(0, 4))]
    if depth and chosen < 0.4:
        return {name(random): value(random, depth - 1) for _ in range(random.randint(0, 3))}
    if chosen < 0.6:
        return random.choice(_TEXTS)
    if chosen < 0.8:
        return _number(random)
    return random.choice((True, False, None))


def name(random: Random) -> str:
    """A name that no RFC knows."""
    return random.choice(NAMES) if chance(random, 0.7) else f"n{random.randrange(1000)}"


def _number(random: Random) -> int | float:
    return random.choice(
        (
            random.randrange(-10, 10**6),
            random.randrange(10 ** random.randint(1, 90)),
            random.uniform(-1e3, 1e3),
            random.choice((0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e15, 1e22, 2**53 + 1)),
        )
    )


def deep(levels: int, random: Random) -> str:
    """A text with so many levels."""
    if chance(random, 0.5):
        return "[" * levels + "]" * levels
    return '{"a":' * levels + "1" + "}" * levels


def levels(random: Random) -> int:
    """Too many; most often about as many as Python's own bound lets through."""
    return random.choice((TOO_DEEP, 200, 5000, *(random.randint(935, 995) for _ in range(5))))


def spell(random: Random, members: Any) -> str:
    """One of the texts of a value: white space and escapes differ."""
    return json.dumps(
        members,
        ensure_ascii=chance(random, 0.5),
        indent=random.choice((None, None, None, 0, 2, "\t")),
        separators=random.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:\r\n "))),
    )


Bad = Callable[[Random, str], bytes]


def _with(member: str) -> Bad:
    """Put a member into ``claims`` of an object text."""
    return lambda random, text: f'{{"claims":{{"x":{member}}}}}'.encode("utf-8", "surrogatepass")


def _octets(make: Callable[[str], bytes]) -> Bad:
    return lambda random, text: make(text)


BAD_TEXTS: Mapping[str, Bad] = MappingProxyType(
    {
        "too deep": lambda random, text: _with(deep(levels(random), random))(random, text),
        "not finite": lambda random, text: _with(
            random.choice(
                ("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" + "0" * 400 + ".0")
            )
        )(random, text),
        "long integer": lambda random, text: _with(
            random.choice(("", "-")) + "1" * random.choice((120, 4400, 10_000))
        )(random, text),
        "lone surrogate": lambda random, text: _with(
            random.choice(('"\\ud800"', '"\\udc00x"', '{"\\udfff":1}', '"\\ud800\\ud800"'))
        )(random, text),
        "twice, different": lambda random, text: random.choice(
            (
                b'{"lifetime":1,"lifetime":2}',
                b'{"claims":{"x":1,"x":true}}',
                b'{"claims":{"x":0,"\\u0078":false}}',
                b'{"claims":{"a":[{"b":1,"b":2}]}}',
                b'{"expired":true,"expired":false}',
            )
        ),
        "not UTF-8": lambda random, text: _with('"%s"')(random, text).replace(
            b"%s",
            random.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe9", b"\xf5\x80\x80\x80")),
        ),
        "UTF-16": _octets(lambda text: text.encode("utf-16-le")),
        "UTF-32": _octets(lambda text: text.encode("utf-32-be")),
        "UTF-16 with BOM": _octets(lambda text: text.encode("utf-16")),
        "two BOMs": _octets(lambda text: b"\xef\xbb\xbf\xef\xbb\xbf" + text.encode()),
        "cut": _octets(lambda text: text.rstrip()[:-1].encode()),
        "more behind": lambda random, text: (
            text.encode() + random.choice((b"x", b"{}", b"]", b",", b"\0", b"//"))
        ),
        "not JSON": lambda random, text: random.choice(
            (
                b"{'lifetime':1}",
                b"{lifetime:1}",
                b'{"lifetime":1,}',
                b'{"lifetime":01}',
                b'{"lifetime":+1}',
                b'{"claims":{"x":.5}}',
                b'{"claims":{"x":1.}}',
                b'{"lifetime":0x10}',
                b'{"claims":{"x":"\t"}}',
                b'{"claims":{"x":"\\x41"}}',
                b'/**/{"lifetime":1}',
                b'{"expired":True}',
                b'{"expired":undefined}',
                b"expired=true",
                b"{",
                b"  ",
                b"\xef\xbb\xbf",
            )
        ),
        "no object": lambda random, text: random.choice(
            (b"[]", b'"x"', b"1", b"null", b"true", b'[{"lifetime":1}]', b'"{}"')
        ),
    }
)
"""Bodies for ``POST /auth`` that are no JSON object which a server may take, by their names."""
