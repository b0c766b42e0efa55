"""Faults of the JWKS endpoint, on demand: what a verifier meets when its issuer is unwell.

Faults are queued; the first in the queue meets every GET of ``jwks.json`` until it has been seen
``count`` times, or until its time is over, and then the next one does. Only ``--dev`` reaches them.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from types import MappingProxyType
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.web.server import Request

from jwksd.errors import JwksdError
from jwksd.issuing.issuer import Issuer
from jwksd.jose.keysets import Document, document
from jwksd.web.http.resource import respond, respond_problem
from jwksd.web.wellknown import KeySetResource, respond_key_set

_UNKNOWN_KEY = {"kty": "urn:example:unknown", "kid": "unknown-key-type", "use": "sig", "alg": "XX1"}

_FAULTY = b"no-cache"
"""A wrong document does not outlive its fault in any cache."""


class InducedFault(JwksdError):
    """The status that a developer asked for."""

    slug = "induced-fault"
    title = "A fault that was asked for"

    def __init__(self, status: int, retry_after: int | None) -> None:
        super().__init__("this answer was asked for by POST /dev?action=fault")
        self.status = status  # type: ignore[misc]  # of the class elsewhere
        self._retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {} if self._retry_after is None else {"Retry-After": str(self._retry_after)}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``count`` is how many answers it has; ``until`` is when it ends, in the reactor's
    seconds; None is without bound. The rest are its own parameters."""

    kind: str
    count: int | None
    until: float | None
    status: int = 503
    retry_after: int | None = None
    delay: float = 0.0
    location: str = "/.well-known/jwks.json"
    kid: str | None = None
    stale: Document | None = None


@dataclass(slots=True)
class _Queued:
    """A fault, and how many answers it has left."""

    fault: Fault
    left: int | None

    def seconds_left(self, now: float) -> float | None:
        until = self.fault.until
        return None if until is None else round(until - now, 3)

    def ended(self, now: float) -> bool:
        until = self.fault.until
        return self.left == 0 or (until is not None and now >= until)


class Faults:
    """The queue of faults."""

    def __init__(self, reactor: IReactorTime) -> None:
        self.reactor = reactor
        self._queue: deque[_Queued] = deque()

    def add(self, fault: Fault) -> None:
        """Queue a fault behind those that there are."""
        self._queue.append(_Queued(fault, fault.count))

    def clear(self) -> int:
        """Forget every fault, and answer how many there were."""
        count = len(self._queue)
        self._queue.clear()
        return count

    @property
    def pending(self) -> bool:
        """Whether the next answer would meet one."""
        self._drop_ended()
        return bool(self._queue)

    def next(self) -> Fault | None:
        """The fault of this answer, or None when all is well."""
        self._drop_ended()
        if not self._queue:
            return None
        first = self._queue[0]
        if first.left is not None:
            first.left -= 1
        return first.fault

    def describe(self) -> list[dict[str, object]]:
        """What is queued: kind, answers left, seconds left."""
        self._drop_ended()
        now = self.reactor.seconds()
        return [
            {
                "fault": queued.fault.kind,
                "count": queued.left,
                "seconds": queued.seconds_left(now),
            }
            for queued in self._queue
        ]

    def _drop_ended(self) -> None:
        now = self.reactor.seconds()
        while self._queue and self._queue[0].ended(now):
            self._queue.popleft()


class FaultyKeySetResource(KeySetResource):
    """``jwks.json``, as well or unwell as the queue has it."""

    def __init__(self, issuer: Issuer, faults: Faults) -> None:
        super().__init__(issuer)
        self._faults = faults

    def _get(self, request: Request) -> "Deferred[None] | None":
        fault = self._faults.next()
        if fault is None:
            return super()._get(request)
        if fault.kind == "delay":
            return deferLater(self._faults.reactor, fault.delay, self._late, request)
        FAULTS[fault.kind](request, fault, self._issuer.policy.keys.key_set())
        return None

    def _late(self, request: Request) -> None:
        super()._get(request)

    def is_current(self, document: Document, cache_control: bytes) -> bool:
        return not self._faults.pending and super().is_current(document, cache_control)


def _status(request: Request, fault: Fault, current: Document) -> None:
    respond_problem(request, InducedFault(fault.status, fault.retry_after))


def _redirect(request: Request, fault: Fault, current: Document) -> None:
    respond(request, 302, headers=((b"Location", fault.location.encode("ascii")),))


def _cut(request: Request, fault: Fault, current: Document) -> None:
    """All headers, half of the body, and then the end of the connection."""
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(current.body))
    request.write(current.body[: len(current.body) // 2])
    request.channel.loseConnection()


def _reset(request: Request, fault: Fault, current: Document) -> None:
    """No answer: a TCP reset, which is what a close without linger sends."""
    transport = cast(Connection, request.transport)
    transport.getHandle().setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    transport.abortConnection()


def _media_type(request: Request, fault: Fault, current: Document) -> None:
    respond(request, 200, current.body, ((b"Content-Type", b"text/html; charset=utf-8"),))


def _changed(change: Callable[[list[dict[str, Any]], Fault], list[dict[str, Any]]]) -> "Answer":
    """The set with its keys changed, whole and well-formed otherwise."""

    def answer(request: Request, fault: Fault, current: Document) -> None:
        keys = change(json.loads(current.body)["keys"], fault)
        body = json.dumps({"keys": keys}, separators=(",", ":")).encode("ascii")
        respond_key_set(request, document(body), _FAULTY)

    return answer


def _malformed(request: Request, fault: Fault, current: Document) -> None:
    respond_key_set(request, document(current.body[:-1]), _FAULTY)


def _stale(request: Request, fault: Fault, current: Document) -> None:
    respond_key_set(request, fault.stale or current, _FAULTY)


def _without_one(keys: list[dict[str, Any]], fault: Fault) -> list[dict[str, Any]]:
    """Without the key named, or the newest."""
    wanted = fault.kid or (keys[-1]["kid"] if keys else None)
    return [key for key in keys if key["kid"] != wanted]


def _with_duplicate(keys: list[dict[str, Any]], fault: Fault) -> list[dict[str, Any]]:
    """The newest kid twice: once on its own key, once on the oldest other, or the same again."""
    return [{**keys[0], "kid": keys[-1]["kid"]}, *keys] if keys else []


Answer = Callable[[Request, Fault, Document], None]

FAULTS: Mapping[str, Answer] = MappingProxyType(
    {
        "status": _status,
        "redirect": _redirect,
        "cut": _cut,
        "malformed": _malformed,
        "empty": _changed(lambda keys, fault: []),
        "stale": _stale,
        "missing": _changed(_without_one),
        "duplicate": _changed(_with_duplicate),
        "unknown-type": _changed(lambda keys, fault: [_UNKNOWN_KEY, *keys]),
        "media-type": _media_type,
        "reset": _reset,
    }
)
"""How each kind of fault answers; a delay is none of them: it answers late, and right."""

KINDS = ("delay", *FAULTS)
"""Every kind of fault."""
