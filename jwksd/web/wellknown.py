"""GET /.well-known/: the documents with the public keys."""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from jwksd.errors import InvalidParameter, UnknownKey
from jwksd.interfaces import IKeyPolicy
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


def respond_key(
    request: Request,
    key: PublishedKey,
    policy: IKeyPolicy,
    is_sound: Callable[[], bool] = lambda: True,
) -> None:
    """Answer with a JWK Set of one key; ``is_sound`` says whether that may be repeated now."""
    document, cache_control = key.document, policy.cache_control
    repeat = _repeat_key(key, document, policy, cache_control, is_sound)
    # A kid elsewhere in the target, or percent-encoded, does not decide the answer.
    if not request.uri.startswith(b"/") or repeat.hole not in request.path:
        repeat = repeat._replace(same_kind=None)
    respond_key_set(request, document, cache_control, repeat)


def _repeat_key(
    key: PublishedKey,
    document: Document,
    policy: IKeyPolicy,
    cache_control: bytes,
    is_sound: Callable[[], bool],
) -> Repeat:
    def body() -> bytes | None:
        current = policy.keys.get(key.kid) is key and policy.cache_control is cache_control
        return document.body if current and is_sound() else None

    def same_kind(kid: bytes) -> tuple[bytes, bytes] | None:
        other = policy.keys.get(kid.decode("latin-1"))
        if other is None or policy.cache_control is not cache_control:
            return None
        return single_body(other.member), other.etag

    return Repeat(body, len(document.body), key.kid.encode("ascii"), same_kind)


def wanted_kid(request: Request) -> str | None:
    """Return the kid in the query, percent-decoded, or None; other parameters are ignored.

    Raises:
        InvalidParameter: different ones are given.
    """
    query = request.uri.partition(b"?")[2].decode("latin-1")
    fields = parse_qsl(query, keep_blank_values=True, encoding="latin-1") if query else ()
    kids = {value for name, value in fields if name == "kid"}
    if len(kids) > 1:
        raise InvalidParameter("kid is given twice with different values; give it once")
    return next(iter(kids), None)


class KeySetResource(JsonResource):
    """The set of all live keys, as it is at each request; or the one key that ``?kid=`` names."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer

    def _get(self, request: Request) -> "Deferred[None] | None":
        kid = wanted_kid(request)
        if self._must_wait(kid):
            return Deferred.fromCoroutine(self._wait(request, kid))
        self._respond(request, kid)
        return None

    def _must_wait(self, kid: str | None) -> bool:
        """Return whether keys may be missing, or those of other nodes may not be known yet."""
        policy = self._issuer.policy
        if kid is not None and policy.keys.get(kid) is not None:
            return False
        return policy.reads_through or policy.readers.must_wait

    async def _wait(self, request: Request, kid: str | None) -> None:
        """Answer once every algorithm has a key, and the store has been read.

        A client that fetches once would refuse every token for want of a key; and one may hold a
        token that another node has just signed.
        """
        policy = self._issuer.policy
        if policy.readers.must_wait:
            await policy.readers.wait()
        if policy.reads_through:
            await policy.refresh()
        self._respond(request, kid)

    def _respond(self, request: Request, kid: str | None) -> None:
        if kid is not None:
            self._respond_one(request, kid)
            return
        policy = self._issuer.policy
        document, cache_control = policy.keys.key_set(), policy.cache_control
        if policy.reads_through:  # without Repeat: the next answer needs the store again
            respond_key_set(request, document, cache_control)
            return

        def body() -> bytes | None:
            return document.body if self.is_current(document, cache_control) else None

        repeat = Repeat(body, len(document.body))
        respond_key_set(request, document, cache_control, repeat)

    def _respond_one(self, request: Request, kid: str) -> None:
        key = self._issuer.policy.keys.get(kid)
        if key is None:
            raise UnknownKey(kid)
        respond_key(request, key, self._issuer.policy, self.is_sound)

    def is_current(self, document: Document, cache_control: bytes) -> bool:
        """Return whether the same answer would be given now."""
        policy = self._issuer.policy
        return policy.keys.key_set() is document and policy.cache_control is cache_control

    def is_sound(self) -> bool:
        """Return whether the next answer is the right one."""
        return True


class SingleKeyResource(JsonResource):
    """The set with one key alone. It does not change while the key lives."""

    def __init__(self, issuer: Issuer, key: PublishedKey) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer
        self._key = key

    def _get(self, request: Request) -> None:
        respond_key(request, self._key, self._issuer.policy)


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
