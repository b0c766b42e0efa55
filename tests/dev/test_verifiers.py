"""The libraries that users verify with: each fetches the keys over TCP and judges the tokens."""

import atexit
import json
import time
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import ExitStack
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from unittest import TestCase
from unittest.mock import patch
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jose.exceptions
import jose.jwk
import jose.jwt
import joserfc.errors
import joserfc.jwk
import joserfc.jwt
import jwt
from authlib.deprecate import AuthlibDeprecationWarning

from tests.support.keys import private_jwk
from tests.support.processes import Daemon, running

with warnings.catch_warnings():
    # authlib.jose warns that joserfc is its successor; there are users of both.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    import authlib.jose
    import authlib.jose.errors

TIMEOUT = 30
"""Seconds that an answer over loopback may take."""


@cache
def daemon() -> Daemon:
    """The one daemon of this module: trial knows no fixture for a class, so it ends at exit."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(running(stack.enter_context(TemporaryDirectory())))


def issuer() -> str:
    """Whom the daemon signs as."""
    return f"http://localhost:{daemon().port}"


def all_keys() -> str:
    """The URL of every live key."""
    return f"{daemon().url}/.well-known/jwks.json"


def own_key(token: str) -> str:
    """The URL of the one key that a token names."""
    return f"{daemon().url}/.well-known/{segment(token, 0)['kid']}.json"


def mint(query: str = "") -> str:
    """A token of the daemon."""
    with urlopen(Request(f"{daemon().url}/auth{query}", method="POST"), timeout=TIMEOUT) as answer:
        token: str = answer.read().decode("ascii")
    return token


def fetch(url: str) -> dict[str, Any]:
    """A JWK Set, for the libraries that leave the fetching to their users."""
    try:
        with urlopen(url, timeout=TIMEOUT) as answer:
            key_set: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        error.close()
        raise
    return key_set


def base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def unbase64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def segment(token: str, number: int) -> dict[str, Any]:
    """The header (0) or the claims (1) of a token, read without any library."""
    members: dict[str, Any] = json.loads(unbase64url(token.split(".")[number]))
    return members


def flip(token: str, octet: int) -> str:
    """The token with one bit of its signature turned over."""
    signed, _, signature = token.rpartition(".")
    octets = bytearray(unbase64url(signature))
    octets[octet] ^= 1
    return f"{signed}.{base64url(octets)}"


def forge(claims: dict[str, Any], kid: str) -> str:
    """Claims signed with a key that is not the daemon's, under a kid of choice."""
    key = jwt.PyJWK(private_jwk(0).export(as_dict=True) | {"alg": "RS256"})
    return jwt.encode(claims, key, headers={"kid": kid})


# An adapter for each library: how many keys it finds at a URL, the claims of a token that it
# accepts with a key from there, and which errors it has for what.


class PyJWT:
    no_document = no_key = jwt.PyJWKClientError
    bad_signature = jwt.InvalidSignatureError
    bad_issuer = jwt.InvalidIssuerError
    expired = jwt.ExpiredSignatureError

    def count(self, url: str) -> int:
        return len(jwt.PyJWKClient(url).get_signing_keys())

    def verify(self, token: str, url: str, iss: str) -> dict[str, Any]:
        key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
        required = {"require": ["iss", "exp"]}
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["RS256"], issuer=iss, options=required
        )
        return claims


class Joserfc:
    no_document = HTTPError
    no_key = joserfc.errors.InvalidKeyIdError
    bad_signature = joserfc.errors.BadSignatureError
    bad_issuer = joserfc.errors.InvalidClaimError
    expired = joserfc.errors.ExpiredTokenError

    def count(self, url: str) -> int:
        return len(joserfc.jwk.KeySet.import_key_set(fetch(url)).keys)

    def verify(self, token: str, url: str, iss: str) -> dict[str, Any]:
        keys = joserfc.jwk.KeySet.import_key_set(fetch(url))
        claims: dict[str, Any] = joserfc.jwt.decode(token, keys, algorithms=["RS256"]).claims
        joserfc.jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": iss}, exp={"essential": True}
        ).validate(claims)
        return claims


class Authlib:
    no_document = HTTPError
    no_key = ValueError
    bad_signature = authlib.jose.errors.BadSignatureError
    bad_issuer = authlib.jose.errors.InvalidClaimError
    expired = authlib.jose.errors.ExpiredTokenError

    def count(self, url: str) -> int:
        return len(authlib.jose.JsonWebKey.import_key_set(fetch(url)).keys)

    def verify(self, token: str, url: str, iss: str) -> dict[str, Any]:
        keys = authlib.jose.JsonWebKey.import_key_set(fetch(url))
        expected = {"iss": {"essential": True, "value": iss}, "exp": {"essential": True}}
        claims = authlib.jose.JsonWebToken(["RS256"]).decode(token, keys, claims_options=expected)
        claims.validate()
        return dict(claims)


class PythonJose:
    """It looks for no kid, but tries every key."""

    no_document = HTTPError
    no_key = bad_signature = jose.exceptions.JWTError
    bad_issuer = jose.exceptions.JWTClaimsError
    expired = jose.exceptions.ExpiredSignatureError

    def count(self, url: str) -> int:
        return len([jose.jwk.construct(key) for key in fetch(url)["keys"]])

    def verify(self, token: str, url: str, iss: str) -> dict[str, Any]:
        required = {"require_iss": True, "require_exp": True}
        claims: dict[str, Any] = jose.jwt.decode(
            token, fetch(url), algorithms=["RS256"], issuer=iss, options=required
        )
        return claims


