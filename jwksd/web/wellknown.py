"""GET /.well-known/: the documents with the public keys."""

import re

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from jwksd.errors import UnknownKey
from jwksd.issuing.issuer import Issuer
from jwksd.jose.keys import PublishedKey
from jwksd.jose.keysets import Document, single_body
from jwksd.web.http.negotiation import is_named, none_match
from jwksd.web.http.repeat import CurrentBody, Repeat
from jwksd.web.http.resource import JsonResource, Later, NotFound, header, respond
from jwksd.web.http.sharing import is_preflight

_KID_JSON = re.compile(rb"([A-Za-z0-9_-]{43})\.json")
_JSON, _JWK_SET = b"application/json", b"application/jwk-set+json"


def respond_document(
    request: Request,
    document: Document,
    media_type: bytes,
    cache_control: bytes,
    repeat: Repeat | None = None,
) -> None:
    """Answer GET or HEAD with a document, or with 304 when the client has it already.

    ``repeat`` gives the document; it is fitted to the answer.
    """
    headers = (
        (b"Cache-Control", cache_control),
        (b"ETag", document.etag),
        (b"Vary", b"Accept"),
    )
    condition = header(request, b"if-none-match")
    if repeat is not None and condition:  # each key meets it, or not, by a tag of its own
        repeat = repeat._replace(same_kind=None)
    if none_match(condition, document.etag):
        fields = ((b"Content-Type", media_type), *headers)
        respond(request, 200, document.body, fields, repeat)
    else:
        repeat = repeat and repeat._replace(body=_emptied(repeat.body))
        respond(request, 304, b"", headers, repeat)


def _emptied(body: CurrentBody) -> CurrentBody:
    return lambda: None if body() is None else b""


def respond_key_set(
    request: Request,
    document: Document,
    cache_control: bytes,
    repeat: Repeat | None = None,
) -> None:
    """Answer with a JWK Set."""
    accept = header(request, b"accept")
    media_type = _JWK_SET if is_named(accept, _JWK_SET, default=_JSON) else _JSON
    respond_document(request, document, media_type, cache_control, repeat)


class KeySetResource(JsonResource):
    """The set of all live keys, as it is at each request."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer

    def _get(self, request: Request) -> "Deferred[None] | None":
        if self._issuer.policy.reads_through:
            return Deferred.fromCoroutine(self._read_through(request))
        self._respond(request)
        return None

    def _respond(self, request: Request) -> None:
        policy = self._issuer.policy
        document, cache_control = policy.keys.key_set(), policy.cache_control

        def body() -> bytes | None:
            return document.body if self.is_current(document, cache_control) else None

        repeat = Repeat(body, len(document.body))
        respond_key_set(request, document, cache_control, repeat)

    def is_current(self, document: Document, cache_control: bytes) -> bool:
        """Return whether the same answer would be given now."""
        policy = self._issuer.policy
        return policy.keys.key_set() is document and policy.cache_control is cache_control

    async def _read_through(self, request: Request) -> None:
        """Read the store first: a client may hold a token that another node has just signed."""
        policy = self._issuer.policy
        await policy.refresh()
        # Without Repeat: the next answer needs the store again.
        respond_key_set(request, policy.keys.key_set(), policy.cache_control)


class SingleKeyResource(JsonResource):
    """The set with one key alone. It does not change while the key lives."""

    def __init__(self, issuer: Issuer, key: PublishedKey) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer
        self._key = key

    def _get(self, request: Request) -> None:
        document, cache_control = self._key.document, self._issuer.policy.cache_control
        repeat = self._repeat(document, cache_control)
        # A kid elsewhere in the target, or percent-encoded, does not decide the answer.
        if not request.uri.startswith(b"/") or repeat.hole not in request.path:
            repeat = repeat._replace(same_kind=None)
        respond_key_set(request, document, cache_control, repeat)

    def _repeat(self, document: Document, cache_control: bytes) -> Repeat:
        key, policy = self._key, self._issuer.policy

        def body() -> bytes | None:
            current = policy.keys.get(key.kid) is key and policy.cache_control is cache_control
            return document.body if current else None

        def same_kind(kid: bytes) -> tuple[bytes, bytes] | None:
            other = policy.keys.get(kid.decode("latin-1"))
            if other is None or policy.cache_control is not cache_control:
                return None
            return single_body(other.member), other.etag

        return Repeat(body, len(document.body), key.kid.encode("ascii"), same_kind)


class UnknownKeyResource(NotFound):
    """Answers 404; a browser's preflight gets 204, or the page could not read the 404."""

    def render(self, request: Request) -> int:
        if not is_preflight(request):
            return super().render(request)
        respond(request, 204, headers=((b"Allow", b"GET, HEAD, OPTIONS"),))
        return NOT_DONE_YET


class WellKnownResource(NotFound):
    """Has ``jwks.json``, and a ``<kid>.json`` for each live key; its own path is 404."""

    isLeaf = False

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer = issuer
        self.putChild(b"jwks.json", KeySetResource(issuer))

    def getChild(self, path: bytes, request: Request) -> Resource:
        kid = _KID_JSON.fullmatch(path)
        if kid is None:
            return NotFound()
        return self._single_key(kid[1].decode("ascii"))

    def _single_key(self, kid: str, *, refreshed: bool = False) -> Resource:
        key = self._issuer.policy.keys.get(kid)
        if key is not None:
            return SingleKeyResource(self._issuer, key)
        if self._issuer.policy.reads_through and not refreshed:
            return Later(self._issuer.policy.refresh, lambda: self._single_key(kid, refreshed=True))
        return UnknownKeyResource(UnknownKey(kid))
