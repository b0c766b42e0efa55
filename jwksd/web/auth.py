"""POST /auth: a token as the client asks for it."""

import json
from dataclasses import asdict

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from jwksd.errors import JwksdError
from jwksd.issuing.issuer import Issuer
from jwksd.issuing.mintrequest import MintRequest
from jwksd.jose.tokens import Token
from jwksd.web.http.negotiation import prefers
from jwksd.web.http.parameters import read_parameters
from jwksd.web.http.repeat import Repeat
from jwksd.web.http.resource import NO_STORE, JsonResource, header, respond
from jwksd.web.mintparameters import PARAMETERS, mint_request

_HEADERS = (*NO_STORE, (b"Vary", b"Accept"))
_JWT = ((b"Content-Type", b"application/jwt"), *_HEADERS)
_JSON = ((b"Content-Type", b"application/json"), *_HEADERS)


class AuthResource(JsonResource):
    """Makes a key, signs a token with it, and answers the token."""

    def __init__(self, issuer: Issuer, *, dev: bool) -> None:
        super().__init__({b"POST": self._post})
        self._issuer = issuer
        self._dev = dev

    def _post(self, request: Request) -> "Deferred[None] | None":
        parameters = read_parameters(request, PARAMETERS)
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
    return json.dumps(members, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _token(token: Token) -> bytes:
    return token.token
