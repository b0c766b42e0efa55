"""PerToken: a new key for every token, its private half dropped after that one signature.

The token's ``exp`` and the key's expiry are the same second. A timer at the next expiry frees the
key; every read forgets expired keys first, so that documents are right even when the timer is late.
The store keeps public halves only, and has acknowledged a key before its token is answered.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import ceil

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from jwksd.errors import StartUpRefused, StoreAway, TooManyKeys, UnknownKey
from jwksd.interfaces import IKeyPolicy, IKeySource, IStore, Seal
from jwksd.issuing.follower import Follower
from jwksd.issuing.selfcheck import Check, no_check
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.keysets import Document
from jwksd.jose.tokens import Token
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import State
from jwksd.lifecycle.status import KeyStatus


def no_such_key(kid: str) -> UnknownKey:
    """The error of a kid that no live key has."""
    return UnknownKey(f"no live key has the kid {kid!r:.60}; jwks.json lists those there are")


@implementer(IKeyPolicy)
class PerToken:
    """The policy of a key for every token.

    Args:
        clock: the wall clock, and the timer that frees expired keys.
        reactor: real time, for following a store that others change.
        source: where fresh keys come from.
        store: where they are kept.
        lifetime: of a key that ``rotate`` publishes, in seconds.
        max_keys: how many keys may be live at once.
        check: told of every sound token whose key was published.
    """

    name = "per-token"
    cache_control = b"no-cache"

    def __init__(
        self,
        *,
        clock: IReactorTime,
        reactor: IReactorTime,
        source: IKeySource,
        store: IStore,
        lifetime: int,
        max_keys: int,
        check: Check = no_check,
    ) -> None:
        self._clock = clock
        self._source = source
        self._store = store
        self._follower = Follower(store, reactor, self._apply, known=tuple)
        self._lifetime = lifetime
        self._max_keys = max_keys
        self._check = check
        self._keys = PublishedKeys()
        self._promised = 0
        self._timer: IDelayedCall | None = None

    @property
    def keys(self) -> PublishedKeys:
        """Those that have not expired."""
        self._keys.expire(self._clock.seconds())
        return self._keys

    @property
    def reads_through(self) -> bool:
        """Another node may have answered a token a moment ago."""
        shared: bool = self._store.shared
        return shared

    @property
    def not_ready(self) -> str | None:
        """Whether the store is away: then no key can be kept, and so no token answered."""
        return self._follower.away

    def open(self) -> None:
        contents = self._follower.open()
        if any(key.state is not State.RETIRED for key in contents.ring.keys):
            raise StartUpRefused(
                "--store holds the keys of a rotation that is not over: start with --policy"
                " rotating, or with another store"
            )
        self._apply(contents)

    def start(self) -> None:
        self._follower.start()

    def stop(self) -> "Deferred[None]":
        self._follower.stop()
        self._stop_timer()
        closed: Deferred[None] = self._store.close()
        return closed

    async def refresh(self) -> None:
        await self._follower.refresh()

    def sign_now(self, alg: str, seal: Seal) -> Token | None:
        if not self._store.at_once or self._follower.away is not None:
            return None
        self._refuse_when_full()
        pair = self._source.take_now(alg)
        if pair is None:
            return None
        token, key = self._use(pair, seal)
        self._store.insert(key)
        return self._answer(token, key)

    async def sign(self, alg: str, seal: Seal, *, sound: bool = True) -> Token:
        with self._promise():
            token, key = self._use(await self._source.take(alg), seal)
            await self._keep(key)
            return self._answer(token, key, sound=sound)

    async def rotate(self, alg: str) -> Mapping[str, object]:
        """Publish a fresh key that signs nothing, so that verifiers see the set change."""
        with self._promise():
            pair = await self._source.take(alg)
            pair.destroy()
            now = int(self._clock.seconds())
            key = pair.published(now, now + self._lifetime)
            await self._keep(key)
            self._add(key)
        return {"kid": pair.kid, "at": now}

    async def revoke(self, kid: str) -> None:
        if self.keys.get(kid) is None:
            await self.refresh()
        if self.keys.get(kid) is None:
            raise no_such_key(kid)
        await self._follower.kept(self._store.withdraw([kid]))
        self._keys.remove(kid)

    async def reset(self) -> int:
        await self.refresh()
        kids = [key.kid for key in self.keys]
        await self._follower.kept(self._store.withdraw(kids))
        self._stop_timer()
        return self._keys.clear()

    async def describe(self) -> Mapping[str, object]:
        await self.refresh()
        keys = self.keys
        ordered = sorted(keys, key=lambda key: (key.created, key.kid))
        return {
            "policy": self.name,
            "next_change": keys.next_expiry,
            "keys": [KeyStatus.single(key).members() for key in ordered],
        }

    def _document(self, kid: str) -> Document | None:
        key = self.keys.get(kid)
        return None if key is None else key.document

    def _use(self, pair: KeyPair, seal: Seal) -> tuple[Token, PublishedKey]:
        """The one token of a key, and its public half; the private one is gone."""
        try:
            token = seal(pair)
            return token, pair.published(int(self._clock.seconds()), token.exp)
        finally:
            pair.destroy()

    async def _keep(self, key: PublishedKey) -> None:
        """Kept first, shown then, answered last."""
        if self._follower.away is not None:
            raise self._follower.error()
        await self._follower.kept(self._store.insert(key))

    def _answer(self, token: Token, key: PublishedKey, *, sound: bool = True) -> Token:
        """Show the key of a token, which the store has kept."""
        self._add(key)
        if sound:
            self._check(lambda: [token.token], partial(self._document, key.kid))
        return token

    def _add(self, key: PublishedKey) -> None:
        if self._keys.get(key.kid) is None:
            self._keys.add(key)
            self._set_timer()

    def _apply(self, contents: Contents) -> None:
        """What another has changed. Keys that a rotation left behind end when the ring says."""
        ends = {key.kid: key.until for key in contents.ring.keys}
        keys = {key.kid: key.ending(ends.get(key.kid, key.expires)) for key in contents.keys}
        gone = contents.gone
        if gone is None:
            gone = [key.kid for key in self._keys if key.kid not in keys]
        for kid in gone:
            self._keys.remove(kid)
        for key in keys.values():
            self._add(key)

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

    def _set_timer(self) -> None:
        """Wake at the next expiry. A key that lives shorter than the others moves it forward."""
        next_expiry = self._keys.next_expiry
        if next_expiry is None:
            return
        if self._timer is not None:
            if self._timer.getTime() <= next_expiry:
                return
            self._timer.cancel()
        delay = max(0.0, next_expiry - self._clock.seconds())
        self._timer = self._clock.callLater(delay, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        self._keys.expire(now)
        self._store.expire(now).addErrback(self._not_expired)
        self._set_timer()

    def _not_expired(self, failure: Failure) -> None:
        """They are forgotten with the next ones."""
        if isinstance(failure.value, StoreAway):
            self._follower.lost(failure.value)
