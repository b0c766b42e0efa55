"""POST /token and POST /introspect: an OAuth 2.0 server with the grant client_credentials.

Without access control any client id and secret is taken: the id becomes the ``sub`` and the
``client_id`` of the token, the secret is not looked at. A client must still say who it is, as it
must everywhere else.
"""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote_plus, urlsplit

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from jwksd.errors import InvalidClient, InvalidParameter, JwksdError, OAuthError
from jwksd.issuing.issuer import ACCESS_TYPE, Issuer
from jwksd.issuing.mintrequest import MintRequest
from jwksd.jose.verifying import media_type
from jwksd.web.http.bodies import MAX_BODY, MAX_LONG_BODY
from jwksd.web.http.parameters import read_form
from jwksd.web.http.resource import NO_STORE, JsonResource, problem_headers, respond_json
from jwksd.web.mintparameters import PARAMETERS, mint_request

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_REPEATABLE = frozenset({"audience", "resource"})
_OURS = ("claims", "lifetime", "defect")
"""Parameters of /auth that /token takes too."""


class Form:
    """The fields of a request body. Each is given once, unless it may be repeated."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            if value:  # RFC 6749 §3.2: a parameter without a value was not sent
                self._values.setdefault(name, []).append(value)
        for name, values in self._values.items():
            if len(values) > 1 and name not in _REPEATABLE:
                raise OAuthError("invalid_request", f"{name:.60} is given more than once")

    def get(self, name: str) -> str | None:
        """Return the value of a field, or None."""
        values = self._values.get(name)
        return values[0] if values else None

    def require(self, name: str) -> str:
        """Return the value of a field.

        Raises:
            OAuthError: there is none.
        """
        value = self.get(name)
        if value is None:
            raise OAuthError("invalid_request", f"{name} is missing")
        return value

    def all(self, *names: str) -> list[str]:
        """Return every value of these fields, in order, each once."""
        return list(dict.fromkeys(value for name in names for value in self._values.get(name, [])))


class OAuthResource(JsonResource):
    """An endpoint that reads a form from a client; its errors are those of RFC 6749 §5.2."""

    longest_body = MAX_BODY
    """Octets of a body that is read."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"POST": self._post})
        self._issuer = issuer

    def refuse(self, request: Request, error: JwksdError) -> None:
        members = {"error": _code(error), "error_description": _description(error.detail)}
        headers = [field for field in problem_headers(error) if field[0] != b"Content-Type"]
        respond_json(request, error.status, members, headers)

    def _post(self, request: Request) -> "Deferred[None] | None":
        form = Form(read_form(request, self.longest_body))
        return self._answer(request, form, client_id(request, form))

    def _answer(self, request: Request, form: Form, client: str) -> "Deferred[None] | None":
        raise NotImplementedError


class TokenResource(OAuthResource):
    """``/token``: client_credentials (RFC 6749 §4.4), answered with an RFC 9068 access token."""

    def __init__(self, issuer: Issuer, *, dev: bool) -> None:
        super().__init__(issuer)
        self._dev = dev

    def _answer(self, request: Request, form: Form, client: str) -> "Deferred[None] | None":
        return Deferred.fromCoroutine(self._grant(request, form, client))

    async def _grant(self, request: Request, form: Form, client: str) -> None:
        grant = form.require("grant_type")
        if grant != "client_credentials":
            detail = f"grant_type must be client_credentials, not {grant:.60}"
            raise OAuthError("unsupported_grant_type", detail)
        scope, audience = _scope(form), _audience(form)
        scoped = {} if scope is None else {"scope": scope}
        claims = {
            "sub": client,
            "aud": audience or self._issuer.name,
            "client_id": client,
            **scoped,
        }
        token = await self._issuer.mint(self._wanted(form, claims))
        members = {
            "access_token": token.token.decode("ascii"),
            "token_type": "Bearer",
            "expires_in": self._issuer.seconds_left(token),
            **scoped,
        }
        respond_json(request, 200, members, (*NO_STORE, (b"Pragma", b"no-cache")))

    def _wanted(self, form: Form, claims: Mapping[str, object]) -> MintRequest:
        """Return what the form asks for: its claims are merged over these, which the grant has."""
        given = {name: value for name in _OURS if (value := form.get(name)) is not None}
        asked = {name: PARAMETERS[name].from_text(name, value) for name, value in given.items()}
        wanted = mint_request(asked, self._issuer.algorithms, dev=self._dev)
        _check_claims(wanted.claims, form)
        return replace(wanted, claims={**claims, **wanted.claims}, header={"typ": "at+jwt"})


