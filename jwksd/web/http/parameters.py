"""Parameters of a request: from the query, a form body, or a JSON object body.

In query and form, names that we do not know are ignored, as plain clients expect (RFC 6749 §3.2).
In a JSON body they are refused by name. A name given twice with different values is refused.
"""

import json
from collections.abc import Iterable
from io import BytesIO
from typing import NoReturn
from urllib.parse import parse_qsl

from twisted.web.server import Request

from jwksd.errors import ContentTooLarge, InvalidParameter, UnsupportedMediaType
from jwksd.web.http.resource import header

Parameters = dict[str, object]
Pairs = Iterable[tuple[str, object]]

MAX_BODY = 65_536
"""Octets of a request body. The largest sensible claims set is far smaller."""

MAX_LONG_BODY = 131_072
"""Octets of a body that holds a token: the longest that is signed, and room for other fields."""

_MAX_FIELDS = 100
_READABLE = "application/json, application/x-www-form-urlencoded and multipart/form-data"


def read_body(request: Request, most: int = MAX_BODY) -> bytes:
    """Return the whole body.

    Raises:
        ContentTooLarge: it is larger than ``most`` octets, of which there are ``MAX_LONG_BODY``.
    """
    assert request.content is not None  # noqa: S101  # only until all headers are in
    body: bytes = request.content.read(most + 1)
    if len(body) > most:
        raise ContentTooLarge(f"the body is larger than the {most} octets that are read")
    return body


def read_parameters(request: Request, known: frozenset[str]) -> Parameters:
    """Return the known parameters of a request by name, from its query and its body.

    From query and form the values are strings; from a JSON body they are what JSON has.

    Raises:
        ContentTooLarge: the body is larger than ``MAX_BODY`` octets.
        InvalidParameter: a part cannot be read, a name is unknown in a JSON body, or a name is
            given twice with different values.
        UnsupportedMediaType: there is a body of a type that we do not read.
    """
    parameters: Parameters = {}
    _merge(parameters, _form_pairs(_query(request), "query", known))
    body = read_body(request)
    if body:
        _merge(parameters, _read_body(header(request, b"content-type"), body, known))
    return parameters


def read_form(request: Request, most: int = MAX_BODY) -> list[tuple[str, str]]:
    """Return the fields of an urlencoded body, in order, without the query (RFC 6749 §3.2).

    Raises:
        ContentTooLarge: the body is larger than ``most`` octets.
        InvalidParameter: it cannot be read.
        UnsupportedMediaType: it is no urlencoded form.
    """
    body = read_body(request, most)
    media_type = _media_type(header(request, b"content-type"))
    if body and media_type != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType(
            f"the body must be application/x-www-form-urlencoded, not {media_type or 'untyped'}"
        )
    return _form_pairs(body, "form body")


def _query(request: Request) -> bytes:
    return request.uri.partition(b"?")[2]


def _merge(parameters: Parameters, pairs: Pairs) -> None:
    for name, value in pairs:
        if name in parameters and not _same(parameters[name], value):
            raise InvalidParameter(f"{name:.60} is given twice with different values; give it once")
        parameters[name] = value


def _same(one: object, other: object) -> bool:
    """Return whether two JSON values are equal; 1 and true are equal in Python, not in JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _read_body(content_type: bytes, body: bytes, known: frozenset[str]) -> Pairs:
    media_type = _media_type(content_type)
    if media_type == "application/json":
        return _read_json(body, known)
    if media_type == "application/x-www-form-urlencoded":
        return _form_pairs(body, "form body", known)
    if media_type == "multipart/form-data":
        return _multipart_pairs(body, content_type.decode("latin-1"), known)
    named = f"of type {media_type}" if media_type else "without a Content-Type"
    raise UnsupportedMediaType(f"a body {named} cannot be read; {_READABLE} can")


def _media_type(content_type: bytes) -> str:
    text = content_type.decode("ascii", "backslashreplace")
    return text.partition(";")[0].strip().lower()[:100]


def _form_pairs(
    form: bytes, where: str, known: frozenset[str] | None = None
) -> list[tuple[str, str]]:
    """Return the known fields of an urlencoded form; others are ignored, whatever their octets."""
    # As Latin-1 every octet becomes one character, so that the octets can be restored.
    text = form.decode("latin-1")
    try:
        fields = parse_qsl(
            text, keep_blank_values=True, encoding="latin-1", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise InvalidParameter(f"the {where} has more than {_MAX_FIELDS} fields") from None
    pairs = []
    for latin_name, value in fields:
        name = latin_name.encode("latin-1").decode("utf-8", "backslashreplace")
        if known is None or name in known:
            pairs.append((name, _utf8(name, value.encode("latin-1"))))
    return pairs


def _multipart_pairs(
    body: bytes, content_type: str, known: frozenset[str]
) -> list[tuple[str, str]]:
    # Imported here: few clients send this, and the import would slow every start.
    from multipart import MultipartError, MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get("boundary", "")
    try:
        parser = MultipartParser(BytesIO(body), boundary, part_limit=_MAX_FIELDS)
        parts = [part for part in parser if part.name in known]
    except (MultipartError, LookupError, ValueError) as error:
        raise InvalidParameter(f"the multipart body cannot be read: {error}") from None
    return [(part.name, _utf8(part.name, part.raw)) for part in parts]


def _utf8(name: str, octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidParameter(f"{name:.60} is not UTF-8; percent-encode UTF-8 octets") from None


def _read_json(body: bytes, known: frozenset[str]) -> Pairs:
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise InvalidParameter("the JSON body is not UTF-8 (RFC 8259 §8.1)") from None
    except RecursionError:
        raise InvalidParameter("the JSON body is nested too deeply") from None
    except ValueError as error:
        raise InvalidParameter(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidParameter("the JSON body must be an object, such as {}")
    unknown = sorted(set(value) - known)
    if unknown:
        raise InvalidParameter(
            f"unknown {_list(unknown)} in the JSON body; it may have {_list(sorted(known))}"
        )
    return value.items()


def _unique(pairs: list[tuple[str, object]]) -> Parameters:
    members: Parameters = {}
    _merge(members, pairs)
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number (RFC 8259 §6)")


def _list(names: Iterable[str]) -> str:
    return ", ".join(json.dumps(name[:60]) for name in names)
