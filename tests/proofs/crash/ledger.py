"""Ledger: every acknowledged token until it expires, and the verdict of a verifier on it.

A token that has verified once is not verified again as long as its kid stands for the same public
key: it would be the same computation.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwcrypto.common import base64url_decode

from tests.proofs.crash.violation import Violation, demand

ISSUER = "http://localhost"


@dataclass(slots=True)
class Entry:
    """A token, and the public key that it has verified with."""

    token: str
    kid: str
    exp: int
    key: Any = None


def key_id(token: str) -> str:
    """The kid that a token names."""
    kid: str = json.loads(base64url_decode(token.partition(".")[0]))["kid"]
    return kid


class Ledger:
    """The tokens of one store."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.verdicts = 0
        self.signatures = 0
        self.unseen = 0
        self._entries: list[Entry] = []

    def acknowledge(self, token: str) -> None:
        """Somebody was answered this."""
        exp = json.loads(base64url_decode(token.split(".")[1]))["exp"]
        self._entries.append(Entry(token, key_id(token), exp))
        self.acknowledged += 1

    def check(self, key_set: Mapping[str, Any], fetched: float) -> None:
        """Judge every token that had not expired when this set was fetched.

        Raises:
            Violation: one does not verify.
        """
        live = [entry for entry in self._entries if entry.exp > fetched]
        self.unseen += sum(e.key is None for e in self._entries if e.exp <= fetched)
        self._entries = live
        for entry in live:
            self._judge(entry, key_set.get(entry.kid))

    def _judge(self, entry: Entry, key: Any) -> None:
        left = f"with {entry.exp - time.time():.1f} s to live"
        demand(key is not None, f"no key for acknowledged token {entry.token} {left}")
        if key != entry.key:
            try:
                _verify(entry.token, key)
            except jwt.InvalidTokenError as error:
                line = f"acknowledged token {entry.token} {left} does not verify: {error!r}"
                raise Violation(line) from None
            self.signatures += 1
            entry.key = key
        self.verdicts += 1


def _verify(token: str, key: Any) -> None:
    """By PyJWT; its expiry was judged by the time of the fetch already."""
    options = {"verify_aud": False, "verify_exp": False}
    jwt.decode(token, jwt.PyJWK(key), algorithms=["ES256"], issuer=ISSUER, options=options)
