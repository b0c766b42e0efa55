"""Cases: what is sent, to which server, and what is right as its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

ISSUER = "https://issuer.example"

OK, BAD = frozenset({200}), frozenset({400})
ANY = frozenset({200, 400, 401, 403, 404, 405, 413, 415, 421, 431})
"""What an input may get of which only that it is some input is known."""


@dataclass(frozen=True)
class Server:
    """A server that is asked, by what it was started with. Times are in seconds."""

    name: str
    algorithms: tuple[str, ...]
    lifetime: int
    max_lifetime: int
    arguments: tuple[str, ...] = ()
    rotating: bool = False
    dev: bool = False
    overloaded: frozenset[str] = frozenset({"too-many-waiting"})
    """The slugs of the problems with status 503 that it may answer."""

    @property
    def command_line(self) -> tuple[str, ...]:
        """The options of ``jwksd serve``."""
        return (
            *("--issuer", ISSUER, "--alg", ",".join(self.algorithms)),
            *("--lifetime", f"{self.lifetime}s", "--max-lifetime", f"{self.max_lifetime}s"),
            *self.arguments,
        )


_FULL = frozenset({"too-many-waiting", "too-many-keys"})

SERVERS = (
    # Keys that live for seconds, so that there are never many of them.
    Server("per-token", ("ES256", "Ed25519"), 2, 5, ("--max-keys", "100000")),
    Server(
        "rotating",
        ("ES256", "Ed25519", "RS256", "ES384"),
        3600,
        86_400,
        ("--policy", "rotating"),
        rotating=True,
    ),
    Server(
        "dev",
        ("ES256", "Ed25519"),
        5,
        60,
        ("--dev", "--max-keys", "2000", "--no-access-log"),
        dev=True,
        overloaded=_FULL,
    ),
    Server("full", ("ES256",), 5, 5, ("--max-keys", "4"), overloaded=_FULL),
)
PER_TOKEN, ROTATING, DEV, FULL = SERVERS


@dataclass(frozen=True)
class Asked:
    """What the token of the answer must be like."""

    alg: str | None = None
    lifetime: int | None = None
    expired: str = "false"
    claims: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)
    defect: bool = False


@dataclass(frozen=True)
class Expect:
    """What is right.

    Args:
        statuses: of the answer; a documented 503 is right everywhere.
        says: what the description of an error has in it.
        token: what the token of a 200 is like.
        active: what introspection says.
    """

    statuses: frozenset[int] = ANY
    says: str = ""
    token: Asked | None = None
    active: bool | None = None


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        kind: bodies, parameters, tokens or raw.
        what: its name in the counts.
        octets: all that is sent.
        answers: for raw ones, how many answers must come; None where it is not known.
        end: for raw ones, how the client ends: it closes its half, or closes, or resets.
    """

    kind: str
    what: str
    server: Server
    octets: bytes
    path: str = "/auth"
    method: str = "POST"
    expect: Expect = Expect()
    answers: int | None = None
    end: str = ""
    pieces: int = 1


@dataclass
class Known:
    """What the servers have told before: tokens that are valid for long, and the kids that sign."""

    tokens: tuple[str, ...] = ()
    kids: frozenset[str] = frozenset()


def chance(random: Random, probability: float) -> bool:
    """Whether it happens this time."""
    return random.random() < probability
