"""Which endpoints a server listens on, and whether other machines may reach them."""

from collections.abc import Sequence

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.interfaces import IReactorSocket, IReactorTCP, IStreamServerEndpoint

from jwksd.errors import StartUpRefused
from jwksd.web.endpoints.reuseport import ReusePortEndpoint

BACKLOG = 1024
"""Connections that the kernel keeps for us until we take them; Twisted asks for 50."""

_HAVE_BACKLOG = frozenset({"tcp", "tcp6", "ssl", "unix"})
"""The kinds of endpoint descriptions that take a backlog."""

NamedEndpoint = tuple[str, IStreamServerEndpoint]
"""An endpoint, and the words for it in a message."""


class IEndpointReactor(IReactorTCP, IReactorSocket):
    """A reactor that listens, on sockets that were made elsewhere too."""


def described(reactor: IEndpointReactor, texts: Sequence[str]) -> list[NamedEndpoint]:
    """Return the endpoints of Twisted's descriptions, such as ``tcp:8080:interface=127.0.0.1``.

    Raises:
        StartUpRefused: one is no description.
    """
    return [(text, _described(reactor, text)) for text in texts]


def tcp(
    reactor: IEndpointReactor, interface: str, port: int, *, reuse_port: bool
) -> list[NamedEndpoint]:
    """Return the endpoint of a TCP port, which several processes may share with ``reuse_port``."""
    name = f"{interface} port {port}"
    if reuse_port:
        return [(name, ReusePortEndpoint(reactor, port, interface, BACKLOG))]
    kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    return [(name, kind(reactor, port, backlog=BACKLOG, interface=interface))]


def why_local_only(*, remote_minting: bool, dev: bool, remote_dev: bool) -> str:
    """Return why other machines are kept out, and what would let them in; empty if they may come.

    Args:
        remote_minting: whether other machines may mint tokens.
        dev: whether the dev surface is open.
        remote_dev: whether other machines may use it.
    """
    if not remote_minting:
        return "anyone there could mint tokens; --allow-remote-minting allows that"
    if dev and not remote_dev:
        return "with --dev anyone there could change the server; --allow-remote-dev allows that"
    return ""


def _described(reactor: IEndpointReactor, text: str) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, _with_backlog(text))
    except Exception as error:  # every endpoint parser raises what it likes
        raise StartUpRefused(
            f"--listen {text!r} is no endpoint description such as"
            f" tcp:8080:interface=127.0.0.1 ({error})"
        ) from None
    return endpoint


def _with_backlog(text: str) -> str:
    """Return the description, with our backlog where it could name one and does not."""
    kind = text.partition(":")[0]
    return text if kind not in _HAVE_BACKLOG or ":backlog=" in text else f"{text}:backlog={BACKLOG}"
