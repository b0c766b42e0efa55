"""Three nodes that make a key for every token: what one has answered, the others know at once."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.proofs.cluster.chaos import PROMPT, not_ready, prompt, recovered
from tests.proofs.cluster.client import Client
from tests.proofs.cluster.documents import JWKS
from tests.proofs.cluster.ledger import Ledger
from tests.proofs.cluster.nodes import Node, nodes
from tests.proofs.cluster.threads import all_at_once
from tests.support import postgres

OPTIONS = ("--issuer", "http://issuer.example", "--alg", "ES256", "--lifetime", "45s")

THREADS = 6
"""Clients at once."""

AWAY = 6.0
"""Seconds that the database is shut down."""

HANGS = 20.0
"""Seconds that it does not answer while its connections stay open: longer than anyone waits."""


def run_postgres(ledger: Ledger, tokens: int) -> None:
    """On one PostgreSQL, which goes away and comes back."""
    with tempfile.TemporaryDirectory() as name, postgres.cluster() as database:
        options = [*OPTIONS, "--store", database.new_database()]
        with nodes(3, Path(name), *options) as three:
            ledger.note("three nodes with a key for every token are ready, on PostgreSQL")
            _hand_over(ledger, three, tokens, "PostgreSQL")
            ledger.note("PostgreSQL goes")
            _lose(ledger, three, Loss(database.stop, database.start, AWAY, noticed=0.5))
            ledger.note("PostgreSQL hangs")
            _lose(ledger, three, Loss(database.freeze, database.thaw, HANGS, noticed=12.0))
            _hand_over(ledger, three, tokens // 3, "PostgreSQL, after its return")


def run_sqlite(ledger: Ledger, tokens: int) -> None:
    """On one SQLite file."""
    with tempfile.TemporaryDirectory() as name:
        options = [*OPTIONS, "--store", f"sqlite:///{name}/store.db"]
        with nodes(3, Path(name), *options) as three:
            ledger.note("three nodes with a key for every token are ready, on SQLite")
            _hand_over(ledger, three, tokens, "SQLite")


def _hand_over(ledger: Ledger, three: Sequence[Node], tokens: int, where: str) -> None:
    """Mint on one node, look on another, one at a time and many at once."""

    def one(number: int) -> None:
        minting, asked = three[number % 3], three[(number + 1 + number // 3 % 2) % 3]
        _mint_and_look(ledger, Client(), minting, asked)
        ledger.count(f"keys found on another node at once, {where}")

    all_at_once(one, tokens // 2, threads=1)
    all_at_once(one, tokens - tokens // 2, threads=THREADS)


def _mint_and_look(ledger: Ledger, client: Client, minting: Node, asked: Node) -> None:
    answer = client.post(minting.port, "/auth", Accept="application/json")
    if answer.status != 200:
        ledger.fail(f"minting on {minting.name} answers {answer.status}: {answer.body!r}")
        return
    kid = json.loads(answer.body)["kid"]
    began = time.monotonic()
    single = client.get(asked.port, f"/.well-known/{kid}.json")
    whole = client.get(asked.port, JWKS)
    ledger.took("for <kid>.json and jwks.json of another node", time.monotonic() - began)
    for document, path in ((single, f"{kid}.json"), (whole, "jwks.json")):
        found = document.status == 200 and kid.encode() in document.body
        ledger.check(found, f"{asked.name}: {path} has no key that {minting.name} has answered")


@dataclass(frozen=True, slots=True)
class Loss:
    """A way to lose the database, for so many seconds; ``noticed`` is when minting is refused."""

    begin: Callable[[], None]
    end: Callable[[], None]
    seconds: float
    noticed: float


def _lose(ledger: Ledger, three: Sequence[Node], loss: Loss) -> None:
    """Without its database nothing is minted, and what is known is served."""
    client = Client()
    known = client.post(three[0].port, "/auth", Accept="application/json")
    kid = json.loads(known.body)["kid"]
    for node in three:
        client.get(node.port, JWKS)
    loss.begin()
    began = time.monotonic()
    all_at_once(lambda number: _refuses(ledger, three[number], loss.noticed), 3, threads=3)
    while time.monotonic() < began + loss.seconds:
        for node in three:
            _serves_on(ledger, client, node, kid)
            if time.monotonic() > began + loss.noticed:
                _refuses(ledger, node, PROMPT)
                not_ready(ledger, node)
        time.sleep(0.1)
    loss.end()
    ledger.note("PostgreSQL is back")
    for node in three:
        recovered(ledger, node)
        status = client.post(node.port, "/auth").status
        ledger.check(status == 200, f"{node.name} mints not with its database back: {status}")


def _refuses(ledger: Ledger, node: Node, bound: float) -> None:
    client = Client()
    answer = prompt(ledger, partial(client.post, node.port, "/auth"), bound)
    named = answer.status == 503 and json.loads(answer.body)["type"].endswith(":store-away")
    named = named and answer.headers["Retry-After"] is not None
    ledger.check(named, f"{node.name} mints without database: {answer.status} {answer.body!r}")
    ledger.count("mintings refused with 503 while the database was away")


def _serves_on(ledger: Ledger, client: Client, node: Node, kid: str) -> None:
    for path in (JWKS, f"/.well-known/{kid}.json"):
        status = prompt(ledger, partial(client.get, node.port, path)).status
        ledger.check(status == 200, f"{node.name} without database: {path} {status}")
        ledger.count("documents served while the database was away")
