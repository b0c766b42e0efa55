"""Three rotating nodes on one PostgreSQL behind nginx, through a thousand rotations."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.proofs.cluster.chaos import Chaos
from tests.proofs.cluster.documents import Documents, Watcher
from tests.proofs.cluster.ledger import Ledger
from tests.proofs.cluster.nodes import Node, balancer, new_kek, nodes
from tests.proofs.cluster.observer import Observer
from tests.proofs.cluster.threads import repeating
from tests.proofs.cluster.verifiers import Minter, Verifier
from tests.support import postgres

ALGORITHMS = (
    *("ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448"),
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
)
"""Each rotates by itself; keys of all of them are made in an instant, save RSA's."""

MAX_AGE = 1

OPTIONS = (
    *("--issuer", "http://issuer.example"),
    *("--policy", "rotating"),
    *("--alg", ",".join(ALGORITHMS)),
    *("--rotation-interval", "7s"),
    *("--propagation", "7s"),
    *("--max-age", f"{MAX_AGE}s"),
    *("--stale-while-revalidate", "0"),
    *("--stale-if-error", "0"),
    *("--clock-skew", "0"),
    *("--lifetime", "5s"),
    *("--max-lifetime", "5s"),
    *("--outage", "6s"),
)
"""The shortest that the start accepts: what is safe is safe by nothing more than the inequality.

All clocks are one here. The outage is that of the database with its start, and a second more.
"""

SECONDS_A_ROTATION = 3.0
"""Of all algorithms together; a run that needs longer hangs."""


def run(ledger: Ledger, rotations: int, seed: int) -> None:
    """Go on until so many rotations were seen."""
    with tempfile.TemporaryDirectory() as name, postgres.cluster() as database:
        folder = Path(name)
        url = database.new_database()
        options = [*OPTIONS, "--store", url, "--kek-file", new_kek(folder)]
        observer = Observer(ledger, url)
        with repeating(ledger, observer.look), nodes(3, folder, *options) as three:
            ledger.note("three rotating nodes are ready")
            chaos = Chaos(
                *(ledger, three, database, ALGORITHMS),
                restart_at=[rotations // 3, rotations * 2 // 3],
                seed=seed,
            )
            with balancer(folder, three) as port:
                _go_through(ledger, observer, chaos, three, port, rotations)
            _judge_logs(ledger, three)
        observer.close()


def _go_through(
    ledger: Ledger,
    observer: Observer,
    chaos: Chaos,
    three: Sequence[Node],
    port: int,
    rotations: int,
) -> None:
    documents = Documents(ledger)
    strict = [Verifier(ledger, documents, three, first, MAX_AGE) for first in range(3)]
    anew = [Verifier(ledger, documents, three, first, 0) for first in range(2)]
    minters = [
        Minter(ledger, port, ALGORITHMS, [strict[0], strict[1], anew[0]]),
        Minter(ledger, port, ALGORITHMS[::-1], [strict[2], anew[1]]),
    ]
    watchers = [Watcher(ledger, documents, observer, node) for node in three]
    deadline = time.monotonic() + rotations * SECONDS_A_ROTATION + 60
    told = 0
    with repeating(ledger, *(one.work for one in minters), *(one.look for one in watchers)):
        while observer.total < rotations and not ledger.hopeless:
            if time.monotonic() > deadline:
                ledger.fail(f"only {observer.total} rotations in all this time")
                break
            chaos.wreak(observer.total)
            if observer.total >= told + 100:
                told = observer.total
                ledger.note(f"{told} rotations")
            time.sleep(0.1)


def _judge_logs(ledger: Ledger, three: Sequence[Node]) -> None:
    """The log reports no failure but that the database was away."""
    for node in three:
        lines = [line for line in node.log.splitlines() if "the store is away" not in line]
        for sign in ("Traceback", "failed", "could not", "[CRITICAL]", "error]"):
            for line in lines:
                ledger.check(sign not in line, f"the log of {node.name}: {line}")
