"""The resource tree, on one screen."""

from jwksd.issuer import Issuer
from jwksd.web.auth import AuthResource
from jwksd.web.base import NotFound
from jwksd.web.dev import DevResource
from jwksd.web.wellknown import WellKnownResource


class Root(NotFound):
    """``/``: nothing is at the path itself yet; what is below it is."""

    isLeaf = False


def make_root(issuer: Issuer, *, dev: bool = False) -> Root:
    """Every path that is served. Without ``dev``, ``/dev`` is as unknown as any other."""
    root = Root()
    root.putChild(b"auth", AuthResource(issuer))
    root.putChild(b".well-known", WellKnownResource(issuer))
    if dev:
        root.putChild(b"dev", DevResource(issuer))
    return root
