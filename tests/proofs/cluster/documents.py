"""Documents: every jwks.json that anyone fetched from any node, compared by its keys and ETag."""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.proofs.cluster.client import Answer, Client, Unreachable
from tests.proofs.cluster.ledger import Ledger
from tests.proofs.cluster.nodes import Node
from tests.proofs.cluster.observer import Observer

JWKS = "/.well-known/jwks.json"


@dataclass(frozen=True, slots=True)
class Document:
    """A key set as it was served: its members by kid."""

    digest: str
    keys: Mapping[str, Any]


class Documents:
    """Keeps to: the same bytes, the same set of keys and the same ETag are one and the same.

    ``latest`` is the ETag that anyone saw last, whatever the node.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.latest = ""
        self._ledger = ledger
        self._by_etag: dict[str, Document] = {}
        self._by_kids: dict[frozenset[str], str] = {}
        self._lock = threading.Lock()

    def take(self, answer: Answer, where: str) -> Document:
        """The document in an answer, compared with all before it."""
        digest = hashlib.sha256(answer.body).hexdigest()
        with self._lock:
            known = self._by_etag.get(answer.etag)
            if known is None:
                known = self._by_etag[answer.etag] = self._new(answer, digest, where)
        self._ledger.count("ETags compared")
        if digest != known.digest:
            self._ledger.fail(f"{where}: other bytes under the ETag {answer.etag}")
        self.latest = answer.etag
        return known

    def known(self, etag: str) -> Document:
        """The document with an ETag that was seen before."""
        return self._by_etag[etag]

    def _new(self, answer: Answer, digest: str, where: str) -> Document:
        self._ledger.count("different documents")
        keys = {key["kid"]: key for key in json.loads(answer.body)["keys"]}
        other = self._by_kids.setdefault(frozenset(keys), answer.etag)
        if other != answer.etag:
            self._ledger.fail(f"{where}: the keys of {other} under the ETag {answer.etag}")
        if not answer.etag:
            self._ledger.fail(f"{where}: no ETag")
        return Document(digest, keys)


class Watcher:
    """Asks one node, by the ETag that any node gave last, and times how it follows the database."""

    def __init__(
        self, ledger: Ledger, documents: Documents, observer: Observer, node: Node
    ) -> None:
        self._ledger = ledger
        self._documents = documents
        self._observer = observer
        self._node = node
        self._client = Client()
        self._kids: set[str] = set()

    def look(self) -> float:
        """One conditional request."""
        since, etag = self._node.up_since, self._documents.latest
        try:
            answer = self._client.get(self._node.port, JWKS, If_None_Match=etag)
        except Unreachable:
            self._ledger.check(not self._node.is_up, f"{self._node.name} does not answer")
            return 0.05
        if answer.status == 304:
            self._ledger.check(answer.etag == etag, f"{self._node.name}: 304, other ETag")
            self._ledger.count("304 answers to an ETag that a node gave last")
            document = self._documents.known(etag)
        else:
            document = self._documents.take(answer, self._node.name)
        self._time(set(document.keys), since)
        return 0.02

    def _time(self, kids: set[str], since: float) -> None:
        """What changed while the node was up, and the observer was there to see it."""
        now = time.time()
        came = [self._observer.appeared.get(kid, now) for kid in kids - self._kids]
        went = [self._observer.vanished.get(kid, now) for kid in self._kids - kids]
        for changed in came + went:
            if since < changed:
                self._ledger.took("from a change to the last node that follows", now - changed)
        self._kids = kids
