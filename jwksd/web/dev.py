"""/dev: changes to a running server that only a developer may make. It exists with ``--dev``.

``POST /dev?action=NAME`` acts. ``GET /dev`` answers the state of the server, ``GET /dev/keys``
every key with its state, ``GET /dev/defects`` the catalogue of wrong tokens. Parameters come from
the query, a form or a JSON body.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from jwksd.dev.clock import DevClock
from jwksd.dev.defects import DEFECTS
from jwksd.dev.faults import Fault, Faults
from jwksd.errors import InvalidParameter
from jwksd.issuing.issuer import Issuer
from jwksd.jose.tokens import MAX_DATE
from jwksd.web.faults import KINDS
from jwksd.web.http.parameters import Parameters, read_parameters
from jwksd.web.http.resource import NO_STORE, JsonResource, respond_json

_KNOWN = frozenset(
    {"action", "alg", "kid", "time", "seconds", "fault", "count", "status", "retry_after", "delay"}
    | {"location"}
)

Members = dict[str, object]
Action = Callable[[Parameters], Members | Coroutine[Deferred[object], object, Members]]


class DevResource(JsonResource):
    """GET answers the state, POST changes it by ``?action=``."""

    def __init__(self, issuer: Issuer, clock: DevClock, faults: Faults) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get, b"POST": self._post})
        self._issuer = issuer
        self._clock = clock
        self._faults = faults
        self._actions: Mapping[str, Action] = {
            "resetkeys": self._reset_keys,
            "reset": self._reset,
            "revoke": self._revoke,
            "rotate": self._rotate,
            "freeze": self._freeze,
            "set": self._set,
            "advance": self._advance,
            "release": self._release,
            "fault": self._fault,
            "clearfaults": self._clear_faults,
        }
        self.putChild(b"defects", DefectsResource())
        self.putChild(b"keys", KeysResource(issuer))

    def _get(self, request: Request) -> None:
        if read_parameters(request, _KNOWN):
            raise InvalidParameter("an action changes the server: use POST for it, not GET")
        state = {
            "keys": len(self._issuer.policy.keys),
            "clock": self._clock_state(),
            "faults": self._faults.describe(),
        }
        respond_json(request, 200, state, NO_STORE)

    def _post(self, request: Request) -> "Deferred[None] | None":
        parameters = read_parameters(request, _KNOWN)
        name = parameters.get("action")
        act = self._actions.get(name) if isinstance(name, str) else None
        if act is None:
            allowed = ", ".join(sorted(self._actions))
            raise InvalidParameter(f"action must be one of {allowed}, not {name!r:.60}")
        return Deferred.fromCoroutine(self._act(request, act, str(name), parameters))

    async def _act(self, request: Request, act: Action, name: str, parameters: Parameters) -> None:
        answer = act(parameters)
        if not isinstance(answer, dict):
            answer = await answer
        respond_json(request, 200, {"action": name, **answer}, NO_STORE)

    async def _rotate(self, parameters: Parameters) -> Members:
        alg = parameters.get("alg")
        if alg is not None and not isinstance(alg, str):
            raise InvalidParameter("alg must be a string")
        return dict(await self._issuer.rotate(alg))

    async def _reset_keys(self, parameters: Parameters) -> Members:
        return {"removed": await self._issuer.reset_keys()}

    async def _reset(self, parameters: Parameters) -> Members:
        """Make everything as it was at the start: no keys, no faults, real time."""
        self._clock.release()
        cleared = self._faults.clear()
        return {"removed": await self._issuer.reset_keys(), "cleared": cleared}

    async def _revoke(self, parameters: Parameters) -> Members:
        kid = parameters.get("kid")
        if not isinstance(kid, str):
            raise InvalidParameter("revoke needs kid, the id of a live key")
        await self._issuer.policy.revoke(kid)
        return {"kid": kid}

    def _clock_state(self) -> Members:
        return {
            "now": int(self._clock.seconds()),
            "frozen": self._clock.frozen,
            "offset": round(self._clock.offset),
        }

    def _freeze(self, parameters: Parameters) -> Members:
        self._clock.freeze()
        return self._clock_state()

    def _set(self, parameters: Parameters) -> Members:
        self._clock.set(_time(parameters.get("time")))
        return self._clock_state()

    def _advance(self, parameters: Parameters) -> Members:
        seconds = _number(parameters, "seconds", 0, MAX_DATE)
        if seconds is None or self._clock.seconds() + seconds > MAX_DATE:
            raise InvalidParameter(
                "advance needs seconds, a number that stays before the year 10000"
            )
        self._clock.advance(seconds)
        return self._clock_state()

    def _release(self, parameters: Parameters) -> Members:
        self._clock.release()
        return self._clock_state()

    def _fault(self, parameters: Parameters) -> Members:
        fault = self._make_fault(parameters)
        self._faults.add(fault)
        return {"faults": self._faults.describe()}

    def _clear_faults(self, parameters: Parameters) -> Members:
        return {"cleared": self._faults.clear()}

    def _make_fault(self, parameters: Parameters) -> Fault:
        kind = parameters.get("fault")
        if kind not in KINDS:
            raise InvalidParameter(f"fault must be one of {', '.join(KINDS)}, not {kind!r:.60}")
        count = _number(parameters, "count", 1, 1_000_000)
        seconds = _number(parameters, "seconds", 0, 86_400)
        if count is None and seconds is None:
            count = 1
        status = _number(parameters, "status", 400, 599)
        retry_after = _number(parameters, "retry_after", 0, 86_400)
        delay = _number(parameters, "delay", 0, 3600)
        return Fault(
            kind=str(kind),
            count=None if count is None else int(count),
            until=None if seconds is None else self._faults.reactor.seconds() + seconds,
            status=503 if status is None else int(status),
            retry_after=None if retry_after is None else int(retry_after),
            delay=1.0 if delay is None else delay,
            location=_location(parameters.get("location", "/.well-known/jwks.json")),
            kid=_kid(parameters.get("kid")),
            stale=self._issuer.policy.keys.key_set(),
        )


class KeysResource(JsonResource):
    """Every key with its state, its times and its use, as ``IKeyPolicy.describe`` returns them."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer

    def _get(self, request: Request) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._describe(request))

    async def _describe(self, request: Request) -> None:
        respond_json(request, 200, await self._issuer.policy.describe(), NO_STORE)


class DefectsResource(JsonResource):
    """The catalogue, for ``POST /auth?defect=NAME``."""

    def __init__(self) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})

    def _get(self, request: Request) -> None:
        rows = [defect.describe() for defect in DEFECTS.values()]
        respond_json(request, 200, {"defects": rows}, NO_STORE)


def _number(parameters: Parameters, name: str, low: float, high: float) -> float | None:
    """Return a JSON number, or its text in a query or form; None when it was not given."""
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidParameter(f"{name} must be a number from {low} to {high}, not {value!r:.60}")
    return value


def _time(value: object) -> float:
    """Parse a NumericDate, or a date and time of RFC 3339 with its offset, to seconds."""
    if isinstance(value, str) and not value.isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            value = moment.timestamp()
    try:
        time = _number({"time": value}, "time", 0, MAX_DATE)
    except InvalidParameter:
        time = None
    if time is None:
        raise InvalidParameter(
            "set needs time: seconds since 1970, or such as 2030-01-01T00:00:00Z (RFC 3339),"
            f" not {value!r:.60}"
        )
    return time


def _location(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,2000}", value):
        return value
    raise InvalidParameter("location must be a URL or a path, in ASCII without spaces")


def _kid(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InvalidParameter("kid must be a string")
