"""Faults on a socket: what real clients see of each, and that the next answer is clean."""

import json
import time
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from tempfile import TemporaryDirectory
from typing import Any
from unittest import TestCase
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener, urlopen

import jwt
from joserfc.jwk import KeySet

from tests.support.processes import Daemon, running


class NoRedirect(HTTPRedirectHandler):
    """npm jose follows none either."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class FaultTests(TestCase):
    daemon: Daemon

    def setUp(self) -> None:
        folder = self.enterContext(TemporaryDirectory())
        self.daemon = self.enterContext(running(folder, "--dev", "--reserve", "2"))
        self.jwks = f"{self.daemon.url}/.well-known/jwks.json"
        self.token = self.post("/auth").decode()

    def post(self, path: str) -> bytes:
        with urlopen(Request(self.daemon.url + path, method="POST"), timeout=30) as answer:
            return answer.read()  # type: ignore[no-any-return]

    def get(self) -> bytes:
        with build_opener(NoRedirect).open(self.jwks, timeout=30) as answer:
            return answer.read()  # type: ignore[no-any-return]

    def verify(self, **options: Any) -> Any:
        """PyJWT with its own JWKS client, which has nothing cached."""
        client = jwt.PyJWKClient(self.jwks, cache_keys=False, lifespan=1, **options)
        key = client.get_signing_key_from_jwt(self.token)
        return jwt.decode(self.token, key, algorithms=["RS256"])

    def test_the_dev_surface_is_marked_in_answers_and_log(self) -> None:
        """Whoever looks at either sees that this server is not for production."""
        with urlopen(self.jwks, timeout=30) as answer:
            self.assertEqual(answer.headers["Jwksd-Dev"], "on")
        self.assertIn("never use it in production", self.daemon.log.read_text())

    def test_real_clients_see_each_fault_and_then_a_clean_answer(self) -> None:
        """The standard library and PyJWT's client fail at each as they should, and once only."""
        for fault, expected, seen in FAULTS:
            with self.subTest(fault=fault):
                self.post(f"/dev?action=fault&fault={fault}&count=2")
                with self.assertRaises(expected) as caught:
                    json.loads(self.get())["keys"][0]["n"]
                self.assertTrue(seen(caught.exception), caught.exception)
                with self.assertRaises((jwt.PyJWTError, OSError, HTTPException, ValueError)):
                    self.verify()
                self.assertEqual(self.verify()["iss"], f"http://localhost:{self.daemon.port}")

    def test_a_delay_is_longer_than_a_client_waits(self) -> None:
        """PyJWT gives up after its time-out; the next answer comes at once."""
        self.post("/dev?action=fault&fault=delay&delay=5")
        begun = time.monotonic()
        with self.assertRaises(jwt.PyJWKClientConnectionError):
            self.verify(timeout=0.2)
        self.assertLess(time.monotonic() - begun, 4)
        self.verify()

    def test_a_wrong_media_type_is_seen_and_the_set_is_still_whole(self) -> None:
        """A client that looks at it refuses, one that does not reads the keys."""
        self.post("/dev?action=fault&fault=media-type")
        with urlopen(self.jwks, timeout=30) as answer:
            self.assertEqual(answer.headers.get_content_type(), "text/html")
            self.assertEqual(len(json.load(answer)["keys"]), 1)
        self.verify()

    def test_a_duplicate_kid_and_an_unknown_type_reach_the_client(self) -> None:
        """joserfc refuses a set with a key of a type that it does not know."""
        self.post("/dev?action=fault&fault=duplicate")
        keys = json.loads(self.get())["keys"]
        self.assertEqual([key["kid"] for key in keys], [keys[0]["kid"]] * 2)
        self.post("/dev?action=fault&fault=unknown-type")
        text = self.get()
        with self.assertRaises(Exception):  # noqa: B017  # whichever it raises, it has no key set
            KeySet.import_key_set(json.loads(text)).get_by_kid("unknown-key-type")
        self.assertEqual(json.loads(text)["keys"][0]["kty"], "urn:example:unknown")
        self.verify()


def status(code: int, **headers: str) -> Callable[[Any], bool]:
    """Whether an HTTPError has this code and these headers."""

    def check(error: Any) -> bool:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return error.code == code and all(error.headers[n] == v for n, v in fields.items())

    return check


def always(error: Any) -> bool:
    return True


FAULTS: list[tuple[str, type[BaseException], Callable[[Any], bool]]] = [
    ("status&status=429&retry_after=3", HTTPError, status(429, Retry_After="3")),
    ("status&status=500", HTTPError, status(500)),
    ("status&status=503&retry_after=1", HTTPError, status(503, Retry_After="1")),
    (
        "redirect&location=http://127.0.0.1:1/",
        HTTPError,
        status(302, Location="http://127.0.0.1:1/"),
    ),
    (
        "cut",
        IncompleteRead,
        lambda error: 0 < len(error.partial) < len(error.partial) + error.expected,
    ),
    ("reset", (ConnectionResetError), lambda error: not isinstance(error, RemoteDisconnected)),
    ("malformed", ValueError, always),
    ("empty", IndexError, always),
    ("missing", IndexError, always),
]
