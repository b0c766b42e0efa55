"""/dev: changes to a running server that only a developer may make. It exists with ``--dev``.

``POST /dev?action=NAME`` acts. ``GET /dev`` answers the state of the server, ``GET /dev/keys``
every key with its state, ``GET /dev/defects`` the catalogue of wrong tokens. Parameters come from
the query, a form or a JSON body.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from jwksd.dev.clock import DevClock
from jwksd.dev.defects import DEFECTS
from jwksd.dev.faults import Fault, Faults
from jwksd.errors import InvalidParameter
from jwksd.issuing.issuer import Issuer
from jwksd.jose.jsontext import shown
from jwksd.jose.tokens import MAX_DATE
from jwksd.web.faults import KINDS
from jwksd.web.http.parameters import Parameters, Table, read_parameters
from jwksd.web.http.resource import NO_STORE, JsonResource, respond_json
from jwksd.web.http.values import number, plain, text, whole

_DAY = 86_400

Members = dict[str, object]
Action = Callable[[Parameters], Members | Coroutine[Deferred[object], object, Members]]

_date = number(0, MAX_DATE)


def _time(name: str, value: object) -> float:
    """Read a NumericDate, or a date and time of RFC 3339 with its offset, as seconds."""
    moment = None
    if isinstance(value, str) and not value.isdigit():
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
    has_offset = moment is not None and moment.tzinfo is not None
    try:
        return _date(name, moment.timestamp() if moment is not None and has_offset else value)
    except InvalidParameter:
        raise InvalidParameter(
            f"set needs {name}: seconds since 1970, or such as 2030-01-01T00:00:00Z (RFC 3339),"
            f" not {shown(value)}"
        ) from None


def _location(name: str, value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,2000}", value):
        return value
    raise InvalidParameter(f"{name} must be a URL or a path, in ASCII without spaces")


PARAMETERS: Table = {
    "action": plain(text),
    "alg": plain(text),
    "kid": plain(text),
    "time": plain(_time),
    "seconds": plain(_date),
    "fault": plain(text),
    "count": plain(whole(1, 1_000_000)),
    "status": plain(whole(400, 599)),
    "retry_after": plain(whole(0, _DAY)),
    "delay": plain(number(0, 3600)),
    "location": plain(_location),
}

_TAKEN: Mapping[str, frozenset[str]] = {
    "revoke": frozenset({"kid"}),
    "rotate": frozenset({"alg"}),
    "set": frozenset({"time"}),
    "advance": frozenset({"seconds"}),
    "fault": frozenset(PARAMETERS) - {"action", "alg", "time"},
}
"""The parameters of each action; the others have none."""

_OF_EACH_FAULT = frozenset({"fault", "count", "seconds"})
_OF_FAULT: Mapping[str, frozenset[str]] = {
    "delay": frozenset({"delay"}),
    "status": frozenset({"status", "retry_after"}),
    "redirect": frozenset({"location"}),
    "missing": frozenset({"kid"}),
}
"""The parameters of each fault, beside those of all; the others have no more."""


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
        if read_parameters(request, PARAMETERS):
            raise InvalidParameter("an action changes the server: use POST for it, not GET")
        state = {
            "keys": len(self._issuer.policy.keys),
            "clock": self._clock_state(),
            "faults": self._faults.describe(),
        }
        respond_json(request, 200, state, NO_STORE)

    def _post(self, request: Request) -> "Deferred[None] | None":
        parameters = read_parameters(request, PARAMETERS)
        name = parameters.pop("action", None)
        act = self._actions.get(name)
        if act is None:
            allowed = ", ".join(sorted(self._actions))
            raise InvalidParameter(f"action must be one of {allowed}, not {shown(name)}")
        _check_taken(name, _TAKEN.get(name, frozenset()), parameters)
        return Deferred.fromCoroutine(self._act(request, act, name, parameters))

    async def _act(self, request: Request, act: Action, name: str, parameters: Parameters) -> None:
        answer = act(parameters)
        if not isinstance(answer, dict):
            answer = await answer
        respond_json(request, 200, {"action": name, **answer}, NO_STORE)

    async def _rotate(self, parameters: Parameters) -> Members:
        return dict(await self._issuer.rotate(parameters.get("alg")))

    async def _reset_keys(self, parameters: Parameters) -> Members:
        return {"removed": await self._issuer.reset_keys()}

    async def _reset(self, parameters: Parameters) -> Members:
        """Make everything as it was at the start: no keys, no faults, real time."""
        self._clock.release()
        cleared = self._faults.clear()
        return {"removed": await self._issuer.reset_keys(), "cleared": cleared}

    async def _revoke(self, parameters: Parameters) -> Members:
        kid = parameters.get("kid")
        if kid is None:
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
        self._clock.set(parameters["time"] if "time" in parameters else _time("time", None))
        return self._clock_state()

    def _advance(self, parameters: Parameters) -> Members:
        seconds = parameters.get("seconds")
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
            raise InvalidParameter(f"fault must be one of {', '.join(KINDS)}, not {shown(kind)}")
        _check_taken(kind, _OF_EACH_FAULT | _OF_FAULT.get(kind, frozenset()), parameters)
        until = None
        if "seconds" in parameters:
            seconds = number(0, _DAY)("seconds", parameters["seconds"])
            until = self._faults.reactor.seconds() + seconds
        return Fault(
            kind=kind,
            count=parameters.get("count", 1 if until is None else None),
            until=until,
            status=parameters.get("status", 503),
            retry_after=parameters.get("retry_after"),
            delay=parameters.get("delay", 1.0),
            location=parameters.get("location", "/.well-known/jwks.json"),
            kid=parameters.get("kid"),
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


def _check_taken(what: str, taken: frozenset[str], parameters: Parameters) -> None:
    """Refuse a parameter that an action or a fault would pass over."""
    others = sorted(parameters.keys() - taken)
    if others:
        takes = ", ".join(sorted(taken)) or "no parameter"
        raise InvalidParameter(f"{what} takes {takes}, not {others[0]}")
