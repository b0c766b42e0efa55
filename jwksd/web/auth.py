"""POST /auth: a token as the client asks for it."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from jwksd.dev.defects import DEFECTS, Defect
from jwksd.errors import InvalidParameter, JwksdError
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.mintrequest import Expired, MintRequest
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.tokens import Members, Token
from jwksd.web.http.negotiation import prefers
from jwksd.web.http.parameters import Parameters, read_parameters
from jwksd.web.http.repeat import Repeat
from jwksd.web.http.resource import NO_STORE, JsonResource, header, respond

T = TypeVar("T")

_KNOWN = frozenset({"expired", "alg", "lifetime", "claims", "header", "defect"})
_HEADERS = (*NO_STORE, (b"Vary", b"Accept"))
_JWT = ((b"Content-Type", b"application/jwt"), *_HEADERS)
_JSON = ((b"Content-Type", b"application/json"), *_HEADERS)


class AuthResource(JsonResource):
    """Makes a key, signs a token with it, and answers the token."""

    shared = True

    def __init__(self, issuer: Issuer, *, dev: bool) -> None:
        super().__init__({b"POST": self._post})
        self._issuer = issuer
        self._dev = dev

    def _post(self, request: Request) -> "Deferred[None] | None":
        parameters = read_parameters(request, _KNOWN)
        wanted = mint_request(parameters, self._issuer.algorithms, dev=self._dev)
        token = self._issuer.mint_now(wanted)
        if token is None:
            return Deferred.fromCoroutine(self._wait(request, wanted))
        self._answer(request, wanted, token)
        return None

    async def _wait(self, request: Request, wanted: MintRequest) -> None:
        self._answer(request, wanted, await self._issuer.mint_later(wanted))

    def _answer(self, request: Request, wanted: MintRequest, token: Token) -> None:
        accept = header(request, b"accept")
        as_json = prefers(accept, b"application/json", default=b"application/jwt")
        write, headers = (_json, _JSON) if as_json else (_token, _JWT)

        def body() -> bytes | None:
            """Return another token if that needs no wait; errors go the ordinary path."""
            try:
                another = self._issuer.mint_now(wanted)
            except JwksdError:
                return None
            return None if another is None else write(another)

        respond(request, 200, write(token), headers, Repeat(body))


def _json(token: Token) -> bytes:
    members = {**asdict(token), "token": token.token.decode("ascii")}
    return json.dumps(members, separators=(",", ":")).encode("utf-8")


def _token(token: Token) -> bytes:
    return token.token


def mint_request(parameters: Parameters, algorithms: Sequence[str], *, dev: bool) -> MintRequest:
    """Return what the parameters ask for; ``algorithms`` are the issuer's, the default one first.

    Raises:
        InvalidParameter: a value is not allowed, or a defect is asked for without ``dev`` or does
            not exist for the type of key.
    """
    wanted = MintRequest(
        expired=_expired("expired", parameters.get("expired", False)),
        alg=_optional(parameters, "alg", _text),
        lifetime=_optional(parameters, "lifetime", _seconds),
        claims=_object("claims", parameters.get("claims", {})),
        header=_object("header", parameters.get("header", {})),
    )
    if "defect" not in parameters:
        return wanted
    defect = _defect(parameters["defect"], dev)
    _check_kind(defect, wanted.alg or algorithms[0], algorithms)
    return replace(wanted, seal_with=defect.seal, published=defect.published)


def _optional(parameters: Parameters, name: str, parse: Callable[[str, object], T]) -> T | None:
    return parse(name, parameters[name]) if name in parameters else None


def _expired(name: str, value: object) -> Expired:
    """A JSON boolean, or its text in a query or form; or ``token``."""
    choices: dict[object, Expired] = {
        False: False,
        True: True,
        "false": False,
        "true": True,
        "token": "token",
    }
    if isinstance(value, bool | str) and value in choices:
        return choices[value]
    raise InvalidParameter(f"{name} must be true, false or token, not {value!r:.60}")


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise InvalidParameter(f"{name} must be a string, not {value!r:.60}")


def _seconds(name: str, value: object) -> int:
    """A JSON integer, or its text in a query or form."""
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    raise InvalidParameter(f"{name} must be a whole number of seconds, not {value!r:.60}")


def _object(name: str, value: object) -> Members:
    if isinstance(value, dict):
        return value
    raise InvalidParameter(f"{name} must be a JSON object, in a JSON body, not {value!r:.60}")


def _defect(value: object, dev: bool) -> Defect:
    if not dev:
        raise InvalidParameter("defect works only on a server that was started with --dev")
    if isinstance(value, str) and value in DEFECTS:
        return DEFECTS[value]
    raise InvalidParameter(f"no defect is called {value!r:.60}; GET /dev/defects lists them all")


def _check_kind(defect: Defect, alg: str, algorithms: Sequence[str]) -> None:
    """Refuse a defect that keys for ``alg`` cannot have; what no key is for, the issuer refuses."""
    if alg in algorithms and ALGORITHMS[alg].kty not in defect.kinds:
        raise InvalidParameter(
            f"defect {defect.name} exists for {', '.join(sorted(defect.kinds))} keys only;"
            f" ask for another alg than {alg}"
        )
