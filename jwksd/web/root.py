"""The resource tree, on one screen."""

from dataclasses import dataclass

from jwksd.dev.clock import DevClock
from jwksd.dev.faults import Faults
from jwksd.issuing.issuer import Issuer
from jwksd.web.auth import AuthResource
from jwksd.web.dev import DevResource
from jwksd.web.discovery import DiscoveryResource
from jwksd.web.faults import FaultyKeySetResource
from jwksd.web.health import HealthResource, ReadyResource
from jwksd.web.http.resource import NotFound
from jwksd.web.oauth import IntrospectResource, TokenResource
from jwksd.web.wellknown import WellKnownResource


class Root(NotFound):
    """``/``: nothing is at the path itself yet; what is below it is."""

    isLeaf = False


@dataclass(frozen=True, slots=True)
class Dev:
    """What the dev surface works on, beside the issuer."""

    clock: DevClock
    faults: Faults


def make_root(issuer: Issuer, dev: Dev | None = None) -> Root:
    """Every path that is served. Without ``dev``, ``/dev`` is as unknown as any other."""
    root = Root()
    well_known = WellKnownResource(issuer)
    metadata = DiscoveryResource(issuer)
    well_known.putChild(b"openid-configuration", metadata)
    well_known.putChild(b"oauth-authorization-server", metadata)
    root.putChild(b".well-known", well_known)
    root.putChild(b"auth", AuthResource(issuer, dev=dev is not None))
    root.putChild(b"token", TokenResource(issuer, dev=dev is not None))
    root.putChild(b"introspect", IntrospectResource(issuer))
    root.putChild(b"healthz", HealthResource())
    root.putChild(b"readyz", ReadyResource(lambda: issuer.not_ready))
    if dev is not None:
        well_known.putChild(b"jwks.json", FaultyKeySetResource(issuer, dev.faults))
        root.putChild(b"dev", DevResource(issuer, dev.clock, dev.faults))
    return root
