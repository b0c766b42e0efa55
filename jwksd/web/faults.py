"""GET jwks.json with faults: how each kind of fault answers. Only ``--dev`` reaches them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from types import MappingProxyType
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.web.server import Request

from jwksd.dev.faults import Fault, Faults
from jwksd.errors import JwksdError
from jwksd.issuing.issuer import Issuer
from jwksd.jose.keysets import Document, document
from jwksd.web.http.resource import respond, respond_problem
from jwksd.web.wellknown import KeySetResource, respond_key_set, wanted_kid

_UNKNOWN_KEY = {"kty": "urn:example:unknown", "kid": "unknown-key-type", "use": "sig", "alg": "XX1"}

_FAULTY = b"no-cache"
"""The Cache-Control of wrong documents, so that no cache keeps one beyond its fault."""


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


class FaultyKeySetResource(KeySetResource):
    """``jwks.json``; the faults in the queue meet its next requests."""

    def __init__(self, issuer: Issuer, faults: Faults) -> None:
        super().__init__(issuer)
        self._faults = faults

    def _get(self, request: Request) -> "Deferred[None] | None":
        kid = wanted_kid(request)
        fault = self._faults.next()
        if fault is None:
            return super()._get(request)
        if fault.kind == "delay":
            return Deferred.fromCoroutine(self._answer_late(request, fault.delay))
        keys = self._issuer.policy.keys.key_set()
        if kid is not None:
            fault = replace(fault, stale=fault.stale and only(fault.stale, kid))
            keys = only(keys, kid)
        FAULTS[fault.kind](request, fault, keys)
        return None

    async def _answer_late(self, request: Request, delay: float) -> None:
        await deferLater(self._faults.reactor, delay)
        answer = super()._get(request)
        if answer is not None:
            await answer

    def is_current(self, document: Document, cache_control: bytes) -> bool:
        return self.is_sound() and super().is_current(document, cache_control)

    def is_sound(self) -> bool:
        return not self._faults.pending


def only(keys: Document, kid: str) -> Document:
    """Return the set without all other keys than the one with this kid."""
    found = [key for key in json.loads(keys.body)["keys"] if key["kid"] == kid]
    return _set(found)


def _set(keys: list[dict[str, Any]]) -> Document:
    return document(
        json.dumps({"keys": keys}, separators=(",", ":"), allow_nan=False).encode("ascii")
    )


def _status(request: Request, fault: Fault, current: Document) -> None:
    respond_problem(request, InducedFault(fault.status, fault.retry_after))


def _redirect(request: Request, fault: Fault, current: Document) -> None:
    respond(request, 302, headers=((b"Location", fault.location.encode("ascii")),))


def _cut(request: Request, fault: Fault, current: Document) -> None:
    """Send all header fields and half of the body, then close the connection."""
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(current.body))
    request.write(current.body[: len(current.body) // 2])
    request.channel.loseConnection()


def _reset(request: Request, fault: Fault, current: Document) -> None:
    """Send no answer but a TCP reset, which closing without lingering sends."""
    transport = cast(Connection, request.transport)
    transport.getHandle().setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    transport.abortConnection()


def _media_type(request: Request, fault: Fault, current: Document) -> None:
    respond(request, 200, current.body, ((b"Content-Type", b"text/html; charset=utf-8"),))


def _changed(change: Callable[[list[dict[str, Any]], Fault], list[dict[str, Any]]]) -> "Responder":
    """Return what answers a well-formed set whose keys are changed."""

    def respond_changed(request: Request, fault: Fault, current: Document) -> None:
        keys = change(json.loads(current.body)["keys"], fault)
        respond_key_set(request, _set(keys), _FAULTY)

    return respond_changed


def _malformed(request: Request, fault: Fault, current: Document) -> None:
    respond_key_set(request, document(current.body[:-1]), _FAULTY)


def _stale(request: Request, fault: Fault, current: Document) -> None:
    respond_key_set(request, fault.stale or current, _FAULTY)


def _without_one(keys: list[dict[str, Any]], fault: Fault) -> list[dict[str, Any]]:
    """Leave out the key with the kid of the fault, or else the newest."""
    wanted = fault.kid or (keys[-1]["kid"] if keys else None)
    return [key for key in keys if key["kid"] != wanted]


def _with_duplicate(keys: list[dict[str, Any]], fault: Fault) -> list[dict[str, Any]]:
    """Put the newest kid on a copy of the oldest key too."""
    return [{**keys[0], "kid": keys[-1]["kid"]}, *keys] if keys else []


Responder = Callable[[Request, Fault, Document], None]

FAULTS: Mapping[str, Responder] = MappingProxyType(
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
"""How each kind of fault answers. A delay is not among them: its answer is right, and late."""

KINDS = ("delay", *FAULTS)
"""Every kind of fault."""
