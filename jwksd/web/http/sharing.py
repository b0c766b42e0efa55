"""Which pages may read an answer (CORS, Fetch §3.3), errors and preflights included.

The path alone decides it: what is below ``.well-known`` is for every page, what ``/auth`` and
``/token`` answer for pages of listed origins (``--cors-origin``), and everything else for none.
"""

from urllib.parse import unquote_to_bytes

from twisted.web import http

_PUBLIC = b".well-known"
_LISTED = (b"auth", b"token")

_EXPOSED = b"Allow, ETag, Retry-After, WWW-Authenticate"
"""The fields, beside those that every page may read, that say something here."""

_FIELDS = b"Authorization, Content-Type"
_ANY_FIELD = _FIELDS + b", *"
"""A star alone does not stand for Authorization (Fetch §4.9)."""

_MAX_AGE = b"7200"
"""Seconds that a preflight is good for; Chromium keeps none longer."""


def share(request: http.Request, listed_origin: bytes | None, *, some_listed: bool) -> None:
    """Set the header fields by which a browser lets a page read the answer.

    Args:
        request: whose answer has all its other fields already.
        listed_origin: the origin of the page that asks, if it is listed.
        some_listed: whether any origin is; then what listed pages may read varies by Origin.
    """
    path = request.path
    segments = (unquote_to_bytes(path) if b"%" in path else path).split(b"/")
    if _PUBLIC in segments:
        _allow(request, b"*", b"GET, HEAD", _ANY_FIELD)
    elif segments[-1] in _LISTED and some_listed:
        varies = request.responseHeaders.getRawHeaders(b"vary") or ()
        request.setHeader(b"Vary", b", ".join([*varies, b"Origin"]))
        if listed_origin is not None:
            _allow(request, listed_origin, b"POST", _FIELDS)


def is_preflight(request: http.Request) -> bool:
    """Return whether a browser asks if a page may ask (Fetch §3.3.2)."""
    asked = request.requestHeaders.hasHeader(b"access-control-request-method")
    return request.method == b"OPTIONS" and asked


def _allow(request: http.Request, origin: bytes, methods: bytes, fields: bytes) -> None:
    request.setHeader(b"Access-Control-Allow-Origin", origin)
    if request.method == b"OPTIONS":
        request.setHeader(b"Access-Control-Allow-Methods", methods)
        request.setHeader(b"Access-Control-Allow-Headers", fields)
        request.setHeader(b"Access-Control-Max-Age", _MAX_AGE)
    else:
        request.setHeader(b"Access-Control-Expose-Headers", _EXPOSED)
