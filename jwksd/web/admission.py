"""Which requests are let in, whatever they ask for: a pure judgement of their header fields.

A server that only this machine can reach is reached by every page that a browser on it opens. A
page may give its own name the address of this machine (DNS rebinding); then the browser takes our
answers for that page's own, and tells us its name as Host.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from jwksd.errors import JwksdError, WrongHost

_LONGEST_HOST = 300
"""Octets. A name has 253 at most, and a port follows."""

_LOCAL = b"localhost"
_HOST = re.compile(rb"(?:\[([0-9a-f:.]+)\]|((?:[a-z0-9_-]+\.)*[a-z0-9_-]+)\.?)(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Admission:
    """What is let in.

    Args:
        check_host: whether a Host must be one of ours.
        hosts: the names of this server, as ``names`` makes them.
    """

    check_host: bool = True
    hosts: frozenset[bytes] = frozenset({_LOCAL})


def names(hosts: Iterable[bytes]) -> frozenset[bytes]:
    """The names of a server that may be called by these hosts, and by those of every machine."""
    return frozenset({_LOCAL, *map(_name, hosts)}) - {b""}


def judge(admission: Admission, *, hosts: Sequence[bytes]) -> JwksdError | None:
    """Why a request is refused, or None.

    Args:
        admission: what is let in.
        hosts: each Host field, and the authority of a target in absolute form (RFC 9112 §3.2.2).
    """
    if admission.check_host:
        for host in hosts:
            if len(host) > _LONGEST_HOST or _name(host) not in admission.hosts:
                return WrongHost(_wrong_host(host))
    return None


@lru_cache(maxsize=1024)
def _name(host: bytes) -> bytes:
    """The name in a Host, in lower case, without port and last dot; empty where there is none.

    It is ``localhost`` for what no page can have as a name of its own: IP addresses, and the names
    below localhost (RFC 6761 §6.3).
    """
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return b""
    address, name = match.groups()
    if address is not None:
        return _LOCAL if _is_address(IPv6Address, address) else b""
    if name.endswith(b"." + _LOCAL) or _is_address(IPv4Address, name):
        return _LOCAL
    return bytes(name)


def _is_address(kind: type[IPv4Address | IPv6Address], text: bytes) -> bool:
    try:
        kind(text.decode("ascii"))
    except AddressValueError:
        return False
    return True


def _wrong_host(host: bytes) -> str:
    name = host[:_LONGEST_HOST].decode("ascii", "backslashreplace")
    return (
        f"{name!r} is no name of this server: ask localhost, an IP address or the issuer's host, or"
        " start it with --allowed-host and the name"
    )