class NoProxyTestCase(TestCase):
    def setUp(self) -> None:
        self.enterContext(patch.dict("os.environ", no_proxy="*"))


class VerifierTests:
    """What holds for every library; ``verifier`` is its adapter."""

    verifier: Any

    def assert_refused(self, why: type[Exception], token: str, url: str, iss: str) -> None:
        """The library raises exactly this, and not something that is only derived from it."""
        with self.assertRaises(why) as caught:
            self.verifier.verify(token, url, iss)
        self.assertIs(type(caught.exception), why)

    def test_it_accepts_a_token(self) -> None:
        """The key is found among all keys, and alone; issuer and expiry are as they should be."""
        token = mint()
        for url in (all_keys(), own_key(token)):
            with self.subTest(url=url):
                self.assertEqual(self.verifier.verify(token, url, issuer()), segment(token, 1))

    def test_it_finds_exactly_one_key_by_the_kid(self) -> None:
        """However many are live, the document of one key holds one."""
        token = mint()
        mint()
        self.assertEqual(self.verifier.count(own_key(token)), 1)
        self.assertGreater(self.verifier.count(all_keys()), 1)

    def test_it_finds_no_key_of_an_expired_token(self) -> None:
        """Its kid is not among all keys and has no document, and its exp has passed."""
        mint()
        token = mint("?expired=true")
        self.assertLess(segment(token, 1)["exp"], time.time())
        self.assert_refused(self.verifier.no_key, token, all_keys(), issuer())
        with self.assertRaisesRegex(self.verifier.no_document, "404"):
            self.verifier.count(own_key(token))

    def test_it_refuses_a_changed_signature(self) -> None:
        """One bit is enough, wherever it is."""
        token = mint()
        for octet in (0, 128, -1):
            with self.subTest(octet=octet):
                changed = flip(token, octet)
                self.assert_refused(self.verifier.bad_signature, changed, all_keys(), issuer())

    def test_it_refuses_the_signature_of_another_key(self) -> None:
        """Claiming the kid of a published key does not help."""
        token = mint()
        forged = forge(segment(token, 1), segment(token, 0)["kid"])
        self.assert_refused(self.verifier.bad_signature, forged, all_keys(), issuer())

    def test_it_refuses_another_issuer(self) -> None:
        """The issuer was looked at when the token was accepted."""
        token = mint()
        self.assert_refused(self.verifier.bad_issuer, token, all_keys(), "http://localhost")

    def test_it_refuses_an_expired_token_whose_key_it_has(self) -> None:
        """The expiry was looked at; the key is the test's own, for the daemon has dropped its."""
        url = publish_own_key(self)
        claims = segment(mint("?expired=true"), 1)
        valid = claims | {"exp": int(time.time()) + 600}
        self.assertEqual(self.verifier.verify(forge(valid, "own"), url, issuer()), valid)
        self.assert_refused(self.verifier.expired, forge(claims, "own"), url, issuer())


def publish_own_key(case: TestCase) -> str:
    """The URL of a JWK Set with the key that ``forge`` signs with, until the test ends."""
    public = private_jwk(0).export_public(as_dict=True)
    body = json.dumps({"keys": [public | {"kid": "own", "use": "sig", "alg": "RS256"}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    case.addCleanup(server.server_close)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    case.addCleanup(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}/"


class PyJWTTests(VerifierTests, NoProxyTestCase):
    verifier = PyJWT()


class JoserfcTests(VerifierTests, NoProxyTestCase):
    verifier = Joserfc()


class AuthlibTests(VerifierTests, NoProxyTestCase):
    verifier = Authlib()


class PythonJoseTests(VerifierTests, NoProxyTestCase):
    verifier = PythonJose()


class TokenTests(NoProxyTestCase):
    """What the tokens say, read without any library."""

    def test_the_claims(self) -> None:
        """Exactly iss, iat, exp and jti; the times are integers, an hour apart."""
        for query, begins in (("", 0), ("?expired=true", -7200)):
            with self.subTest(query=query):
                before = int(time.time())
                claims = segment(mint(query), 1)
                after = int(time.time())
                self.assertEqual(set(claims), {"iss", "iat", "exp", "jti"})
                self.assertEqual(claims["iss"], issuer())
                self.assertEqual((type(claims["iat"]), type(claims["exp"])), (int, int))
                self.assertEqual(claims["exp"] - claims["iat"], 3600)
                self.assertTrue(before <= claims["iat"] - begins <= after, claims)

    def test_every_token_is_another(self) -> None:
        """Neither a jti nor a kid comes twice."""
        tokens = [mint() for _ in range(5)]
        self.assertEqual(len({segment(token, 1)["jti"] for token in tokens}), 5)
        self.assertEqual(len({segment(token, 0)["kid"] for token in tokens}), 5)

    def test_the_header(self) -> None:
        """RS256, JWT, and as kid the RFC 7638 thumbprint of the published key."""
        token = mint()
        (key,) = fetch(own_key(token))["keys"]
        required = {name: key[name] for name in ("e", "kty", "n")}
        digest = sha256(json.dumps(required, separators=(",", ":")).encode("ascii")).digest()
        header = {"alg": "RS256", "typ": "JWT", "kid": base64url(digest)}
        self.assertEqual(segment(token, 0), header)
        self.assertEqual(key["kid"], header["kid"])
