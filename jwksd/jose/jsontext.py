"""JSON from outside, read in one way wherever it comes from (RFC 8259, RFC 7493).

The rules of the reader:
1. It takes UTF-8 alone, and one byte order mark at the start, which a token may not have.
2. Depth, the digits of integers, and the size of numbers are bounded: no text costs more than its
   length, and what was read can be written again.
3. A member that is given twice must have the same value; in a token it may not be given twice at
   all (RFC 7515 §4, RFC 7519 §4).
4. Whatever is wrong is a ``BadJson`` with a plain sentence; no text raises anything else.
"""

import json
import re
from collections import Counter
from math import isfinite
from typing import NoReturn

MAX_DEPTH = 64
"""Levels of arrays and objects, one in another."""

MAX_DIGITS = 100
"""Digits of an integer. Python's own bound is 4,300, and may be set to none."""

Members = dict[str, object]
_Pairs = list[tuple[str, object]]

_canonical = json.JSONEncoder(sort_keys=True, allow_nan=False).encode

_BOM = "\ufeff"
_SHOWN = 60
# Whole or cut off. Possessive, so that no text takes more than one pass.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(octet for octet in range(256) if octet not in b"[]{}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadJson(ValueError):
    """The text is not JSON, or none that is read here. The message is a sentence for the client."""


class NotJson(BadJson):
    """The text is no JSON at all, but may be something else that was meant."""


class _Refused(ValueError):
    """The text is JSON, but has what is not taken."""


def parse(source: bytes | str, what: str, *, token: bool = False) -> object:
    """Return the value of a JSON text.

    Args:
        what: what the text is, such as "the body": the subject of what is said in an error.
        token: whether it is the header or the payload of a token.

    Raises:
        BadJson: it breaks a rule of this module.
        NotJson: it cannot be read.
    """
    text = _decoded(source, what)
    if not token:
        text = text.removeprefix(_BOM)
    try:
        _check_depth(text)
        hook = _each_once if token else _each_value_once
        value = json.loads(
            text,
            object_pairs_hook=hook,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_no_constant,
        )
        _check_characters(text, value)
    except _Refused as error:
        raise BadJson(f"{what} is not JSON that is read here: {error}") from None
    except ValueError as error:
        raise NotJson(f"{what} is not JSON: {error}") from None
    return value


def parse_object(source: bytes | str, what: str, *, token: bool = False) -> Members:
    """Return the members of a JSON object; ``parse`` has the arguments.

    Raises:
        BadJson: as ``parse`` does; or it is something else than an object.
    """
    value = parse(source, what, token=token)
    if not isinstance(value, dict):
        raise BadJson(f"{what} must be a JSON object such as {{}}, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """Return a value as JSON writes it, on one line, and cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def same(one: object, other: object) -> bool:
    """Return whether two JSON values are equal; 1 and true are equal in Python, not in JSON."""
    return one is other or _canonical(one) == _canonical(other)


def _decoded(source: bytes | str, what: str) -> str:
    try:
        octets = source.encode("utf-8") if isinstance(source, str) else source
        text = octets.decode("utf-8")
    except UnicodeError:
        raise BadJson(f"{what} is not UTF-8 (RFC 8259 §8.1)") from None
    if "\0" in text:
        raise BadJson(f"{what} is not JSON: it has NUL octets, as UTF-16 has; send UTF-8")
    return text


def _check_depth(text: str) -> None:
    """Refuse what the parser would follow deeper than ``MAX_DEPTH``, without following it."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(text):
        raise _Refused(f"it is nested too deeply, over {MAX_DEPTH} levels")


def _is_too_deep(text: str) -> bool:
    """Take away the innermost brackets again and again; say if some are left, or never closed."""
    brackets = _STRING.sub("", text).encode("utf-8").translate(_ONE_KIND, _NO_BRACKETS)
    levels = 0
    while b"[]" in brackets and levels < MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")
        levels += 1
    return b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH


def _check_characters(text: str, value: object) -> None:
    """Refuse half a surrogate pair, which no text has (RFC 7493 §2.1)."""
    if _SURROGATE.search(text) is None:
        return
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise _Refused(f"{half}, half of a surrogate pair, is no character (RFC 7493)") from None


def _integer(digits: str) -> int:
    count = len(digits.lstrip("-"))
    if count > MAX_DIGITS:
        raise _Refused(f"{digits[:20]}… has {count} digits, and at most {MAX_DIGITS} are read")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise _Refused(f"{text[:20]} is larger than any number that is read (RFC 8259 §6)")
    return number


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no JSON number (RFC 8259 §6)")


def _each_once(pairs: _Pairs) -> Members:
    members = dict(pairs)
    if len(members) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _Refused(f"{name:.60} is given twice (RFC 7515 §4)")
    return members


def _each_value_once(pairs: _Pairs) -> Members:
    members = dict(pairs)
    if len(members) < len(pairs):
        for name, value in pairs:
            if not same(value, members[name]):
                raise _Refused(f"{name:.60} is given twice with different values; give it once")
    return members
