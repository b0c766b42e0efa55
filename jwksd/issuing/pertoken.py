"""PerToken: a new key for every token, its private half dropped after that one signature.

The laws of this policy:
1. The token's ``exp`` and the key's expiry are the same second, unless the token has expired when
   it is made, and its key has not.
2. The store keeps public halves only, and has acknowledged a key before its token is answered.
"""

from collections.abc import Mapping
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from jwksd.errors import StartUpRefused, StoreAway, UnknownKey
from jwksd.interfaces import IKeyPolicy, IKeySource, IStore, Seal
from jwksd.issuing.firstkeys import Readers
from jwksd.issuing.follower import Follower
from jwksd.issuing.livekeys import LiveKeys
from jwksd.issuing.selfcheck import Check, no_check
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.keysets import Document
from jwksd.jose.tokens import Token
from jwksd.lifecycle.contents import Contents
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import State
from jwksd.lifecycle.status import KeyStatus


def _key_of(token: Token, pair: KeyPair, now: float, key_lifetime: int | None) -> PublishedKey:
    until = token.exp if key_lifetime is None else int(now) + key_lifetime
    return pair.published(int(now), until)


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
        check: called after every sound token whose key was published.
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
        self.readers = Readers(reactor)
        self._lifetime = lifetime
        self._check = check
        self._live = LiveKeys(clock, max_keys, self._forget_expired)

    @property
    def keys(self) -> PublishedKeys:
        """Those that have not expired."""
        return self._live.keys

    @property
    def reads_through(self) -> bool:
        """Whether others change the store: one may have answered a token a moment ago."""
        return self._store.shared

    @property
    def not_ready(self) -> str | None:
        """Why the store is away, or None: while it is, no key is kept, and no token answered."""
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
        self._live.stop()
        return self._store.close()

    async def refresh(self) -> None:
        await self._follower.refresh()

    def sign_now(self, alg: str, seal: Seal, key_lifetime: int | None = None) -> Token | None:
        if not self._store.at_once or self._follower.away is not None:
            return None
        self._live.refuse_when_full()
        pair = self._source.take_now(alg)
        if pair is None:
            return None
        with pair:
            token = seal(pair)
        key = _key_of(token, pair, self._clock.seconds(), key_lifetime)
        self._store.insert(key)
        return self._answer(token, key)

    async def sign(
        self, alg: str, seal: Seal, key_lifetime: int | None = None, *, sound: bool = True
    ) -> Token:
        with self._live.promise():
            with await self._source.take(alg) as pair:
                token = seal(pair)
            key = _key_of(token, pair, self._clock.seconds(), key_lifetime)
            await self._keep(key)
            return self._answer(token, key, sound=sound)

    async def rotate(self, alg: str) -> Mapping[str, object]:
        """Publish a fresh key that signs nothing, so that verifiers see the set change."""
        with self._live.promise():
            pair = await self._source.take(alg)
            pair.destroy()
            now = int(self._clock.seconds())
            key = pair.published(now, now + self._lifetime)
            await self._keep(key)
            self._live.add(key)
        return {"kid": pair.kid, "at": now}

    async def revoke(self, kid: str) -> None:
        if self.keys.get(kid) is None:
            await self.refresh()
        if self.keys.get(kid) is None:
            raise UnknownKey(kid)
        await self._follower.kept(self._store.withdraw([kid]))
        self._live.remove(kid)

    async def reset(self) -> int:
        await self.refresh()
        kids = [key.kid for key in self.keys]
        await self._follower.kept(self._store.withdraw(kids))
        return self._live.clear()

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

    async def _keep(self, key: PublishedKey) -> None:
        """Have the store keep a key, before it is published and its token answered.

        Raises:
            StoreAway: it is not known whether the store has it.
        """
        if self._follower.away is not None:
            raise self._follower.error()
        await self._follower.kept(self._store.insert(key))

    def _answer(self, token: Token, key: PublishedKey, *, sound: bool = True) -> Token:
        """Publish the key of a token, which the store has kept; return the token."""
        self._live.add(key)
        if sound:
            self._check(lambda: [token.token.decode("ascii")], partial(self._document, key.kid))
        return token

    def _apply(self, contents: Contents) -> None:
        """Take in what another node has changed. Keys of an earlier rotation end with the ring."""
        ends = {key.kid: key.until for key in contents.ring.keys}
        keys = {key.kid: key.ending(ends.get(key.kid, key.expires)) for key in contents.keys}
        gone = contents.gone
        if gone is None:
            gone = [key.kid for key in self.keys if key.kid not in keys]
        for kid in gone:
            self._live.remove(kid)
        for key in keys.values():
            self._live.add(key)

    def _forget_expired(self, now: float) -> None:
        self._store.expire(now).addErrback(self._not_expired)

    def _not_expired(self, failure: Failure) -> None:
        """Note that the store is away; it forgets these keys with the next ones."""
        if isinstance(failure.value, StoreAway):
            self._follower.lost(failure.value)
