"""MemoryStore: keys that live as long as the process. Every call is done when it returns."""

from collections.abc import Callable, Collection, Mapping

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from jwksd.interfaces import IStore
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.expiries import Expiries
from jwksd.lifecycle.ring import Ring, State


@implementer(IStore)
class MemoryStore:
    """The keys of one process; nobody else changes them."""

    shared = False
    one_machine = True
    at_once = True

    def __init__(self) -> None:
        self._version = 0
        self._ring = Ring()
        self._keys: dict[str, PublishedKey] = {}
        self._pairs: dict[str, KeyPair] = {}
        self._usage: dict[str, Usage] = {}
        self._expiries = Expiries()

    def open(self) -> Contents:
        return self._contents(())

    def close(self) -> "Deferred[None]":
        self._pairs.clear()
        return succeed(None)

    def read(self, since: int | None, known: Collection[str]) -> "Deferred[Contents | None]":
        return succeed(None if since == self._version else self._contents(known))

    def swap(
        self, version: int, before: Ring, after: Ring, added: KeyPair | None
    ) -> "Deferred[int | None]":
        if version != self._version:
            return succeed(None)
        self._ring = after
        for key in before.keys:
            if after.get(key.kid) is None:
                self._keys.pop(key.kid, None)
                self._usage.pop(key.kid, None)
        if added is not None:
            self._keys[added.kid] = added.published(after.created(added.kid))
            self._pairs[added.kid] = added
        signing = [key.kid for key in after.keys if key.state is not State.RETIRED]
        self._pairs = {kid: self._pairs[kid] for kid in signing if kid in self._pairs}
        return succeed(self._next_version())

    def insert(self, key: PublishedKey) -> "Deferred[int]":
        self._keys[key.kid] = key
        if key.expires is not None:
            self._expiries.add(key.expires, key.kid)
        return succeed(self._next_version())

    def withdraw(self, kids: Collection[str]) -> "Deferred[None]":
        for kid in kids:
            key = self._keys.pop(kid, None)
            if key is not None and key.expires is not None:
                self._expiries.remove(key.expires, kid)
        self._next_version()
        return succeed(None)

    def expire(self, now: float) -> "Deferred[None]":
        for kid in self._expiries.pop(now):
            self._keys.pop(kid, None)
        return succeed(None)

    def count(self, usage: Mapping[str, Usage]) -> "Deferred[Mapping[str, Usage]]":
        for kid, more in usage.items():
            self._usage[kid] = self._usage.get(kid, Usage()) + more
        return succeed({key.kid: self._usage.get(key.kid, Usage()) for key in self._ring.keys})

    def watch(self, changed: Callable[[], None]) -> None:
        """Do nothing: nobody else changes this store."""

    def _contents(self, known: Collection[str]) -> Contents:
        pairs = [pair for kid, pair in self._pairs.items() if kid not in known]
        return Contents(self._version, self._ring, list(self._keys.values()), pairs, None)

    def _next_version(self) -> int:
        self._version += 1
        return self._version
