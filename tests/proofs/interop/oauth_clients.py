"""Standard OAuth clients against a real jwksd, each told nothing but the issuer URL.

    python -m tests.proofs.interop.oauth_clients --tools DIR

The clients are openid-client and oauth4webapi (npm), jose (npm), Authlib, and Apache httpd with
mod_auth_openidc. Each of them gets tokens, introspects them, or protects a resource with them:
what /token issues passes, what is wrong on purpose does not. All of it once over http with RS256,
and once over https with ES256. What is missing is installed first, npm packages into DIR.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jwksd.jose.verifying import key_id
from tests.proofs.interop import inputs
from tests.proofs.interop import oauth_tools as tools
from tests.support.processes import free_port, running

PAGE = "oauth-clients"
_PAGE = (
    "# OAuth clients",
    "",
    "Standard clients that are told nothing but the issuer URL of a jwksd. They get tokens,",
    "introspect them and protect resources with them, over http with RS256 and over https with",
    "ES256. Made by",
    "",
    "    python -m tests.proofs.interop.oauth_clients --tools DIR --write",
    "",
    "| client | version |",
    "|---|---|",
)

CLIENT, SECRET = "billing", "any"
ODD_CLIENT, ODD_SECRET = "svc:billing+1 50%/ü", "p: &=ß"
AUDIENCE = "https://resource.example/api"
SCOPE = "invoices:read invoices:write"

DEFECTS = (
    "sig-flipped",
    "sig-stripped",
    "payload-changed",
    "alg-none",
    "alg-none-signed",
    "alg-hs256-pem",
    "kid-foreign",
    "kid-unknown",
    "key-revoked",
    "exp-past",
    "nbf-future",
    "iss-wrong",
    "jwk-embedded",
)


LENIENT = {
    # The module looks at exp and iat of a token that it verifies by itself, and never at nbf.
    ("mod_auth_openidc by jwks_uri", "nbf-future"),
}
"""What a client lets pass, of its own accord; should one mend its ways, the check says so."""


class Tally:
    """Prints what is checked, and counts."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, name: str, passed: bool, detail: object = "") -> None:
        """One line; the detail is for a failure."""
        self.passed += passed
        self.failed += not passed
        print(f"ok: {name}" if passed else f"FAILED: {name}: {detail}", flush=True)

    def equal(self, name: str, found: object, expected: object) -> None:
        """Check that two values are the same."""
        self.check(name, found == expected, f"{found!r} instead of {expected!r}")

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """What goes wrong within is a failure, and the next section still runs."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.check(name, False, repr(error))


@dataclass(frozen=True)
class Server:
    """A running jwksd, as its clients know it."""

    issuer: str
    folder: Path

    def post(self, path: str, **arguments: Any) -> Any:
        """The answer to a POST, which must be 200."""
        import requests

        response = requests.post(f"{self.issuer}{path}", timeout=20, **arguments)
        response.raise_for_status()
        return response

    def access_token(self) -> str:
        """A token from /token, as any client gets it."""
        form = {"grant_type": "client_credentials", "scope": SCOPE, "resource": AUDIENCE}
        token: str = self.post("/token", data=form, auth=(CLIENT, SECRET)).json()["access_token"]
        return token

    def like_access_token(self, defect: str | None = None) -> str:
        """A token from /auth that has all of an access token, and a defect."""
        body = {
            "header": {"typ": "at+jwt"},
            "claims": {"sub": CLIENT, "client_id": CLIENT, "aud": AUDIENCE, "scope": SCOPE},
        }
        if defect is not None:
            body["defect"] = defect  # type: ignore[assignment]
        token: str = self.post("/auth", json=body).text
        return token

    def revoke(self, token: str) -> None:
        """Withdraw the key of a token."""
        self.post("/dev", params={"action": "revoke", "kid": key_id(token)})


@contextmanager
def plain_server(folder: Path) -> Iterator[Server]:
    """Over http, with RS256."""
    with running(str(folder), "--dev") as daemon:
        yield Server(f"http://localhost:{daemon.port}", folder)


@contextmanager
def tls_server(folder: Path, key: Path) -> Iterator[Server]:
    """Over https, with ES256."""
    port = free_port()
    listen = f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={folder / 'cert.pem'}"
    issuer = f"https://localhost:{port}"
    options = ("--dev", "--alg", "ES256", "--listen", listen, "--issuer", issuer)
    with tools.daemon(folder, port, *options):
        yield Server(issuer, folder)


def check_openid_client(tally: Tally, server: Server, folder: Path) -> None:
    """Discovery, client credentials and introspection by npm openid-client."""
    arguments = (server.issuer, ODD_CLIENT, ODD_SECRET, SCOPE, AUDIENCE)
    answer = json.loads(tools.run_node(folder, "client.mjs", *arguments))
    for grant in answer["grants"]:
        name = f"openid-client, {grant['algorithm']} discovery, {grant['authentication']}"
        _check_token(tally, name, grant["token"])
        _check_claims(tally, name, server, grant["claims"], ODD_CLIENT)
    tally.equal("openid-client: garbage is not active", answer["garbage"], {"active": False})
    for code, error in answer["refusals"].items():
        expected = {"name": "ResponseBodyError", "error": code, "status": 400}
        tally.equal(f"openid-client reads the error {code}", error, expected)


def _check_token(tally: Tally, name: str, token: Mapping[str, Any]) -> None:
    found = (token.get("token_type", "").lower(), token.get("scope"), token.get("expires_in"))
    tally.equal(f"{name}: token response", found, ("bearer", SCOPE, 3600))


def _check_claims(
    tally: Tally, name: str, server: Server, claims: Mapping[str, Any], client: str
) -> None:
    expected = {
        "active": True,
        "iss": server.issuer,
        "sub": client,
        "client_id": client,
        "aud": AUDIENCE,
        "scope": SCOPE,
    }
    found = {member: claims.get(member) for member in expected}
    tally.equal(f"{name}: introspection", found, expected)


def check_authlib(tally: Tally, server: Server) -> None:
    """Metadata validation, client credentials and introspection by Authlib."""
    from authlib.integrations.requests_client import OAuth2Session
    from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

    from tests.proofs.interop.oauth_resource import discover

    metadata = discover(server.issuer)
    tally.equal(
        "Authlib: RFC 8414 metadata", AuthorizationServerMetadata(metadata).validate(), None
    )
    for method in metadata["token_endpoint_auth_methods_supported"]:
        with OAuth2Session(CLIENT, SECRET, method, scope=SCOPE, **metadata) as session:
            token = session.fetch_token(grant_type="client_credentials", resource=AUDIENCE)
            _check_token(tally, f"Authlib, {method}", token)
            claims = session.introspect_token(
                metadata["introspection_endpoint"], token["access_token"]
            ).json()
            _check_claims(tally, f"Authlib, {method}", server, claims, CLIENT)


@contextmanager
def resources(server: Server, folder: Path) -> Iterator[dict[str, str]]:
    """The URLs of all protected resources, by the name of what protects them."""
    from tests.proofs.interop.oauth_resource import authlib_resource, discover

    metadata = discover(server.issuer)
    defines = {
        "ISSUER": metadata["issuer"],
        "METADATA": f"{server.issuer}/.well-known/oauth-authorization-server",
        "JWKS_URI": metadata["jwks_uri"],
    }
    with ExitStack() as stack:
        node = stack.enter_context(tools.node_resource(folder, server.issuer, AUDIENCE))
        urls = {name: f"{node}/{name}" for name in ("jose", "oauth4webapi")}
        urls["Authlib"] = stack.enter_context(authlib_resource(server.issuer, AUDIENCE))
        apache = tools.httpd(server.folder, "INTROSPECTION", defines)
        urls["mod_auth_openidc by introspection"] = stack.enter_context(apache)
        if server.issuer.startswith("https:"):  # of its own accord the module takes no other
            apache = tools.httpd(server.folder, "LOCAL", defines)
            urls["mod_auth_openidc by jwks_uri"] = stack.enter_context(apache)
        yield urls


def status(url: str, token: str | None) -> int:
    """What a protected resource answers."""
    import requests

    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return requests.get(url, headers=headers, timeout=20).status_code


def check_resources(tally: Tally, server: Server, urls: Mapping[str, str]) -> None:
    """Tokens as they should be pass everywhere, those with a defect nowhere."""
    right = {"/token": server.access_token(), "/auth": server.like_access_token()}
    wrong = {name: server.like_access_token(name) for name in DEFECTS}
    for name, url in urls.items():
        tally.equal(f"{name} asks for a token", status(url, None), 401)
        for path, token in right.items():
            tally.equal(f"{name} accepts a token from {path}", status(url, token), 200)
        for defect, token in wrong.items():
            if (name, defect) in LENIENT:
                tally.equal(f"{name} does not look at {defect}", status(url, token), 200)
            else:
                tally.equal(f"{name} refuses {defect}", status(url, token), 401)


def check_revocation(tally: Tally, server: Server, urls: Mapping[str, str]) -> None:
    """A token passes, its key is revoked, a resource sees another new key, the token fails.

    The other key is what makes a verifier with a cached key set fetch it again.
    """
    doomed = server.access_token()
    for name, url in urls.items():
        tally.equal(f"{name} accepts a token before its key is revoked", status(url, doomed), 200)
    server.revoke(doomed)
    fresh = server.access_token()
    for name, url in urls.items():
        tally.equal(f"{name} accepts a fresh token", status(url, fresh), 200)
        tally.equal(f"{name} refuses a token whose key was revoked", status(url, doomed), 401)


def check_server(tally: Tally, server: Server, folder: Path) -> None:
    """Everything, against one jwksd."""
    print(f"issuer {server.issuer}", flush=True)
    with tally.section("openid-client"):
        check_openid_client(tally, server, folder)
    with tally.section("Authlib"):
        check_authlib(tally, server)
    with tally.section("protected resources"), resources(server, folder) as urls:
        check_resources(tally, server, urls)
        check_revocation(tally, server, urls)


def run(tally: Tally, folder: Path) -> None:
    """Everything, in a temporary folder that the user of Apache httpd can read."""
    with TemporaryDirectory() as name:
        for scheme in ("http", "https"):
            home = Path(name) / scheme
            (home / "public").mkdir(parents=True)
            (home / "public" / "resource").touch()
            certificate, key = tools.make_certificate(home)
            for variable in ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"):
                os.environ[variable] = str(certificate)
            with tally.section(scheme):
                start = plain_server(home) if scheme == "http" else tls_server(home, key)
                with start as server:
                    check_server(tally, server, folder)


def document(tally: Tally, folder: Path) -> str:
    """The page in docs/: which clients were run, in which version, and how much was checked."""
    node = json.loads((folder / "package.json").read_text("utf-8"))["dependencies"]
    apache = tools.debian_version("libapache2-mod-auth-openidc")
    rows = [
        *(f"| {name} (npm) | {number} |" for name, number in sorted(node.items())),
        f"| Authlib | {version('authlib')} |",
        f"| mod_auth_openidc on Apache httpd | {apache} |",
    ]
    return "\n".join(
        [*_PAGE, *rows, "", f"{tally.passed} checks passed.", "", inputs.mark(PAGE), ""]
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tools", type=Path, required=True, help="where npm packages go")
    parser.add_argument("--write", action="store_true", help="write docs/oauth-clients.md")
    arguments = parser.parse_args()
    folder = arguments.tools.resolve()
    tools.install(folder)
    tally = Tally()
    run(tally, folder)
    if arguments.write and not tally.failed:
        inputs.page(PAGE).write_text(document(tally, folder), "utf-8")
    print(f"{tally.passed} passed, {tally.failed} failed")
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
