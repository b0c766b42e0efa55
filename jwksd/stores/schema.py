"""The tables, as the newest migration leaves them, and how a row becomes a key and a key a row.

A row in the state ``single`` is the public half of a key that signed one token. A row in the state
``gone`` is such a key that was withdrawn; it is kept for a while, so that other nodes read of it.
Rows in any other state are keys of the ring. ``changed`` is the version that changed a row last.
The ring's ``forgotten`` is the newest version whose ``gone`` rows may have been deleted already.
"""

import json
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, String, Table, Text

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.encoding import base64url
from jwksd.jose.keys import PublishedKey
from jwksd.lifecycle.ring import Ring, RingKey, State

SINGLE, GONE = "single", "gone"

metadata = MetaData()

keys = Table(
    "jwksd_keys",
    metadata,
    Column("kid", String(43), primary_key=True),
    Column("alg", String(20), nullable=False),
    Column("state", String(10), nullable=False, index=True),
    Column("created", BigInteger, nullable=False),
    Column("published", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, index=True),
    Column("member", Text, nullable=False),
    Column("envelope", Text),
    Column("changed", BigInteger, nullable=False, index=True),
    Column("signed", BigInteger, nullable=False, server_default="0"),
    Column("last_exp", BigInteger, nullable=False, server_default="0"),
)

ring = Table(
    "jwksd_ring",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("hurried", Text, nullable=False),
    Column("alert_until", BigInteger, nullable=False),
    Column("boot", String(64)),
    Column("ahead", Double, nullable=False),
    Column("forgotten", BigInteger, nullable=False),
)


def ring_key(row: Any) -> RingKey:
    """Return the key of the ring in a row."""
    return RingKey(
        row.kid, row.alg, State(row.state), row.created, row.published, row.since, row.until
    )


def public_key(row: Any, *, strict: bool = False) -> PublishedKey:
    """Return the published half of any row; a key of the ring has no expiry of its own.

    Raises:
        ValueError: the row does not hold the key of its kid. Members are checked if ``strict``.
    """
    member = row.member.encode("ascii")
    if strict:
        _check(json.loads(member), row)
    expires = row.until if row.state == SINGLE else None
    return PublishedKey.stored(row.kid, row.alg, member, row.created, expires)


def _check(members: Any, row: Any) -> None:
    """Check that the kid is the RFC 7638 thumbprint of the key in the row."""
    if (members["kid"], members["alg"]) != (row.kid, row.alg):
        raise ValueError("another key is in this row")
    required = ALGORITHMS[row.alg].required
    text = json.dumps(
        {name: members[name] for name in required}, separators=(",", ":"), allow_nan=False
    )
    if base64url(sha256(text.encode("ascii")).digest()).decode("ascii") != row.kid:
        raise ValueError("the public key is not that of the kid")


def ring_of(row: Any, rows: Any) -> Ring:
    """Return the ring, made of its own row and the rows of its keys, in order of publication."""
    ring_keys = sorted(map(ring_key, rows), key=lambda key: (key.created, key.published, key.kid))
    return Ring(
        keys=tuple(ring_keys),
        hurried=frozenset(row.hurried.split()),
        alert_until=row.alert_until,
        boot=row.boot,
        ahead=row.ahead,
    )


def values(key: RingKey) -> dict[str, object]:
    """Return the columns that change in the life of a key of the ring."""
    return {
        "state": key.state.value,
        "published": key.published,
        "since": key.since,
        "until": key.until,
    }


def new_row(key: PublishedKey, state: str) -> dict[str, object]:
    """Return the row of a key that is new in the store, without an envelope."""
    times = dict.fromkeys(("created", "published", "since"), key.created)
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": state,
        **times,
        "until": key.expires,
        "member": key.member.decode("ascii"),
        "envelope": None,
        "signed": 0,
        "last_exp": 0,
    }


def ring_values(after: Ring) -> dict[str, object]:
    """Return the columns of the ring's own row, but for its version."""
    return {
        "hurried": " ".join(sorted(after.hurried)),
        "alert_until": after.alert_until,
        "boot": after.boot,
        "ahead": after.ahead,
    }
