"""Minters and verifiers: every token is verified when it is made, and again just before its exp.

A verifier here has the machine's own clock and no leeway; what the nodes may differ by is theirs.
"""

import base64
import heapq
import json
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import count, cycle
from typing import Any

import jwt

from tests.proofs.cluster.client import Client, Unreachable
from tests.proofs.cluster.documents import JWKS, Document, Documents
from tests.proofs.cluster.ledger import Ledger
from tests.proofs.cluster.nodes import Node

LAST_MOMENT = 0.15
"""Seconds before its exp in which a token is verified again."""

_PYJWT_NAMES = {"Ed25519": "EdDSA", "Ed448": "EdDSA"}
"""RFC 9864 has names that PyJWT does not know yet."""


class Refused(Exception):
    """The token would not be taken for valid."""


def verify(token: str, document: Document) -> None:
    """Judge the signature with the document alone.

    Raises:
        Refused: with the reason.
    """
    signed, _, signature = token.rpartition(".")
    header = json.loads(_octets(signed.partition(".")[0]))
    member = document.keys.get(header["kid"])
    if member is None:
        raise Refused(f"no key {header['kid']} ({header['alg']})")
    if member["alg"] != header["alg"]:
        raise Refused(f"key {header['kid']} is for {member['alg']}, not {header['alg']}")
    algorithm, key = _prepared(header["alg"], json.dumps(member))
    if not algorithm.verify(signed.encode(), key, _octets(signature)):
        raise Refused(f"key {header['kid']} ({header['alg']}) did not sign this")


@lru_cache(4096)
def _prepared(alg: str, member: str) -> tuple[Any, Any]:
    algorithm = jwt.get_algorithm_by_name(_PYJWT_NAMES.get(alg, alg))
    return algorithm, algorithm.from_jwk(member)


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Verifier:
    """Fetches its documents from the nodes in turn, and never because of a kid that it lacks.

    Args:
        max_age: for how many seconds it uses a document; 0 fetches one for every token.
    """

    def __init__(
        self,
        ledger: Ledger,
        documents: Documents,
        nodes: Sequence[Node],
        first: int,
        max_age: float,
    ) -> None:
        self._ledger = ledger
        self._documents = documents
        self._turn = cycle([*nodes[first:], *nodes[:first]])
        self._max_age = max_age
        self._client = Client()
        self._fetched = float("-inf")
        self._source = ""
        self._document: Document | None = None
        self._kind = (
            f"by a verifier that caches for {max_age} s" if max_age else "by one of no cache"
        )

    def judge(self, token: str, exp: int, moment: str) -> None:
        """Verify a token; to refuse one before its exp is the failure that must not be."""
        document = self._current()
        self._ledger.count(f"verifications {moment}, {self._kind}")
        try:
            verify(token, document)
        except Refused as refused:
            now = time.time()
            if now < exp:
                self._ledger.count("refusals of valid tokens")
                age = now - self._fetched
                self._ledger.fail(
                    f"refused {moment}, {exp - now:.2f} s before its exp, {self._kind}, with a"
                    f" document {age:.2f} s old of {self._source}: {refused}"
                )

    def _current(self) -> Document:
        if self._document is None or time.time() - self._fetched >= self._max_age:
            self._fetch()
        assert self._document is not None
        return self._document

    def _fetch(self) -> None:
        """From the next node that answers; one of them always does."""
        for _ in range(100):
            node = next(self._turn)
            asked = time.time()
            try:
                answer = self._client.get(node.port, JWKS)
            except Unreachable:
                self._ledger.check(not node.is_up, f"{node.name} does not answer")
                continue
            self._ledger.check(answer.status == 200, f"{node.name}: {answer.status} for {JWKS}")
            self._document = self._documents.take(answer, node.name)
            self._fetched, self._source = asked, node.name
            return
        raise Unreachable("no node answers")


class Minter:
    """Gets tokens of every algorithm, and has each verified by every verifier that it is given."""

    def __init__(
        self, ledger: Ledger, port: int, algorithms: Sequence[str], verifiers: Sequence[Verifier]
    ) -> None:
        self._ledger = ledger
        self._port = port
        self._algorithms = cycle(algorithms)
        self._verifiers = verifiers
        self._client = Client()
        self._later: list[tuple[float, int, str]] = []
        self._number = count()

    def work(self) -> float:
        """Mint one token and judge it; judge again those that are about to expire."""
        answer = self._client.post(
            self._port, f"/auth?alg={next(self._algorithms)}", Accept="application/json"
        )
        if answer.status == 200:
            token = json.loads(answer.body)
            self._judge(token["token"], token["exp"], "when minted")
            again = token["exp"] - LAST_MOMENT
            heapq.heappush(self._later, (again, next(self._number), token["token"]))
            self._ledger.count("tokens minted")
        else:
            self._ledger.fail(f"minting answers {answer.status}: {answer.body!r}")
        while self._later and self._later[0][0] <= time.time():
            again, _, text = heapq.heappop(self._later)
            self._judge(text, round(again + LAST_MOMENT), "before its exp")
        return 0.02

    def _judge(self, token: str, exp: int, moment: str) -> None:
        for verifier in self._verifiers:
            verifier.judge(token, exp, moment)
