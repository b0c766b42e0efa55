"""The body of a request: of which type it is, and its fields. What is only half clear is refused.

Octets that another encoding, charset or media type than those that are read would make into other
parameters are never read as if they were right.
"""

import re
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request

from jwksd.errors import ContentTooLarge, InvalidParameter, UnsupportedMediaType
from jwksd.jose.jsontext import shown
from jwksd.web.http.resource import header

MAX_BODY = 65_536
"""Octets of a request body. The largest sensible claims set is far smaller."""

MAX_FIELDS = 100

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_LIKE_JSON = re.compile(rb"""\s*(\xef\xbb\xbf)?\s*['"]?(\{|\[\s*[\[{"])""")
_UTF8 = re.compile(r"utf-?8|(us-)?ascii", re.IGNORECASE)
_LIKE_ASCII = re.compile(r"(iso-?8859-?|windows-|cp)[0-9]{1,4}|latin-?1", re.IGNORECASE)
"""Charsets whose first 128 characters are those of ASCII."""

Field = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Body:
    """The octets of a body, and its Content-Type: the media type in lower case, and as it came."""

    octets: bytes
    media_type: str
    content_type: str

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


def read_body(request: Request) -> Body:
    """Return the whole body.

    Raises:
        ContentTooLarge: it is larger than ``MAX_BODY`` octets.
        InvalidParameter: it has several types.
        UnsupportedMediaType: it is compressed, or not UTF-8.
    """
    assert request.content is not None  # noqa: S101  # only until all headers are in
    octets: bytes = request.content.read(MAX_BODY + 1)
    if len(octets) > MAX_BODY:
        raise ContentTooLarge(f"the body is larger than the {MAX_BODY} octets that are read")
    content_type = _content_type(request) if octets else ""
    body = Body(octets, content_type.partition(";")[0].strip().lower()[:100], content_type)
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
        InvalidParameter: it cannot be read, or a part is encoded.
    """
    # Imported here: few clients send this, and the import would slow every start.
    from multipart import MultipartError, MultipartParser, parse_options_header

    boundary = parse_options_header(body.content_type)[1].get("boundary", "")
    try:
        parts = list(MultipartParser(BytesIO(body.octets), boundary, part_limit=MAX_FIELDS))
        _check_end(body.octets, boundary.encode("latin-1"))
    except (MultipartError, LookupError, ValueError) as error:
        raise InvalidParameter(f"the multipart body cannot be read: {error}") from None
    for part in parts:
        encoding = dict(part.headerlist).get("Content-Transfer-Encoding", "binary")
        if encoding.lower() not in ("7bit", "8bit", "binary"):
            raise InvalidParameter(
                f"{part.name:.60} has the Content-Transfer-Encoding {encoding:.60}; send it"
                " as it is (RFC 7578 §4.7)"
            )
    return [(part.name, part.raw) for part in parts]


def utf8(name: str, octets: bytes) -> str:
    """Return the text of a field.

    Raises:
        InvalidParameter: it is not UTF-8.
    """
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidParameter(f"{name:.60} is not UTF-8; percent-encode UTF-8 octets") from None


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
    found = re.search(r";\s*charset\s*=\s*[\"']?([^\s;\"']*)", body.content_type, re.IGNORECASE)
    charset = found[1] if found else "utf-8"
    if _UTF8.fullmatch(charset):
        return
    if _LIKE_ASCII.fullmatch(charset) is None or not unquote_to_bytes(body.octets).isascii():
        raise UnsupportedMediaType(
            f"a body in the charset {shown(charset)} cannot be read; send it in UTF-8"
        )
