"""Chaos: nodes are killed and started again; the database is shut down, and crashes."""

import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

from tests.proofs.cluster.client import Answer, Client
from tests.proofs.cluster.documents import JWKS
from tests.proofs.cluster.ledger import Ledger
from tests.proofs.cluster.nodes import Node
from tests.support.postgres import Cluster

BETWEEN_KILLS = 15
"""Seconds."""

DOWN = 1.0
"""Seconds that a killed node stays down."""

AWAY = 3.0
"""Seconds that the database stays away."""

NOTICED = 2.5
"""Seconds after which every node knows that the database went, or is back."""

PROMPT = 2.5
"""Seconds in which a node answers, whatever its database does."""


class Chaos:
    """Told the number of rotations so far, does what is due."""

    def __init__(
        self,
        ledger: Ledger,
        nodes: Sequence[Node],
        database: Cluster,
        algorithms: Sequence[str],
        *,
        restart_at: Sequence[int],
        seed: int,
    ) -> None:
        self._ledger = ledger
        self._nodes = nodes
        self._database = database
        self._algorithms = algorithms
        self._restart_at = list(restart_at)
        self._ends = cycle([database.stop, database.kill])
        self._random = random.Random(seed)
        self._next_kill = time.monotonic() + BETWEEN_KILLS

    def wreak(self, rotations: int) -> None:
        """One misfortune at a time: a node cannot start while the database is away."""
        if self._restart_at and rotations >= self._restart_at[0]:
            self._restart_at.pop(0)
            self._restart_database()
        elif time.monotonic() >= self._next_kill:
            self._next_kill += BETWEEN_KILLS * self._random.uniform(0.7, 1.3)
            self._kill(self._random.choice(self._nodes))

    def _kill(self, node: Node) -> None:
        self._ledger.note(f"{node.name} is killed")
        self._ledger.count("node kills")
        node.kill()
        time.sleep(DOWN)
        began = time.monotonic()
        node.start()
        node.await_ready()
        self._ledger.took("from the start of a node until it is ready", time.monotonic() - began)

    def _restart_database(self) -> None:
        self._ledger.note("PostgreSQL goes")
        self._ledger.count("database restarts")
        told = [node.log.count("the store is away: ") for node in self._nodes]
        back = [node.log.count("the store is back") for node in self._nodes]
        next(self._ends)()
        began = time.monotonic()
        while time.monotonic() < began + AWAY:
            self._nodes_sign_on()
            if time.monotonic() > began + NOTICED:
                for node in self._nodes:
                    not_ready(self._ledger, node)
        self._database.start()
        self._ledger.note("PostgreSQL is back")
        for node in self._nodes:
            recovered(self._ledger, node)
        for node, away, here in zip(self._nodes, told, back, strict=True):
            log = node.log
            told_once = log.count("the store is away: ") == away + 1
            self._ledger.check(told_once, f"the log of {node.name} does not say once: away")
            back_once = log.count("the store is back") == here + 1
            self._ledger.check(back_once, f"the log of {node.name} does not say once: back")

    def _nodes_sign_on(self) -> None:
        client = Client()
        for node in self._nodes:
            for alg in self._algorithms:
                answer = prompt(self._ledger, partial(client.post, node.port, f"/auth?alg={alg}"))
                signed = answer.status == 200
                self._ledger.check(signed, f"{node.name} signs no {alg} alone: {answer.body!r}")
                self._ledger.count("tokens minted while the database was away")
            served = prompt(self._ledger, partial(client.get, node.port, JWKS)).status == 200
            self._ledger.check(served, f"{node.name} serves no {JWKS} alone")


def prompt(ledger: Ledger, ask: Callable[[], Answer], bound: float = PROMPT) -> Answer:
    """An answer that must not take long though the database is away."""
    began = time.monotonic()
    answer = ask()
    seconds = time.monotonic() - began
    what = "for an answer" if bound == PROMPT else "for the first refusal"
    ledger.took(f"{what} while the database was away", seconds)
    ledger.check(seconds < bound, f"an answer took {seconds:.1f} s without database")
    return answer


def not_ready(ledger: Ledger, node: Node) -> None:
    """``/readyz`` says that the database is away."""
    answer = Client().get(node.port, "/readyz")
    detail = json.loads(answer.body).get("detail", "") if answer.status == 503 else ""
    told = "the store cannot be used now; the log says why" in detail
    ledger.check(told, f"{node.name} without database: {answer.body!r}")
    ledger.count("times that /readyz said so")


def recovered(ledger: Ledger, node: Node) -> None:
    """It is ready again by itself, soon."""
    began = time.monotonic()
    node.await_ready()
    seconds = time.monotonic() - began
    ledger.took("from the database's return until a node is ready", seconds)
    ledger.check(seconds < NOTICED, f"{node.name} is ready only {seconds:.1f} s after the database")
