"""GET /.well-known/: the documents with the public keys."""

import re
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from jwksd.documents import Document
from jwksd.issuer import Issuer, no_such_key
from jwksd.web.base import Headers, JsonResource, Later, NotFound, header, respond
from jwksd.web.lane import Again, Repeat
from jwksd.web.negotiation import names, none_match

_KID_JSON = re.compile(rb"([A-Za-z0-9_-]{43})\.json")
_JSON, _JWK_SET = b"application/json", b"application/jwk-set+json"
_PUBLIC: Headers = ((b"Access-Control-Allow-Origin", b"*"),)
PREFLIGHT: Headers = (
    *_PUBLIC,
    (b"Access-Control-Allow-Methods", b"GET, HEAD"),
    (b"Access-Control-Allow-Headers", b"*"),
)


def respond_document(
    request: Request,
    document: Document,
    media_type: bytes,
    cache_control: bytes,
    repeat: Repeat | None = None,
) -> None:
    """Answer GET or HEAD with a document, or with 304 when the client has it already.

    ``repeat`` is for the document; it is fitted to the answer.
    """
    headers = (
        *_PUBLIC,
        (b"Cache-Control", cache_control),
        (b"ETag", document.etag),
        (b"Vary", b"Accept"),
    )
    condition = header(request, b"if-none-match")
    if repeat is not None and condition:  # which siblings meet as their own tags do
        repeat = repeat._replace(sibling=None)
    if none_match(condition, document.etag):
        fields = ((b"Content-Type", media_type), *headers)
        respond(request, 200, document.body, fields, repeat)
    else:
        repeat = repeat and repeat._replace(again=_emptied(repeat.again))
        respond(request, 304, b"", headers, repeat)


def _emptied(again: Again) -> Again:
    return lambda: None if again() is None else b""


def respond_key_set(
    request: Request,
    document: Document,
    cache_control: bytes,
    repeat: Repeat | None = None,
) -> None:
    """Answer with a JWK Set."""
    accept = header(request, b"accept")
    media_type = _JWK_SET if names(accept, _JWK_SET, default=_JSON) else _JSON
    respond_document(request, document, media_type, cache_control, repeat)


class KeySetResource(JsonResource):
    """A JWK Set, and how long it may be cached, as they are at each request."""

    def __init__(self, issuer: Issuer, document: Callable[[], Document | None]) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer
        self._document = document

    def options_headers(self) -> Headers:
        return PREFLIGHT

    def _get(self, request: Request) -> "Deferred[None] | None":
        if self._issuer.reads_through:
            return Deferred.fromCoroutine(self._read_through(request))
        self._respond(request)
        return None

    def _respond(self, request: Request) -> None:
        document, cache_control = self._document(), self._issuer.cache_control
        assert document is not None  # noqa: S101  # it was found a moment ago
        repeat = self.repeat(document, cache_control)
        respond_key_set(request, document, cache_control, repeat)

    def repeat(self, document: Document, cache_control: bytes) -> Repeat:
        """How this answer is given again."""

        def again() -> bytes | None:
            return document.body if self.is_current(document, cache_control) else None

        return Repeat(again, len(document.body))

    def is_current(self, document: Document, cache_control: bytes) -> bool:
        """Whether the same answer would be given now."""
        return self._document() is document and self._issuer.cache_control is cache_control

    async def _read_through(self, request: Request) -> None:
        """Another node may have answered a token, and this request be from who has it."""
        await self._issuer.refresh()
        document = self._document()
        assert document is not None  # noqa: S101  # the set is always there
        # Never to be repeated without asking the store again.
        respond_key_set(request, document, self._issuer.cache_control)


class SingleKeyResource(KeySetResource):
    """The set with one key, which does not change while the key lives."""

    def __init__(self, issuer: Issuer, kid: str) -> None:
        super().__init__(issuer, partial(issuer.find_key, kid))
        self._kid = kid

    def _get(self, request: Request) -> None:
        self._respond(request)

    def repeat(self, document: Document, cache_control: bytes) -> Repeat:
        """The same for every other key."""
        issuer = self._issuer

        def sibling(kid: bytes) -> Document | None:
            if issuer.cache_control is not cache_control:
                return None
            return issuer.find_key(kid.decode("latin-1"))

        repeat = super().repeat(document, cache_control)
        return repeat._replace(slot=self._kid.encode("ascii"), sibling=sibling)


class WellKnownResource(NotFound):
    """``jwks.json``, and for each live key a ``<kid>.json``; there is nothing at its own path."""

    isLeaf = False

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer = issuer
        self.putChild(b"jwks.json", KeySetResource(issuer, issuer.key_set))

    def getChild(self, path: bytes, request: Request) -> Resource:
        kid = _KID_JSON.fullmatch(path)
        if kid is None:
            return NotFound()
        return self._single_key(kid[1].decode("ascii"))

    def _single_key(self, kid: str, *, refreshed: bool = False) -> Resource:
        if self._issuer.find_key(kid) is not None:
            return SingleKeyResource(self._issuer, kid)
        if self._issuer.reads_through and not refreshed:
            return Later(self._issuer.refresh, lambda: self._single_key(kid, refreshed=True))
        return NotFound(no_such_key(kid))
