"""What the parts of the application need of one another and of the outside.

Attributes are annotated, so that their types are known wherever an interface is used. The clock is
Twisted's own ``IReactorTime``; its ``seconds()`` is the wall clock, a NumericDate.
"""

from collections.abc import Callable, Collection, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from zope.interface import Attribute, Interface

from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.tokens import Token
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import Ring

Seal = Callable[[KeyPair], Token]
"""Signs one token with the key that it is given."""


class IThreadReactor(IReactorFromThreads, IReactorTime):
    """A reactor of real time that other threads may call."""


class IKeySource(Interface):
    """Where fresh key pairs come from. No call blocks."""

    def take_now(alg: str) -> KeyPair | None:
        """Return a key as ``take`` does, or None where it would have to wait, or to refuse."""

    def take(alg: str) -> "Deferred[KeyPair]":
        """Return a key that nobody else is given. Its first signature is as fast as the next.

        Cancelling the Deferred gives up the place in the queue.

        Raises (in the Deferred):
            TooManyWaiting: the queue is full.
            Stopping: the source has been stopped.
        """


class IStore(Interface):
    """Where keys are kept, and the one place where they change.

    Every change makes a new version. What a call has acknowledged is kept, as durably as the store
    keeps anything. Every Deferred may fail with StoreAway: then it is not known whether the change
    was made, until a ``read`` after the store is back shows it.
    """

    shared: bool = Attribute("Whether others may change it: another process, another machine.")

    one_machine: bool = Attribute("Whether all who change it have the same clocks.")

    at_once: bool = Attribute("Whether every call is done when it returns, and none ever fails.")

    def open() -> Contents:
        """Return everything. The only call that blocks; made before anything is served.

        Raises:
            StartUpRefused: the store cannot be used, with what to do about it.
        """

    def close() -> "Deferred[None]":
        """Close the store; the Deferred fires when none of its threads runs any more."""

    def read(since: int | None, known: Collection[str]) -> "Deferred[Contents | None]":
        """Return what has changed since a version, or None where nothing has.

        Where ``since`` is None, return everything. The private halves of ``known`` kids are left
        out.
        """

    def swap(
        version: int, before: Ring, after: Ring, added: KeyPair | None
    ) -> "Deferred[int | None]":
        """Change the ring if it still has this version; return the new version, or None.

        ``added`` is the key that ``after`` has and ``before`` has not, if there is one. The private
        half of a key that is neither pending nor active in ``after`` is destroyed.
        """

    def insert(key: PublishedKey) -> "Deferred[int]":
        """Keep the public half of a key that has signed its one token; return the new version."""

    def withdraw(kids: Collection[str]) -> "Deferred[None]":
        """Take back keys that signed one token each."""

    def expire(now: float) -> "Deferred[None]":
        """Forget keys that signed one token each, and have expired."""

    def count(usage: Mapping[str, Usage]) -> "Deferred[Mapping[str, Usage]]":
        """Add to what keys of the ring have signed, and return it for all of them."""

    def watch(changed: Callable[[], None]) -> None:
        """Call ``changed`` on the reactor's thread whenever others may have changed something."""


class IReaders(Interface):
    """Readers of the key set, who wait until it is complete.

    It is, when no key is missing that there must be before there can be any token: with
    ``rotating`` the first of each algorithm, with ``per-token`` none.
    """

    must_wait: bool = Attribute("Whether the set is not complete.")

    def wait() -> "Deferred[None]":
        """Wait until the set is complete; cancelling the Deferred gives up.

        Raises (in the Deferred):
            NotReady: it takes too long.
            Stopping: the server is shutting down.
        """

    def dismiss() -> None:
        """Refuse all who wait, and all who come from now on: the server stops."""


class IKeyPolicy(Interface):
    """Which key signs, and how long it is published (``per-token`` or ``rotating``)."""

    name: str = Attribute("The name of the policy, as ``--policy`` has it.")

    cache_control: bytes = Attribute("The Cache-Control of every document with keys, as it is now.")

    not_ready: str | None = Attribute("Why no token can be signed now, or should not be; or None.")

    keys: PublishedKeys = Attribute("The keys that are published at this moment.")

    readers: IReaders = Attribute("Those who wait until ``keys`` is complete.")

    reads_through: bool = Attribute(
        "Whether ``keys`` may lack a key that another node published: ``refresh`` before a use."
    )

    def open() -> None:
        """Read the store, blocking; before anything is served, and after a daemon has forked.

        Raises:
            StartUpRefused: the store cannot be used, with what to do about it.
        """

    def start() -> None:
        """Begin to work; timers may be set from now on."""

    def stop() -> "Deferred[None]":
        """Leave nothing in the reactor, destroy every private half, and close the store."""

    async def refresh() -> None:
        """Have ``keys`` hold all that was published anywhere before this call, if the store can be
        reached."""

    def sign_now(alg: str, seal: Seal, key_lifetime: int | None = None) -> Token | None:
        """Return what ``sign`` does, or None where it would have to wait, or to refuse.

        Raises:
            TooManyKeys: no token now; try again later.
        """

    async def sign(
        alg: str, seal: Seal, key_lifetime: int | None = None, *, sound: bool = True
    ) -> Token:
        """Return a token sealed with the right key, which is published before this returns.

        A key that signs this token alone is published for ``key_lifetime`` seconds, or until the
        token's ``exp`` where that is None.
        A token that is not ``sound`` is wrong on purpose: the self-check does not look at it.

        Raises:
            TooManyKeys, TooManyWaiting, StoreAway, Stopping: no token now; try again later.
        """

    async def rotate(alg: str) -> Mapping[str, object]:
        """Replace the key of this algorithm as soon as that is safe.

        Returns ``kid``, that of the next key or None while it is being made, and ``at``, when it
        begins to sign. With ``per-token`` a fresh key is published that signs nothing.

        Raises:
            StoreAway: nothing was changed, or it is not known whether it was.
        """

    async def revoke(kid: str) -> None:
        """Withdraw a live key at once: it is not published, and signs nothing, from now on.

        Raises:
            UnknownKey: no live key has this kid.
            StoreAway: nothing was changed, or it is not known whether it was.
        """

    async def reset() -> int:
        """Forget every key at once, and return how many there were.

        Raises:
            StoreAway: nothing was changed, or it is not known whether it was.
        """

    async def describe() -> Mapping[str, object]:
        """Describe every key: its state, since and until when, and what it has signed.

        Returns ``policy``, its name; ``next_change``, a NumericDate or None; and ``keys``, the
        members of a ``KeyStatus`` for each.
        """
