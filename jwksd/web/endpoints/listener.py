"""Listener: the service that binds the site to its addresses, and releases them in order.

A port that cannot be had ends the start; it is never logged and passed over.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.python.failure import Failure

from jwksd.errors import StartUpRefused
from jwksd.web.http.site import Site
from jwksd.web.http.transport import read_little


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def base_url(address: IAddress, scheme: str = "http") -> str | None:
    """Return the URL of what listens at an address, or None where it has no host and port."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None or port is None:
        return None
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Listener(Service):
    """Listens on endpoints from start to stop.

    Args:
        endpoints: where, each with the text that named it.
        site: what answers there.
        local_only: refuse every address that other machines can reach, with this explanation; an
            empty text allows them.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, IStreamServerEndpoint]],
        site: Site,
        *,
        local_only: str,
    ) -> None:
        self._endpoints = endpoints
        self._site = site
        self._local_only = local_only
        self._ports: list[IListeningPort] = []
        self._closing: list[Deferred[Any]] = []

    @property
    def addresses(self) -> list[IAddress]:
        """What it is bound to, with the real port even where 0 was asked for."""
        return [port.getHost() for port in self._ports]

    def privilegedStartService(self) -> None:
        """Bind, before privileges are shed; nobody is answered before the reactor's next turn.

        Raises:
            StartUpRefused: an address cannot be had, or is not allowed.
        """
        for name, endpoint in self._endpoints:
            self._ports.append(self._bind(name, endpoint))
            self._refuse_remote(name, self._ports[-1].getHost())

    def startService(self) -> None:
        if not self._ports:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """Stop listening at once; the Deferred fires when the requests in flight are answered."""
        super().stopService()
        return self.release().addCallback(lambda _: self._site.drain())

    def release(self) -> "Deferred[Any]":
        """Release every port; the Deferred fires when all are closed."""
        ports, self._ports = self._ports, []
        self._closing.extend([maybeDeferred(port.stopListening) for port in ports])
        return DeferredList(self._closing)

    def _bind(self, name: str, endpoint: IStreamServerEndpoint) -> IListeningPort:
        results: list[IListeningPort | Failure] = []
        endpoint.listen(self._site).addBoth(results.append)
        if not results:
            raise StartUpRefused(f"{name} does not listen at once, which start-up cannot wait for")
        if isinstance(results[0], Failure):
            raise StartUpRefused(f"cannot listen on {name}: {_reason(results[0].value)}")
        read_little(results[0])
        return results[0]

    def _refuse_remote(self, name: str, address: IAddress) -> None:
        host = getattr(address, "host", None)
        if self._local_only and host is not None and not is_loopback(host):
            raise StartUpRefused(f"{name} can be reached from other machines; {self._local_only}")


def _reason(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        error = error.socketError
    return getattr(error, "strerror", None) or str(error)
