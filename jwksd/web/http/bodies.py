"""The body of a request: of which type it is, and its fields. What is only half clear is refused.

Octets that another encoding, charset or media type than those that are read would make into other
parameters are never read as if they were right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request

from jwksd.errors import ContentTooLarge, InvalidParameter, UnsupportedMediaType
from jwksd.jose.jsontext import shown
from jwksd.web.http.resource import header

MAX_BODY = 65_536
"""Octets of a request body. The largest sensible claims set is far smaller."""

MAX_LONG_BODY = 262_144
"""Octets of a body that holds a token: the longest that is signed, and room for other fields."""

MAX_FIELDS = 100

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_LIKE_JSON = re.compile(rb"""\s*+(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*+['"]?(\{|\[\s*[\[{"])""")
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([^\s;\"']*)", re.IGNORECASE)
_NAME = re.compile(r";\s*name\*?\s*=", re.IGNORECASE)
_UTF8 = re.compile(r"utf-?8|(us-)?ascii", re.IGNORECASE)
_LIKE_ASCII = re.compile(r"iso-?8859-?[0-9]{1,2}|(windows-|cp)125[0-8]|latin-?1", re.I)
"""Charsets whose first 128 characters are those of ASCII; those of cp037 are not."""

Field = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Body:
    """The octets of a body, and its Content-Type: the media type in lower case, and as it came.

    ``charset`` is None where it is UTF-8; of any other, only the characters of ASCII are read.
    """

    octets: bytes
    media_type: str
    content_type: str
    charset: str | None = None

    @property
    def described(self) -> str:
        """What the body is, in words."""
        return f"of type {self.media_type}" if self.media_type else "without a Content-Type"

    @property
    def hint(self) -> str:
        """What to do about a body that looks like JSON, but does not say so."""
        octets = self.octets
        if self.media_type == FORM:
            octets = unquote_to_bytes(octets.replace(b"+", b" "))
        if self.media_type == JSON or _LIKE_JSON.match(octets) is None:
            return ""
        return f"; it looks like JSON: send Content-Type: {JSON}"


def read_body(request: Request, most: int = MAX_BODY) -> Body:
    """Return the whole body.

    Raises:
        ContentTooLarge: it is larger than ``most`` octets, of which there are ``MAX_LONG_BODY``.
        InvalidParameter: it has several types.
        UnsupportedMediaType: it is compressed, or in another charset than UTF-8.
    """
    assert request.content is not None  # noqa: S101  # only until all headers are in
    octets: bytes = request.content.read(most + 1)
    if len(octets) > most:
        raise ContentTooLarge(f"the body is larger than the {most} octets that are read")
    content_type = _content_type(request) if octets else ""
    media_type = content_type.partition(";")[0].strip().lower()[:100]
    body = Body(octets, media_type, content_type, _charset(content_type))
    if octets:
        _check_encoding(header(request, b"content-encoding"))
        _check_charset(body)
    return body


def form_fields(form: bytes, where: str) -> list[Field]:
    """Return the fields of an urlencoded form in order, percent-decoded.

    A name is text in any case: what is not UTF-8 in it is written with backslashes.

    Raises:
        InvalidParameter: there are too many.
    """
    pieces = form.split(b"&")
    if len(pieces) > MAX_FIELDS:
        raise InvalidParameter(f"the {where} has more than {MAX_FIELDS} fields")
    fields = []
    for piece in pieces:
        name, _, value = piece.replace(b"+", b" ").partition(b"=")
        if piece:
            text = unquote_to_bytes(name).decode("utf-8", "backslashreplace")
            fields.append((text, unquote_to_bytes(value)))
    return fields


def multipart_fields(body: Body) -> list[Field]:
    """Return the fields of a multipart form in order; those with a file name are fields too.

    Raises:
        InvalidParameter: it cannot be read, or a part has no name or several, or is
            encoded.
    """
    # Imported here: few clients send this, and the import would slow every start.
    from multipart import MultipartError, MultipartParser, parse_options_header

    boundary = parse_options_header(body.content_type)[1].get("boundary", "")
    try:
        parts = list(MultipartParser(BytesIO(body.octets), boundary, part_limit=MAX_FIELDS))
        _check_end(body.octets, boundary.encode("latin-1"))
    except (MultipartError, LookupError, ValueError) as error:
        raise InvalidParameter(f"the multipart body cannot be read: {error.args[0]}") from None
    for part in parts:
        _check_part(part.name, part.headerlist)
    return [(part.name, part.raw) for part in parts]


def field_text(name: str, octets: bytes, *, ascii_only: bool = False) -> str:
    """Return the text of a field, which is UTF-8, or ASCII where the body is in another charset.

    Raises:
        InvalidParameter: it is something else.
    """
    try:
        return octets.decode("ascii" if ascii_only else "utf-8")
    except UnicodeDecodeError:
        raise InvalidParameter(
            f"{name:.60} is not {'ASCII; send it in UTF-8' if ascii_only else 'UTF-8'};"
            " percent-encode UTF-8 octets"
        ) from None


def _check_part(name: str, headers: Sequence[tuple[str, str]]) -> None:
    if not name:
        raise InvalidParameter("a part has no name; each is a field, and needs one (RFC 7578 §4.2)")
    dispositions = [value for field, value in headers if field == "Content-Disposition"]
    if len(_NAME.findall("".join(dispositions))) > 1:
        raise InvalidParameter(f"a part has several names, {name:.60} among them; give it one")
    encoding = dict(headers).get("Content-Transfer-Encoding", "binary")
    if encoding.lower() not in ("7bit", "8bit", "binary"):
        raise InvalidParameter(
            f"{name:.60} has the Content-Transfer-Encoding {encoding:.60}; send it as it is"
            " (RFC 7578 §4.7)"
        )


def _check_end(octets: bytes, boundary: bytes) -> None:
    """Refuse parts behind the one that says it is the last: some parsers would read them."""
    delimiter = rb"(?:\A|\n)--" + re.escape(boundary)
    end = re.search(delimiter + b"--", octets)
    if end is not None and re.search(delimiter, octets[end.end() :]):
        raise ValueError("there are parts after the last one")


def _content_type(request: Request) -> str:
    lines = {line.strip() for line in request.requestHeaders.getRawHeaders(b"content-type") or ()}
    if len(lines) > 1:
        raise InvalidParameter("Content-Type is given twice with different values; give it once")
    return lines.pop().decode("latin-1") if lines else ""


def _check_encoding(encoding: bytes) -> None:
    if encoding.strip().lower() not in (b"", b"identity"):
        named = shown(encoding.decode("latin-1"))
        raise UnsupportedMediaType(
            f"a body with the Content-Encoding {named} cannot be read; send it as it is"
        )


def _check_charset(body: Body) -> None:
    """Refuse a charset that gives another text than UTF-8 does."""
    if body.charset is None:
        return
    harmless = body.media_type in (FORM, MULTIPART) or body.octets.isascii()
    if _LIKE_ASCII.fullmatch(body.charset) is None or not harmless:
        raise UnsupportedMediaType(
            f"a body in the charset {shown(body.charset)} cannot be read; send it in UTF-8"
        )


def _charset(content_type: str) -> str | None:
    found = _CHARSET.search(content_type)
    return None if found is None or _UTF8.fullmatch(found[1]) else found[1]
