"""How a request is written: fields in any order, bodies in chunks or not, forms, parts."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from urllib.parse import quote_plus

from tests.proofs.fuzz.case import chance
from tests.support.raw import chunked

JSON, FORM, MULTIPART = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
)
Pairs = Sequence[tuple[str, str]]

_HARMLESS = (
    b"User-Agent: fuzz/1",
    b"Accept-Encoding: gzip, br",
    b"Cookie: a=b; c",
    b"X-Forwarded-For: 10.0.0.1",
    b"Connection: keep-alive",
    b"Cache-Control: no-cache",
    b"Sec-Fetch-Site: same-origin",
    b"Origin: https://issuer.example",
)
_ACCEPTS = (b"*/*", b"application/json", b"application/jwt", b"text/html, */*;q=0.1", b"", b",;=")


def pieces(random: Random, octets: bytes, most: int) -> list[bytes]:
    """The octets in some pieces, none of them empty."""
    cuts = sorted(random.randint(0, len(octets)) for _ in range(random.randint(0, most - 1)))
    parts = [octets[a:b] for a, b in pairwise([0, *cuts, len(octets)])]
    return [part for part in parts if part]


def request(
    random: Random,
    target: str,
    body: bytes | None = None,
    content_type: str | None = None,
    fields: Sequence[bytes] = (),
    method: str = "POST",
) -> bytes:
    """A well-formed request that keeps the connection."""
    lines = [b"Host: localhost", *fields]
    if content_type is not None:
        lines.append(b"Content-Type: " + content_type.encode("latin-1"))
    if chance(random, 0.3):
        lines.append(b"Accept: " + random.choice(_ACCEPTS))
    if chance(random, 0.2):
        lines.append(random.choice(_HARMLESS))
    content = b""
    if body is not None and chance(random, 0.15):
        lines.append(b"Transfer-Encoding: chunked")
        content = chunked(*pieces(random, body, 5))
    elif body is not None:
        lines.append(b"Content-Length: %d" % len(body))
        content = body
    random.shuffle(lines)
    line = f"{method} {target} HTTP/1.1".encode("latin-1")
    return b"\r\n".join([line, *lines, b"", content])


def urlencoded(random: Random, pairs: Pairs) -> str:
    """A query or form; some octets are percent-encoded that need not be."""
    return "&".join(f"{_encoded(random, name)}={_encoded(random, value)}" for name, value in pairs)


def _encoded(random: Random, text: str) -> str:
    encoded = quote_plus(text, safe=random.choice(("", "[]", ":,{}")), errors="surrogatepass")
    if not encoded or not chance(random, 0.1):
        return encoded
    at = random.randrange(len(text))
    octets = text[at].encode("utf-8", "surrogatepass")
    middle = "".join(f"%{octet:02x}" for octet in octets)
    return quote_plus(text[:at]) + middle + quote_plus(text[at + 1 :])


def multipart(random: Random, pairs: Pairs, boundary: str = "") -> tuple[bytes, str]:
    """A body in parts, and its media type."""
    boundary = boundary or "".join(random.choices("abcdefXYZ0189-_", k=random.randint(4, 40))) + "x"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in pairs
    ]
    text = "".join(parts) + f"--{boundary}--\r\n"
    return text.encode("utf-8", "surrogatepass"), f"{MULTIPART}; boundary={boundary}"
