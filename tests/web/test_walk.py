"""The two walks: which functions of ours a request passes, from the socket to the key or the bytes.

Each is that of the first request of a connection, on a real socket. The same request again takes
the fast path.
"""

import re
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from jwksd.issuing.mintrequest import MintRequest
from jwksd.web.http.site import Site
from jwksd.web.http.transport import read_little
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.http import JWKS
from tests.support.processes import CHECKOUT

MOST = 11
"""Functions of ours on the stack. A newcomer reads them all."""

_STEP = re.compile(r"^\d+\. `(jwksd/[a-z/]+\.py: [\w.]+)`", re.MULTILINE)

Seen = Callable[[FrameType, str, Any], bool]


def documented(walk: str) -> list[str]:
    """The walk as docs/architecture.md lists it."""
    text = (CHECKOUT / "docs" / "architecture.md").read_text("utf-8")
    _, _, section = text.partition(f"\n### {walk}\n")
    return _STEP.findall(section.partition("\n## ")[0].partition("\n### ")[0])


def ours(frame: FrameType | None) -> list[str]:
    """The functions of jwksd on the stack, the outermost first."""
    found: list[str] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(CHECKOUT / "jwksd"):
            name = frame.f_code.co_qualname.replace("<locals>.", "")
            found.append(f"{path.relative_to(CHECKOUT).as_posix()}: {name}")
        frame = frame.f_back
    return found[::-1]


def signs(frame: FrameType, event: str, argument: Any) -> bool:
    """Whether a private key of cryptography is about to sign."""
    return event == "c_call" and argument.__name__ == "sign"


def writes(frame: FrameType, event: str, argument: Any) -> bool:
    """Whether an answer is about to be written."""
    return event == "call" and frame.f_code.co_qualname == "Request.write" and bool(ours(frame))


class WalkTests(TestCase):
    async def walk(self, method: str, path: str, seen: Seen) -> list[str]:
        """The functions of ours on the stack when what a fresh connection asks for is seen."""
        from twisted.internet import reactor

        real: Any = reactor
        issuer = make_issuer(real)
        issuer.policy.start()
        self.addCleanup(issuer.stop)
        issuer.mint_now(MintRequest())  # what is done once, at the first signature, is done
        port = real.listenTCP(0, Site(make_root(issuer), real), interface="127.0.0.1")
        read_little(port)
        self.addCleanup(port.stopListening)
        stacks: list[list[str]] = []

        def profile(frame: FrameType, event: str, argument: Any) -> None:
            if seen(frame, event, argument):
                stacks.append(ours(frame))

        sys.setprofile(profile)  # of this thread, which is the reactor's
        try:
            status = await deferToThread(ask, port.getHost().port, method, path)
        finally:
            sys.setprofile(None)
        self.assertEqual(status, 200)
        return stacks[0]

    async def test_the_walk_of_a_token(self) -> None:
        """POST /auth passes the functions that docs/architecture.md lists, and not many."""
        walk = await self.walk("POST", "/auth", signs)
        self.assertEqual(walk, documented("POST /auth"))
        self.assertLessEqual(len(walk), MOST)

    async def test_the_walk_of_a_document(self) -> None:
        """GET jwks.json passes the functions that docs/architecture.md lists, and not many."""
        walk = await self.walk("GET", JWKS, writes)
        self.assertEqual(walk, documented("GET jwks.json"))
        self.assertLessEqual(len(walk), MOST)


def ask(port: int, method: str, path: str) -> int:
    """The status of the answer to one request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
