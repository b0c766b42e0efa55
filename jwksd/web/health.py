"""GET /healthz and GET /readyz: for supervisors and load balancers."""

from collections.abc import Callable

from twisted.web.server import Request

from jwksd.errors import NotReady
from jwksd.web.http.resource import NO_STORE, JsonResource, respond_json


class HealthResource(JsonResource):
    """``/healthz``: 200 as long as the process answers."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})

    def _get(self, request: Request) -> None:
        respond_json(request, 200, {"status": "ok"}, NO_STORE)


class ReadyResource(JsonResource):
    """``/readyz``: 200 if the server can sign, and its published keys verify its tokens.

    Args:
        why_not: returns why the server is not ready, or None.
    """

    def __init__(self, why_not: Callable[[], str | None]) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._why_not = why_not

    def _get(self, request: Request) -> None:
        reason = self._why_not()
        if reason is not None:
            raise NotReady(reason, retry_after=1)
        respond_json(request, 200, {"status": "ready"}, NO_STORE)
