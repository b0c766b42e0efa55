"""The discovery documents: standard clients find every other path in them.

OpenID Connect Discovery 1.0 §3 and RFC 8414 §2; both paths answer the same metadata. There is no
authorization endpoint: no user logs in here. ``response_types_supported``, which both require, says
id_token, as other issuers of service tokens do (Kubernetes among them).
"""

import json
from collections import OrderedDict
from urllib.parse import urlsplit

from twisted.logger import Logger
from twisted.web.server import Request

from jwksd.issuing.issuer import Issuer
from jwksd.jose.keysets import Document, document
from jwksd.web.http.escaping import escaped
from jwksd.web.http.repeat import Repeat
from jwksd.web.http.resource import JsonResource, header
from jwksd.web.wellknown import respond_document

_CLIENT_METHODS = ["client_secret_basic", "client_secret_post"]


def metadata(issuer: str, algorithms: tuple[str, ...]) -> dict[str, object]:
    """Return the metadata of an issuer. Every URL is below the issuer's."""
    base = issuer.rstrip("/")
    return {
        "issuer": issuer,
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "token_endpoint": f"{base}/token",
        "introspection_endpoint": f"{base}/introspect",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(algorithms),
        "token_endpoint_auth_methods_supported": _CLIENT_METHODS,
        "introspection_endpoint_auth_methods_supported": _CLIENT_METHODS,
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"],
    }


class DiscoveryResource(JsonResource):
    """The metadata of one issuer. It does not change while the server runs."""

    _log = Logger()

    def __init__(self, issuer: Issuer) -> None:
        super().__init__({b"GET": self._get, b"HEAD": self._get})
        self._issuer = issuer
        self._document: Document | None = None
        self._hosts_warned_of: OrderedDict[str, None] = OrderedDict()

    def _get(self, request: Request) -> None:
        if self._document is None:
            members = metadata(self._issuer.name, self._issuer.algorithms)
            self._document = document(json.dumps(members, allow_nan=False).encode("utf-8"))
        self._warn_of_mismatch(request)
        body = self._document.body
        repeat = Repeat(lambda: body, len(body))
        cache_control = b"public, max-age=300"
        respond_document(request, self._document, b"application/json", cache_control, repeat)

    def _warn_of_mismatch(self, request: Request) -> None:
        """Warn once for each host: a client compares it with the issuer (OIDC Discovery §4.3)."""
        host = escaped(header(request, b"host"), 255)
        if host == urlsplit(self._issuer.name).netloc or host in self._hosts_warned_of:
            return
        self._hosts_warned_of[host] = None
        if len(self._hosts_warned_of) > 100:
            self._hosts_warned_of.popitem(last=False)
        self._log.warn(
            "a client asked '{host}' who the issuer is, and the answer was {issuer}; if it compares"
            " the two it will refuse: start with --issuer and the URL that clients use",
            host=host,
            issuer=self._issuer.name,
        )
