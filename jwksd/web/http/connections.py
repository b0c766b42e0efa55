"""Connections: how many may be open, in all and of one client, and which gives way to a new one.

The laws of this module:
1. At the bound the connection gives way that has been idle longest, as far as that can be known
   without looking at all of them. Where none of those looked at is idle, the new one is refused.
2. A bound for each client keeps one from taking every place. This machine is exempt: there a proxy
   may stand, or a test.
3. What a connection costs does not depend on how many there are.
"""

from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from operator import itemgetter
from typing import Generic, Protocol, TypeVar

MAX_CONNECTIONS = 10_000
"""In all, unless --max-connections says otherwise."""

PER_CLIENT = 1_000
"""From one IPv4 address, or from one IPv6 network of 64 bits, which one client may have."""

_LOOKS = 64
"""Connections that are looked at in the search for one that is idle."""


class IConnection(Protocol):
    """An open connection."""

    @property
    def idle_since(self) -> float | None:
        """When it became idle, in the reactor's seconds; None if it is not idle."""

    def loseConnection(self) -> None:
        """Close it."""


C = TypeVar("C", bound=IConnection)


class _Queue(Generic[C]):
    """Open connections, those first that have probably been idle longest."""

    def __init__(self) -> None:
        # A dict would walk over the places of all that have left to find the first.
        self._looked_at: OrderedDict[C, float] = OrderedDict()
        """When each was idle at the latest, as far as was seen."""

    def __len__(self) -> int:
        return len(self._looked_at)

    def __iter__(self) -> Iterator[C]:
        return iter(self._looked_at)

    def put_last(self, connection: C, now: float) -> None:
        self._looked_at[connection] = now
        self._looked_at.move_to_end(connection)

    def remove(self, connection: C) -> None:
        self._looked_at.pop(connection, None)

    def longest_idle(self, now: float) -> C | None:
        """Return a connection that has not been used since it was looked at.

        One that has been used, or is busy, is put last: so each is looked at in its turn. Where all
        have been used, that one is returned that has been idle longest; None if all are busy.
        """
        idle: list[tuple[float, C]] = []
        for _ in range(min(_LOOKS, len(self))):
            connection, looked_at = next(iter(self._looked_at.items()))
            since = connection.idle_since
            if since is not None and since <= looked_at:
                return connection
            self.put_last(connection, now if since is None else since)
            if since is not None:
                idle.append((since, connection))
        return min(idle, key=itemgetter(0))[1] if idle else None


class Connections(Generic[C]):
    """The open connections of a site. Times are the reactor's seconds."""

    def __init__(self) -> None:
        self.bound = MAX_CONNECTIONS
        """How many there may be in all."""
        self._all: _Queue[C] = _Queue()
        self._clients: dict[str, _Queue[C]] = {}
        self._client_of: dict[C, str] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._all))

    def have_room(self, host: str | None, now: float) -> bool:
        """Return whether one more may come from a host, for which an idle one may be closed.

        ``host`` is an IP address; None where there is none, as on Unix sockets.
        """
        own = self._clients.get(client_of(host) or "")
        if own is not None and len(own) >= PER_CLIENT and not self._close_idle(own, now):
            return False
        return len(self._all) < self.bound or self._close_idle(self._all, now)

    def of_client(self, host: str | None) -> int:
        """Return how many are counted for the client of a host; 0 for this machine's own."""
        return len(self._clients.get(client_of(host) or "", ()))

    def add(self, connection: C, host: str | None, now: float) -> None:
        """Count a new connection."""
        self._all.put_last(connection, now)
        client = client_of(host)
        if client is not None:
            self._client_of[connection] = client
            self._clients.setdefault(client, _Queue()).put_last(connection, now)

    def remove(self, connection: C) -> None:
        """Count a connection no more."""
        self._all.remove(connection)
        client = self._client_of.pop(connection, None)
        if client is not None:
            self._clients[client].remove(connection)
            if not self._clients[client]:
                del self._clients[client]

    def _close_idle(self, queue: _Queue[C], now: float) -> bool:
        connection = queue.longest_idle(now)
        if connection is None:
            return False
        self.remove(connection)
        connection.loseConnection()
        return True


@lru_cache(maxsize=4096)
def client_of(host: str | None) -> str | None:
    """Return what the connections of a client have in common; None for this machine's own."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return None if address.is_loopback else str(int(address) >> 64)
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)
