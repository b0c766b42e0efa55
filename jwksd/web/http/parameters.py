"""Parameters of a request: from the query, a form body, or a JSON object body.

1. In query and form, names that are not known are ignored, as plain clients expect (RFC 6749 §3.2),
   unless one was probably meant for a known one. In a JSON body they are refused by name.
2. ``null`` is absent. Once more the same value is no conflict, wherever and however it is written;
   another value is.
3. ``username`` and ``password`` are ignored everywhere: so do plain clients log in.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request

from jwksd.errors import InvalidParameter, UnsupportedMediaType
from jwksd.jose.jsontext import BadJson, NotJson, parse, same, shown
from jwksd.web.http.bodies import (
    FORM,
    JSON,
    MAX_BODY,
    MAX_FIELDS,
    MULTIPART,
    Body,
    Field,
    field_text,
    form_fields,
    multipart_fields,
    read_body,
)
from jwksd.web.http.names import did_you_mean, meant
from jwksd.web.http.values import Parameter, Read

Table = Mapping[str, Parameter]
"""The parameters of a resource by name."""

Parameters = dict[str, Any]
"""What was given, by name, each as its function in ``values`` returns it."""

_Given = tuple[str, object, Read]

_CREDENTIALS = frozenset({"username", "password"})
_READABLE = f"{JSON}, {FORM} and {MULTIPART}"
_LIKE_FORM = re.compile(rb"[A-Za-z_]{1,40}=")
_BEHIND_ANOTHER = re.compile(rb"[;?,\s]([^=;?,\s]{1,200})=")
_ON_ANOTHER_LINE = re.compile(rb"[\r\n]([^=\r\n]{1,200})=")


def read_parameters(request: Request, table: Table) -> Parameters:
    """Return the parameters of a request by name, from its query and its body.

    Raises:
        ContentTooLarge: the body is larger than ``MAX_BODY`` octets.
        InvalidParameter: a part cannot be read, a name is unknown in a JSON body or misspelt
            elsewhere, a value is not allowed, or a name is given twice with different values.
        UnsupportedMediaType: there is a body of a type that is not read.
    """
    given = _from_form(_query(request), "query", table)
    body = read_body(request)
    if body.octets:
        given += _from_body(body, table)
    return _typed(given)


def read_form(request: Request, most: int = MAX_BODY) -> list[tuple[str, str]]:
    """Return the fields of an urlencoded body, in order, without the query (RFC 6749 §3.2).

    Raises:
        ContentTooLarge: the body is larger than ``most`` octets.
        InvalidParameter: it cannot be read, or is JSON.
        UnsupportedMediaType: it is no urlencoded form.
    """
    body = read_body(request, most)
    if body.octets and body.media_type != FORM:
        named = body.media_type or "untyped"
        raise UnsupportedMediaType(f"the body must be {FORM}, not {named}")
    if body.hint:
        raise InvalidParameter(
            f"the body is JSON; it must be {FORM}, as its Content-Type says, such as name=value"
        )
    return [
        (name, field_text(name, value, ascii_only=body.charset is not None))
        for name, value in form_fields(body.octets, "form body")
    ]


def _query(request: Request) -> bytes:
    return request.uri.partition(b"?")[2]


def _from_body(body: Body, table: Table) -> list[_Given]:
    if body.media_type == JSON:
        return _from_json(body.octets, table)
    if body.media_type not in (FORM, MULTIPART):
        raise UnsupportedMediaType(
            f"a body {body.described} cannot be read; {_READABLE} can{body.hint}"
        )
    if body.hint:
        raise InvalidParameter(f"the body is {body.described}{body.hint}")
    ascii_only = body.charset is not None
    if body.media_type == FORM:
        return _from_form(body.octets, "form body", table, ascii_only=ascii_only)
    return _from_fields(multipart_fields(body), table, ascii_only=ascii_only)


def _from_json(octets: bytes, table: Table) -> list[_Given]:
    try:
        members = parse(octets, "the body")
    except NotJson as error:
        raise InvalidParameter(f"{error}{_form_hint(octets)}") from None
    except BadJson as error:
        raise InvalidParameter(str(error)) from None
    if not isinstance(members, dict):
        raise InvalidParameter(
            f"the JSON body must be an object, such as {{}}, not {shown(members)}"
        )
    unknown = sorted(members.keys() - table.keys() - _CREDENTIALS)
    if unknown:
        raise InvalidParameter(
            f"unknown {_list(unknown)} in the JSON body{did_you_mean(unknown[0], table)};"
            f" it may have {_list(sorted(table))}"
        )
    return [
        (name, value, table[name].from_json)
        for name, value in members.items()
        if name in table and value is not None
    ]


def _form_hint(octets: bytes) -> str:
    """Return what to do about a form that says that it is JSON."""
    return f"; it looks like a form: send Content-Type: {FORM}" if _LIKE_FORM.match(octets) else ""


def _from_form(form: bytes, where: str, table: Table, *, ascii_only: bool = False) -> list[_Given]:
    if not form:
        return []
    given = _from_fields(form_fields(form, where), table, ascii_only=ascii_only)
    _check_separators(form, table)
    return given


def _check_separators(form: bytes, table: Table) -> None:
    """Refuse a parameter that another character than ``&`` would make part of an ignored one.

    However many names there are in a form, so many as a form may have are looked at for spelling.
    """
    found = dict(pair for piece in form.split(b"&") for pair in _behind_another(piece, table))
    for count, (behind, name) in enumerate(found.items()):
        if behind in table or (count < MAX_FIELDS and meant(behind, table)):
            raise InvalidParameter(f"{behind:.60} stands behind {name:.60}: & separates parameters")


def _behind_another(piece: bytes, table: Table) -> Iterator[tuple[str, str]]:
    """Return what looks like names in the value of an ignored field, each with the field's name.

    A password may have any character but a line break, which no client sends as it is.
    """
    name = _name(piece.partition(b"=")[0])
    if name not in table:
        pattern = _ON_ANOTHER_LINE if name in _CREDENTIALS else _BEHIND_ANOTHER
        for match in pattern.finditer(piece):
            yield _name(match[1]), name


def _name(octets: bytes) -> str:
    return unquote_to_bytes(octets).decode("utf-8", "replace")


def _from_fields(fields: Iterable[Field], table: Table, *, ascii_only: bool) -> list[_Given]:
    given: list[_Given] = []
    for name, octets in fields:
        if name in table:
            value = field_text(name, octets, ascii_only=ascii_only)
            given.append((name, value, table[name].from_text))
        elif name not in _CREDENTIALS and (question := did_you_mean(name, table)):
            raise InvalidParameter(f"{shown(name)} is no parameter{question}")
    return given


def _typed(given: Iterable[_Given]) -> Parameters:
    by_name: dict[str, list[_Given]] = {}
    for one in given:
        by_name.setdefault(one[0], []).append(one)
    return {name: _agreed(name, values) for name, values in by_name.items()}


def _agreed(name: str, given: list[_Given]) -> object:
    """Return the one value that is given, be it written in several ways."""
    values = [value for _, value, _ in given]
    try:
        values = [read(name, value) for _, value, read in given]
    except InvalidParameter:
        if _all_same(values):
            raise
    if not _all_same(values):
        raise InvalidParameter(f"{name} is given twice with different values; give it once")
    return values[0]


def _all_same(values: list[object]) -> bool:
    return all(same(values[0], value) for value in values[1:])


def _list(names: Iterable[str]) -> str:
    return ", ".join(shown(name) for name in names)
