"""The values of parameters: each function reads one, or says which would be right.

The functions take the name of the parameter, for what they say, and what was given: a value of JSON
from a JSON body, text from a query or a form.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from jwksd.errors import InvalidParameter
from jwksd.jose.jsontext import BadJson, NotJson, parse_object, shown

Read = Callable[[str, object], object]


@dataclass(frozen=True, slots=True)
class Parameter:
    """How the value of a parameter is read: from JSON, and from text."""

    from_json: Read
    from_text: Read


def plain(read: Read) -> Parameter:
    """Return a parameter whose text is read as its JSON is."""
    return Parameter(read, read)


def text(name: str, value: object) -> str:
    """Return a text as it is."""
    if isinstance(value, str):
        return value
    raise InvalidParameter(f"{name} must be a string, not {shown(value)}")


def seconds(name: str, value: object) -> int:
    """Return a JSON integer, or its text in decimal digits."""
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    raise InvalidParameter(f"{name} must be a whole number of seconds, not {shown(value)}")


def number(low: float, high: float) -> Callable[[str, object], float]:
    """Return a function that reads a number in this range, or its text in decimal digits."""

    def read(name: str, value: object) -> float:
        found = _decimal(value)
        if found is None or not low <= found <= high:
            detail = f"{name} must be a number from {low} to {high}, not {shown(value)}"
            raise InvalidParameter(detail)
        return found

    return read


def whole(low: int, high: int) -> Callable[[str, object], int]:
    """Return a function that reads a whole number in this range, or its text in decimal digits."""

    def read(name: str, value: object) -> int:
        found = _decimal(value)
        if found is None or not low <= found <= high or not found.is_integer():
            detail = f"{name} must be a number from {low} to {high}, and whole, not {shown(value)}"
            raise InvalidParameter(detail)
        return int(found)

    return read


def json_object(name: str, value: object) -> dict[str, object]:
    """Return the members of a JSON object."""
    if isinstance(value, dict):
        return value
    raise InvalidParameter(f"{name} must be a JSON object, not {shown(value)}")


def object_text(name: str, value: object) -> dict[str, object]:
    """Return the members of a JSON object that is given as its text."""
    try:
        return parse_object(text(name, value), name)
    except NotJson as error:
        raise InvalidParameter(f"{error}; send the text of a JSON object, such as {{}}") from None
    except BadJson as error:
        raise InvalidParameter(str(error)) from None


def only_json(name: str, value: object) -> NoReturn:
    """Refuse text: this parameter is read from a JSON body only."""
    raise InvalidParameter(f"{name} must be a JSON object, in a JSON body, not {shown(value)}")


def _decimal(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value):
        return float(value)
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]
