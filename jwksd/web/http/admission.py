"""Which requests are let in, whatever they ask for: a pure function of their header fields.

A server on loopback can be reached by every page that a browser on this machine opens. A page may
give its own name the address of this machine (DNS rebinding); then the browser takes our answers
for that page's own, and sends its name as Host.

And a page of any site may send a POST here without being asked, as a form does. It cannot read the
answer, but keys would be made and removed all the same. Browsers say where a request comes from
in Sec-Fetch-Site and Origin, which no page can change; other clients send neither.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urlsplit

from jwksd.errors import CrossSite, JwksdError, WrongHost

_LONGEST_HOST = 300
"""Octets. A name has 253 at most, and a port follows."""

_LOCAL = b"localhost"
_HOST = re.compile(rb"(?:\[([0-9a-f:.]+)\]|((?:[a-z0-9_-]+\.)*[a-z0-9_-]+)\.?)(?::[0-9]*)?")

_PORTS = {"http": ":80", "https": ":443"}
"""The ports that browsers leave out."""

_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OWN_SITES = ((b"same-origin",), (b"none",))


@dataclass(frozen=True, slots=True)
class Admission:
    """What is let in.

    Args:
        check_host: whether a Host must be one of ours.
        hosts: the names of this server, as ``host_names`` makes them.
        issuer: the origin of the issuer URL, whose pages are the server's own.
        cors_origins: other origins whose pages may do what its own may. Both are as ``origin_of``
            writes them.
    """

    check_host: bool = True
    hosts: frozenset[bytes] = frozenset({_LOCAL})
    issuer: bytes | None = None
    cors_origins: frozenset[bytes] = frozenset()

    def listed(self, origins: Sequence[bytes]) -> bytes | None:
        """Return the origin in these Origin fields, if it is one of ``cors_origins``."""
        return origins[0] if len(origins) == 1 and origins[0] in self.cors_origins else None


def host_names(hosts: Iterable[bytes]) -> frozenset[bytes]:
    """Return the names of a server that is called by these hosts, and by those of loopback."""
    return frozenset({_LOCAL, *map(_name, hosts)}) - {b""}


def origin_of(url: str) -> bytes:
    """Return the origin of a URL, as browsers write it (RFC 6454 §6.2)."""
    parts = urlsplit(url.lower())
    authority = parts.netloc.rpartition("@")[2].removesuffix(_PORTS.get(parts.scheme, ""))
    return f"{parts.scheme}://{authority}".encode("ascii")


def judge(
    admission: Admission,
    method: bytes,
    *,
    hosts: Sequence[bytes],
    origins: Sequence[bytes],
    sites: Sequence[bytes],
) -> JwksdError | None:
    """Return the error that refuses a request, or None.

    Args:
        admission: what is let in.
        method: of the request.
        hosts: each Host field, and the authority of a target in absolute form (RFC 9112 §3.2.2).
        origins: each Origin field.
        sites: each Sec-Fetch-Site field.
    """
    if admission.check_host:
        for host in hosts:
            if len(host) > _LONGEST_HOST or _name(host) not in admission.hosts:
                return WrongHost(_wrong_host(host))
    if method in _SAFE or admission.listed(origins) is not None:
        return None
    if sites:
        own = tuple(sites) in _OWN_SITES
    else:
        own = not origins or _are_own(admission, hosts, origins)
    return None if own else CrossSite(_cross_site(origins))


def _are_own(admission: Admission, hosts: Sequence[bytes], origins: Sequence[bytes]) -> bool:
    """Return whether there is one origin, that of the issuer or of the Host.

    A proxy may have terminated TLS, so a host has two origins.
    """
    if len(origins) != 1:
        return False
    if origins[0] == admission.issuer:
        return True
    return bool(hosts) and all(origins[0] in _origins_of(host.lower()) for host in hosts)


def _origins_of(host: bytes) -> Sequence[bytes]:
    if not host:
        return ()
    return b"http://" + host.removesuffix(b":80"), b"https://" + host.removesuffix(b":443")


@lru_cache(maxsize=1024)
def _name(host: bytes) -> bytes:
    """Return the name in a Host, in lower case, without port and last dot, or an empty one.

    It is ``localhost`` for what no page can have as a name of its own: IP addresses, and the names
    below localhost (RFC 6761 §6.3).
    """
    match = _HOST.fullmatch(host.lower())
    address, name = match.groups() if match is not None else (None, b"")
    if address is not None:
        return _LOCAL if _is_address(IPv6Address, address) else b""
    is_local = name.endswith(b"." + _LOCAL) or _is_address(IPv4Address, name)
    return _LOCAL if is_local else bytes(name)


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


def _cross_site(origins: Sequence[bytes]) -> str:
    if tuple(origins) == (b"null",):
        return (
            "a page whose origin is null (a file, a data: URL, a sandboxed frame) may not do this;"
            " serve it from an origin, and start the server with --cors-origin and that"
        )
    origin = b", ".join(origins)[:_LONGEST_HOST].decode("ascii", "backslashreplace")
    return (
        f"a page of another origin ({origin or 'unknown'}) may not do this; start the server with"
        " --cors-origin and its origin to let it"
    )
