"""The base class of all resources: JSON in every answer, errors included, and no magic names.

twisted.web looks up ``render_<METHOD>`` by the bytes of the request line, answers unknown methods
with 501 in HTML, and unknown paths too. ``JsonResource`` takes a table of methods instead, and
answers everything else with a problem document.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from jwksd.errors import JwksdError, MethodNotAllowed, UnknownPath
from jwksd.web.http.escaping import escaped
from jwksd.web.http.repeat import Repeat
from jwksd.web.http.sharing import share

Headers = Iterable[tuple[bytes, bytes]]
Handler = Callable[[Request], "Deferred[None] | None"]

NO_STORE: Headers = ((b"Cache-Control", b"no-store"),)

_PHRASES = {421: b"Misdirected Request"}
"""Of the statuses that twisted.web does not know."""

_log = Logger()


def respond(
    request: Request,
    status: int,
    body: bytes = b"",
    headers: Headers = (),
    repeat: Repeat | None = None,
) -> None:
    """Answer a request, whatever its method. Every answer to a request is given here.

    HEAD gets the headers of GET (RFC 9110 §9.3.2); 204 and 304 get no Content-Length (§8.6).

    Args:
        repeat: how to answer the same request from now on, with the same status and headers.
    """
    request.repeat = repeat  # type: ignore[attr-defined]  # ours has it: see request.Request
    request.setResponseCode(status, _PHRASES.get(status))
    for name, value in headers:
        request.setHeader(name, value)
    share(
        request,
        getattr(request, "listed_origin", None),
        some_listed=getattr(request, "some_listed", False),
    )
    if status not in (204, 304):
        request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(b"" if request.method == b"HEAD" else body)
    request.finish()


def respond_json(
    request: Request, status: int, value: Mapping[str, object], headers: Headers = ()
) -> None:
    """Answer with a JSON object."""
    body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode("utf-8")
    respond(request, status, body, ((b"Content-Type", b"application/json"), *headers))


def problem(error: JwksdError) -> bytes:
    """Return the problem document of an error (RFC 9457 §3)."""
    members = {
        "type": f"urn:jwksd:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    return json.dumps(members, allow_nan=False).encode("utf-8")


def problem_headers(error: JwksdError) -> list[tuple[bytes, bytes]]:
    """Return the header fields of an answer that is a problem document."""
    own = [(name.encode("ascii"), value.encode("ascii")) for name, value in error.headers.items()]
    return [(b"Content-Type", b"application/problem+json"), *NO_STORE, *own]


def respond_problem(request: Request, error: JwksdError) -> None:
    """Answer with the problem document of an error."""
    respond(request, error.status, problem(error), problem_headers(error))


def error_of(request: Request, failure: Failure) -> JwksdError:
    """Return the error in a failure; any other exception is logged, and becomes a 500."""
    if isinstance(failure.value, JwksdError):
        return failure.value
    _log.failure("{method} failed", failure, method=escaped(request.method, 20))
    return JwksdError("the server failed at this request; its log says why")


def header(request: http.Request, name: bytes) -> bytes:
    """Return the lines of a header field joined (RFC 9110 §5.3), empty where there is none."""
    return b", ".join(request.requestHeaders.getRawHeaders(name) or ())


class JsonResource(Resource):
    """A resource with a table of methods.

    A handler answers through ``respond`` or raises; where it returns a Deferred, the Deferred is
    cancelled when the client leaves.
    """

    def __init__(self, handlers: Mapping[bytes, Handler]) -> None:
        super().__init__()
        self._handlers = handlers
        self._allow = b", ".join([*handlers, b"OPTIONS"])

    def getChild(self, path: bytes, request: Request) -> Resource:
        return NotFound()

    def render(self, request: Request) -> int:
        handler = self._handlers.get(request.method)
        if handler is None:
            self._render_unhandled(request)
            return NOT_DONE_YET
        try:
            answer = handler(request)
        except Exception:
            self.refuse(request, error_of(request, Failure()))
        else:
            if answer is not None:
                self._watch(request, answer)
        return NOT_DONE_YET

    def refuse(self, request: Request, error: JwksdError) -> None:
        """Answer with an error: a problem document, unless an RFC defines another form."""
        respond_problem(request, error)

    def _render_unhandled(self, request: Request) -> None:
        if request.method == b"OPTIONS":
            respond(request, 204, headers=((b"Allow", self._allow),))
            return
        allow = self._allow.decode("ascii")
        method = request.method.decode("ascii", "backslashreplace")
        self.refuse(request, MethodNotAllowed(f"{method} is not served here; {allow} are", allow))

    def _watch(self, request: Request, answer: "Deferred[None]") -> None:
        gone = False

        def left(_: Failure) -> None:
            nonlocal gone
            gone = True
            answer.cancel()

        def failed(failure: Failure) -> None:
            if not gone:
                self.refuse(request, error_of(request, failure))
            elif failure.check(CancelledError) is None:
                method = escaped(request.method, 20)
                _log.failure("{method} failed after its client left", failure, method=method)

        request.notifyFinish().addErrback(left)
        answer.addErrback(failed)


class Later(JsonResource):
    """A resource that is looked up after a wait."""

    isLeaf = True

    def __init__(self, wait: Callable[[], Awaitable[None]], find: Callable[[], Resource]) -> None:
        super().__init__({})
        self._wait = wait
        self._find = find

    def render(self, request: Request) -> int:
        self._watch(request, Deferred.fromCoroutine(self._render_found(request)))
        return NOT_DONE_YET

    async def _render_found(self, request: Request) -> None:
        await self._wait()
        self._find().render(request)


class NotFound(Resource):
    """Answers 404, for every method and for every path below."""

    isLeaf = True

    def __init__(self, error: JwksdError | None = None) -> None:
        super().__init__()
        self._error = error

    def getChild(self, path: bytes, request: Request) -> Resource:
        return NotFound()

    def render(self, request: Request) -> int:
        respond_problem(request, self._error or _unknown_path(request))
        return NOT_DONE_YET


def _unknown_path(request: Request) -> UnknownPath:
    path = request.path[:200].decode("ascii", "backslashreplace")
    return UnknownPath(f"nothing is served at {path}; try POST /auth or GET /.well-known/jwks.json")