class IntrospectResource(OAuthResource):
    """``/introspect``: whether a token of ours is valid now (RFC 7662)."""

    longest_body = MAX_LONG_BODY

    def _answer(self, request: Request, form: Form, client: str) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._introspect(request, form.require("token")))

    async def _introspect(self, request: Request, token: str) -> None:
        claims = self._issuer.introspect(token)
        if claims is None and self._issuer.policy.reads_through:
            await self._issuer.policy.refresh()
            claims = self._issuer.introspect(token)
        told = {"active": False} if claims is None else _told(claims, media_type(token))
        respond_json(request, 200, told, NO_STORE)


def _told(claims: Mapping[str, object], typ: str | None) -> dict[str, object]:
    """Return what is said of an active token: its claims, and over them what the server says.

    A claim is no word of the server's: nobody logs in here, so there is no ``username``, and only
    an access token has a ``client_id`` (RFC 7662 §2.2, RFC 9068 §2.2).
    """
    hidden = {"username"} if typ == ACCESS_TYPE else {"username", "client_id"}
    shown = {name: value for name, value in claims.items() if name not in hidden}
    return shown | {"active": True, "token_type": "Bearer"}


def client_id(request: Request, form: Form) -> str:
    """Return the client id, from basic authentication or the form (RFC 6749 §2.3.1).

    Raises:
        InvalidClient: there is none, or it cannot be read.
        OAuthError: it is given in both ways.
    """
    lines = request.requestHeaders.getRawHeaders(b"authorization") or ()
    posted = form.get("client_id")
    if not lines:
        if posted is None:
            raise InvalidClient(
                "say who you are: client_id and client_secret, basic or in the form"
            )
        return posted
    if len(lines) > 1:
        raise OAuthError("invalid_request", "Authorization is given more than once")
    client = _basic(lines[0])
    if form.get("client_secret") is not None or posted not in (None, client):
        detail = "the client authenticates twice: use basic authentication or the form, not both"
        raise OAuthError("invalid_request", detail)
    return client


def _basic(authorization: bytes) -> str:
    scheme, _, credentials = authorization.partition(b" ")
    try:
        if scheme.lower() != b"basic":
            raise ValueError
        pair = b64decode(credentials.strip(), validate=True).decode("utf-8")
        client = unquote_plus(pair[: pair.index(":")], errors="strict")
    except ValueError:
        raise InvalidClient("Authorization must be Basic base64(client_id:client_secret)") from None
    if not client:
        raise InvalidClient("the client id is empty")
    return client


def _scope(form: Form) -> str | None:
    scope = form.get("scope")
    if scope is not None and _SCOPE.fullmatch(scope) is None:
        detail = "scope must be words of printable ASCII without quotes, one space between them"
        raise OAuthError("invalid_scope", detail)
    return scope


def _check_claims(claims: Mapping[str, object], form: Form) -> None:
    """Refuse claims that say otherwise than the request does."""
    own = sorted({"client_id", "scope"} & claims.keys())
    if own:
        raise InvalidParameter(f"claims.{own[0]} is what the request says of itself; leave it out")
    if "aud" in claims and form.all("audience", "resource"):
        raise InvalidParameter("claims.aud stands instead of audience and resource: give one")


def _audience(form: Form) -> str | list[str] | None:
    """Return the ``aud`` asked for: one as a string, several as a list, none as None."""
    for resource in form.all("resource"):
        if not _is_resource(resource):
            detail = "resource must be an absolute URI without fragment (RFC 8707 §2)"
            raise OAuthError("invalid_target", detail)
    wanted = form.all("audience", "resource")
    return wanted if len(wanted) > 1 else next(iter(wanted), None)


def _is_resource(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return bool(url.scheme) and bool(url.netloc or url.path) and "#" not in text


def _code(error: JwksdError) -> str:
    """Return the registered code that fits an error best."""
    if isinstance(error, OAuthError):
        return error.code
    if error.status >= 500:
        return "temporarily_unavailable" if error.status == 503 else "server_error"
    return "invalid_request"


def _description(detail: str) -> str:
    """Return the text in the characters of RFC 6749 §5.2: no quotes, backslashes, non-ASCII."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in detail)
