"""GET /healthz and GET /readyz: for whoever starts, watches and balances servers."""

from collections.abc import Callable

from twisted.web.server import Request

from jwksd.errors import NotReady
from jwksd.web.http.resource import NO_STORE, JsonResource, respond_json


class HealthResource(JsonResource):
    """``/healthz``: the process runs and answers."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})

    def _get(self, request: Request) -> None:
        respond_json(request, 200, {"status": "ok"}, NO_STORE)


class ReadyResource(JsonResource):
    """``/readyz``: it can sign, and what it publishes verifies what it signs.

    Args:
        why_not: why the server is not ready, or None.
    """

    def __init__(self, why_not: Callable[[], str | None]) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._why_not = why_not

    def _get(self, request: Request) -> None:
        reason = self._why_not()
        if reason is not None:
            raise NotReady(reason, retry_after=1)
        respond_json(request, 200, {"status": "ready"}, NO_STORE)
