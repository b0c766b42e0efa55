"""PublishedKeys: the live keys, in a jwcrypto JWKSet, with an index by kid, by age and by expiry.

``JWKSet`` finds a key by looking at all of them, has no call to remove one, and iterates in an
order that differs between processes. The indexes beside it settle that:

1. A kid is live if ``_by_kid`` has it. A key is put into the JWKSet when somebody asks for that
   set, and not before: its JWK takes more time and memory than everything else of a key.
2. The documents' order is oldest first, then kid: the same in every process.
3. A change costs the same on average however many keys there are. Two things wait for the next
   document, which looks at every key anyway: to put new keys in order, and to drop those that are
   gone. Where nobody asks for a document, keys that are gone are dropped once they outnumber the
   live ones.
4. The document of all keys is built when somebody first asks for it after a change, and kept.
"""

from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter

from jwcrypto.jwk import JWKSet

from jwksd.jose.keys import PublishedKey
from jwksd.jose.keysets import Document, key_set
from jwksd.lifecycle.expiries import Expiries

_order = attrgetter("created", "kid")


class PublishedKeys:
    """The live keys. ``now`` is always a NumericDate in seconds, and comes from the caller."""

    def __init__(self) -> None:
        self._jwks = JWKSet()
        self._unbuilt: dict[str, PublishedKey] = {}
        self._by_kid: dict[str, PublishedKey] = {}
        self._expiries = Expiries()
        self._by_age: list[PublishedKey] = []
        self._new: list[PublishedKey] = []
        """Keys that ``_by_age`` does not have yet."""
        self._gone: set[str] = set()
        """Kids that ``_by_age`` or ``_new`` still have."""
        self._document: Document | None = None

    def __len__(self) -> int:
        return len(self._by_kid)

    def __iter__(self) -> Iterator[PublishedKey]:
        """Every key, in no order."""
        return iter(self._by_kid.values())

    @property
    def jwks(self) -> JWKSet:
        """The live keys as jwcrypto knows them: public members only."""
        while self._unbuilt:
            self._jwks.add(self._unbuilt.popitem()[1].public)
        return self._jwks

    @property
    def next_expiry(self) -> int | None:
        """When the next key expires, or None when none does."""
        return self._expiries.first

    def add(self, key: PublishedKey) -> None:
        """Publish a key, or raise ValueError if a live key has its kid already."""
        kid = key.kid
        if kid in self._by_kid:
            raise ValueError(f"a live key has the kid {kid} already")
        if kid in self._gone:
            self._drop_gone()
        self._by_kid[kid] = self._unbuilt[kid] = key
        self._new.append(key)
        if key.expires is not None:
            self._expiries.add(key.expires, kid)
        self._document = None

    def get(self, kid: str) -> PublishedKey | None:
        """Return the key with this kid, or None."""
        return self._by_kid.get(kid)

    def key_set(self) -> Document:
        """Return the document with every key, oldest first, then by kid."""
        if self._document is None:
            self._tidy()
            self._document = key_set([key.member for key in self._by_age])
        return self._document

    def expire(self, now: float) -> int:
        """Forget every key that has expired, and return how many there were."""
        if not self._expiries.is_due(now):
            return 0
        due = self._expiries.pop(now)
        if due:
            self._forget([self._by_kid.pop(kid) for kid in due])
        return len(due)

    def remove(self, kid: str) -> bool:
        """Forget one key, and return whether there was one."""
        key = self._by_kid.pop(kid, None)
        if key is None:
            return False
        if key.expires is not None:
            self._expiries.remove(key.expires, kid)
        self._forget([key])
        return True

    def clear(self) -> int:
        """Forget every key, and return how many there were."""
        keys = list(self._by_kid.values())
        self._by_kid.clear()
        self._expiries = Expiries()
        self._forget(keys)
        return len(keys)

    def _forget(self, keys: list[PublishedKey]) -> None:
        members = self._jwks["keys"]
        for key in keys:
            if self._unbuilt.pop(key.kid, None) is None:
                members.discard(key.public)
            self._gone.add(key.kid)
        self._document = None
        if len(self._gone) > len(self._by_kid):
            self._drop_gone()

    def _drop_gone(self) -> None:
        """Drop keys that are gone from ``_by_age`` and ``_new``."""
        gone, self._gone = self._gone, set()
        self._by_age = [key for key in self._by_age if key.kid not in gone]
        self._new = [key for key in self._new if key.kid not in gone]

    def _tidy(self) -> None:
        """Bring ``_by_age`` to every live key, in the documents' order."""
        if self._gone:
            self._drop_gone()
        new, self._new = self._new, []
        if new:
            first = bisect_left(self._by_age, min(map(_order, new)), key=_order)
            self._by_age[first:] = sorted(self._by_age[first:] + new, key=_order)
