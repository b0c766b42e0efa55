"""POST /auth: a token for whoever asks."""

from dataclasses import asdict

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from jwksd.errors import InvalidParameter
from jwksd.issuer import Issuer, MintRequest
from jwksd.web.base import NO_STORE, JsonResource, respond, respond_json
from jwksd.web.negotiation import prefers
from jwksd.web.parameters import Parameters, read_parameters

_KNOWN = frozenset({"expired"})
_HEADERS = (*NO_STORE, (b"Vary", b"Accept"))
_JWT = ((b"Content-Type", b"application/jwt"), *_HEADERS)


class AuthResource(JsonResource):
    """Makes a key, signs a token with it, and answers the token."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"POST": self._post})
        self._issuer = issuer

    def _post(self, request: Request) -> "Deferred[None]":
        wish = mint_request(read_parameters(request, _KNOWN))
        return Deferred.fromCoroutine(self._answer(request, wish))

    async def _answer(self, request: Request, wish: MintRequest) -> None:
        token = await self._issuer.mint(wish)
        accept = request.getHeader(b"accept") or b""
        if prefers(accept, b"application/json", default=b"application/jwt"):
            respond_json(request, 200, asdict(token), _HEADERS)
        else:
            respond(request, 200, token.token.encode("ascii"), _JWT)


def mint_request(parameters: Parameters) -> MintRequest:
    """What the parameters ask for.

    Raises:
        InvalidParameter: a value is not allowed.
    """
    return MintRequest(expired=_boolean("expired", parameters.get("expired", False)))


def _boolean(name: str, value: object) -> bool:
    """A JSON boolean, or its text in a query or form."""
    choices = {False: False, True: True, "false": False, "true": True}
    if isinstance(value, bool | str) and value in choices:
        return choices[value]
    raise InvalidParameter(f"{name} must be true or false, not {value!r:.60}")
