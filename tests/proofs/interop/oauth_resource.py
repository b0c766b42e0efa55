"""A protected resource in Python: Authlib's RFC 9068 validator behind the standard HTTP server."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import requests
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import ResourceProtector
from authlib.oauth2.rfc8414 import get_well_known_url
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import KeySet


def discover(issuer: str) -> dict[str, Any]:
    """The RFC 8414 document of an issuer, from where Authlib says that it is."""
    response = requests.get(get_well_known_url(issuer, external=True), timeout=10)
    response.raise_for_status()
    metadata: dict[str, Any] = response.json()
    return metadata


class Validator(JWTBearerTokenValidator):  # type: ignore[misc]
    """Takes the keys from where the metadata says, afresh for every token: each has its own."""

    def get_jwks(self) -> KeySet:
        uri = discover(self.issuer)["jwks_uri"]
        return KeySet.import_key_set(requests.get(uri, timeout=10).json())


class Handler(BaseHTTPRequestHandler):
    """Answers 200 to who has a token, and else what Authlib says."""

    protector: ResourceProtector

    def do_GET(self) -> None:
        status, headers = self._judge()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Keep the output to the checks."""

    def _judge(self) -> tuple[int, list[tuple[str, str]]]:
        try:
            self.protector.validate_request(None, self)
        except OAuth2Error as error:
            return error.status_code, error.get_headers()
        return 200, []


@contextmanager
def authlib_resource(issuer: str, audience: str) -> Iterator[str]:
    """The URL of a resource that accepts tokens of the issuer for the audience."""
    protector = ResourceProtector()
    protector.register_token_validator(Validator(issuer, audience))
    handler = type("BoundHandler", (Handler,), {"protector": protector})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
