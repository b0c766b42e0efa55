"""/dev: what only a developer may do to a running server. It exists with ``--dev`` alone."""

from twisted.web.server import Request

from jwksd.errors import InvalidParameter
from jwksd.issuer import Issuer
from jwksd.web.base import NO_STORE, JsonResource, respond_json
from jwksd.web.parameters import read_parameters

_ACTIONS = ("resetkeys",)
_KNOWN = frozenset({"action"})


class DevResource(JsonResource):
    """GET tells the state, POST changes it by ``?action=``."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get, b"POST": self._post})
        self._issuer = issuer

    def _get(self, request: Request) -> None:
        if read_parameters(request, _KNOWN):
            raise InvalidParameter("an action changes the server: use POST for it, not GET")
        respond_json(request, 200, {"keys": self._issuer.live_keys}, NO_STORE)

    def _post(self, request: Request) -> None:
        action = read_parameters(request, _KNOWN).get("action")
        if action not in _ACTIONS:
            raise InvalidParameter(
                f"action must be one of {', '.join(_ACTIONS)}, not {action!r:.60}"
            )
        removed = self._issuer.reset_keys()
        respond_json(request, 200, {"action": action, "removed": removed}, NO_STORE)
