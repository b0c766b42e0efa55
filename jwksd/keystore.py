"""KeyStore: the live keys, in a jwcrypto JWKSet, with an index by kid, by age and by expiry.

``JWKSet`` finds a key by looking at all of them, has no call to remove one, and iterates in an
order that differs between processes. The three indexes beside it settle that:

1. A kid is in every index, or in none. A key comes into the JWKSet when that is asked for, and not
   before: its JWK takes longer to make, and more memory, than all else that is kept of it.
2. The documents' order is oldest first, then kid: the same in every process.
3. The cost of a change grows with the logarithm of the number of keys, save for moving pointers.
4. The document of all keys is built when it is first asked for after a change, and kept.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from jwcrypto.jwk import JWKSet

from jwksd.documents import Document, key_set
from jwksd.keys import Key

_Index = list[tuple[int, str]]


class KeyStore:
    """The live keys. ``now`` is always a NumericDate in seconds, and comes from the caller."""

    def __init__(self) -> None:
        self._jwks = JWKSet()
        self._unbuilt: dict[str, Key] = {}
        self._by_kid: dict[str, Key] = {}
        self._by_age: _Index = []
        self._by_expiry: _Index = []
        self._document: Document | None = None

    def __len__(self) -> int:
        return len(self._by_kid)

    def __iter__(self) -> Iterator[Key]:
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
        return self._by_expiry[0][0] if self._by_expiry else None

    def add(self, key: Key) -> None:
        """Publish a key.

        Raises:
            ValueError: when a live key has this kid already.
        """
        kid = key.kid
        if kid in self._by_kid:
            raise ValueError(f"a live key has the kid {kid} already")
        self._by_kid[kid] = self._unbuilt[kid] = key
        insort(self._by_age, (key.created, kid))
        if key.expires is not None:
            insort(self._by_expiry, (key.expires, kid))
        self._document = None

    def get(self, kid: str) -> Key | None:
        """The key with this kid, or None."""
        return self._by_kid.get(kid)

    def key_set(self) -> Document:
        """The document with every key, oldest first, then by kid."""
        if self._document is None:
            by_kid = self._by_kid
            self._document = key_set([by_kid[kid].document.members for _, kid in self._by_age])
        return self._document

    def expire(self, now: float) -> int:
        """Forget every key whose expiry has come, and answer how many there were."""
        if not self._by_expiry or self._by_expiry[0][0] > now:
            return 0
        due = bisect_left(self._by_expiry, (int(now) + 1, ""))
        expired = [self._by_kid.pop(kid) for _, kid in self._by_expiry[:due]]
        del self._by_expiry[:due]
        self._forget(expired)
        return due

    def remove(self, kid: str) -> bool:
        """Forget one key, and answer whether there was one."""
        key = self._by_kid.pop(kid, None)
        if key is None:
            return False
        self._unschedule(key)
        self._forget([key])
        return True

    def clear(self) -> int:
        """Forget every key, and answer how many there were."""
        keys = list(self._by_kid.values())
        self._by_kid.clear()
        self._by_expiry.clear()
        self._forget(keys)
        return len(keys)

    def _unschedule(self, key: Key) -> None:
        if key.expires is not None:
            del self._by_expiry[bisect_left(self._by_expiry, (key.expires, key.kid))]

    def _forget(self, keys: list[Key]) -> None:
        members = self._jwks["keys"]
        for key in keys:
            if self._unbuilt.pop(key.kid, None) is None:
                members.discard(key.public)
        # Taking entries out one by one moves the rest of the list each time; past a few, one pass
        # over all of it is cheaper.
        if len(keys) * 64 < len(self._by_age):
            for key in keys:
                del self._by_age[bisect_left(self._by_age, (key.created, key.kid))]
        else:
            self._by_age = [entry for entry in self._by_age if entry[1] in self._by_kid]
        self._document = None
