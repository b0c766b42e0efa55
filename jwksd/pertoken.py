"""PerToken: a new key for every token, its private half dropped after that one signature.

The token's ``exp`` and the key's expiry are the same second. A timer at the next expiry frees the
key; every read forgets expired keys first, so that documents are right even when the timer is late.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from jwksd.documents import Document
from jwksd.errors import TooManyKeys, UnknownKey
from jwksd.interfaces import IKeyPolicy, IKeySource, Seal
from jwksd.keys import Key, KeyPair
from jwksd.keystore import KeyStore
from jwksd.lifecycle import State
from jwksd.selfcheck import Check, no_check
from jwksd.tokens import Token


def no_such_key(kid: str) -> UnknownKey:
    """The error of a kid that no live key has."""
    return UnknownKey(f"no live key has the kid {kid!r:.100}; jwks.json lists those there are")


@implementer(IKeyPolicy)
class PerToken:
    """The policy of a key for every token.

    Args:
        clock: the wall clock, and the timer that frees expired keys.
        source: where fresh keys come from.
        lifetime: of a key that ``rotate`` publishes, in seconds.
        max_keys: how many keys may be live at once.
        check: told of every token whose key was published.
    """

    name = "per-token"
    cache_control = b"no-cache"
    not_ready: str | None = None

    def __init__(
        self,
        *,
        clock: IReactorTime,
        source: IKeySource,
        lifetime: int,
        max_keys: int,
        check: Check = no_check,
    ) -> None:
        self._clock = clock
        self._source = source
        self._store = KeyStore()
        self._lifetime = lifetime
        self._max_keys = max_keys
        self._check = check
        self._promised = 0
        self._timer: IDelayedCall | None = None

    @property
    def keys(self) -> KeyStore:
        """The store without expired keys."""
        self._store.expire(self._clock.seconds())
        return self._store

    def start(self) -> None:
        """Nothing is to be done ahead of the first token."""

    def stop(self) -> None:
        """Stop the timer, so that nothing of it is left in the reactor."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def sign(self, alg: str, seal: Seal) -> Token:
        with self._promise():
            pair = await self._source.take(alg)
            try:
                token = seal(pair)
                self._publish(pair, token.exp)
            finally:
                pair.destroy()
        self._check(lambda: [token.token], partial(self._document, token.kid))
        return token

    async def rotate(self, alg: str) -> Mapping[str, object]:
        """Publish a fresh key that signs nothing, so that verifiers see the set change."""
        with self._promise():
            pair = await self._source.take(alg)
            pair.destroy()
            now = int(self._clock.seconds())
            self._publish(pair, now + self._lifetime)
        return {"kid": pair.kid, "at": now}

    def revoke(self, kid: str) -> None:
        if not self.keys.remove(kid):
            raise no_such_key(kid)

    def reset(self) -> int:
        count = self._store.clear()
        self.stop()
        return count

    def describe(self) -> Mapping[str, object]:
        keys = self.keys
        ordered = sorted(keys, key=lambda key: (key.created, key.kid))
        return {
            "policy": self.name,
            "next_change": keys.next_expiry,
            "keys": [_status(key) for key in ordered],
        }

    def _document(self, kid: str) -> Document | None:
        key = self.keys.get(kid)
        return None if key is None else key.document

    def _publish(self, pair: KeyPair, expires: int) -> None:
        created = int(self._clock.seconds())
        self._store.add(Key(pair.public, pair.document, created, expires))
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake at the next expiry. A key that lives shorter than the others moves it forward."""
        next_expiry = self._store.next_expiry
        if next_expiry is None:
            return
        if self._timer is not None:
            if self._timer.getTime() <= next_expiry:
                return
            self._timer.cancel()
        delay = max(0.0, next_expiry - self._clock.seconds())
        self._timer = self._clock.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._store.expire(self._clock.seconds())
        self._set_timer()

    @contextmanager
    def _promise(self) -> Iterator[None]:
        """Keep room for one key while it is waited for.

        Raises:
            TooManyKeys: there is none.
        """
        self._refuse_when_full()
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1

    def _refuse_when_full(self) -> None:
        keys = self.keys
        if len(keys) + self._promised < self._max_keys:
            return
        next_expiry = keys.next_expiry
        wait = 1 if next_expiry is None else max(1, ceil(next_expiry - self._clock.seconds()))
        raise TooManyKeys(
            f"{self._max_keys} keys are live, which is all that --max-keys allows;"
            f" the next one expires in {wait} s",
            retry_after=wait,
        )


def _status(key: Key) -> dict[str, object]:
    """What ``describe`` tells of one key: it has signed its one token, and expires with it."""
    return {
        "kid": key.kid,
        "alg": key.public["alg"],
        "state": State.RETIRED.value,
        "since": key.created,
        "until": key.expires,
        "signed": 1,
        "last_exp": key.expires,
        "safe_to_drop_at": key.expires,
    }
