"""What the parts of the application need of one another and of the outside.

The clock is Twisted's own ``IReactorTime``; its ``seconds()`` is the wall clock, a NumericDate.
"""

from collections.abc import Callable, Collection, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from zope.interface import Attribute, Interface

from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.tokens import Token
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.ring import Ring

Seal = Callable[[KeyPair], Token]
"""Signs one token with the key that it is given."""


class IThreadReactor(IReactorFromThreads, IReactorTime):
    """A reactor of real time that other threads may call."""


class IKeySource(Interface):
    """Where fresh key pairs come from. No call blocks."""

    def take_now(alg: str) -> KeyPair | None:
        """A key as from ``take``, or None where one would have to be waited for, or is refused."""

    def take(alg: str) -> "Deferred[KeyPair]":
        """A key given to no one else, and warm: its first signature is as fast as the next.

        The Deferred can be cancelled, which gives up the place in the queue.

        Raises (in the Deferred):
            TooManyWaiting: the queue is full.
            Stopping: the source has been stopped.
        """


class IStore(Interface):
    """Where keys are kept, and the one place where they change.

    Every change makes a new version. What a call has acknowledged is kept, as durably as the store
    keeps anything. Every Deferred may fail with StoreAway: then nothing is known of the change, and
    ``read`` tells what became of it when the store is back.
    """

    shared = Attribute("Whether others may change it: another process, another machine.")

    one_machine = Attribute("Whether all who change it have the same clocks.")

    at_once = Attribute("Whether every call is done when it returns, and none ever fails.")

    def open() -> Contents:
        """Everything. The one call that blocks: before anything is served.

        Raises:
            StartUpRefused: the store cannot be used, with what to do about it.
        """

    def close() -> "Deferred[None]":
        """Let go of it; the Deferred fires when nothing of it runs any more."""

    def read(since: int | None, known: Collection[str]) -> "Deferred[Contents | None]":
        """What has come since a version, or None for nothing; without a version, everything.

        The private halves of ``known`` kids are left out.
        """

    def swap(
        version: int, before: Ring, after: Ring, added: KeyPair | None
    ) -> "Deferred[int | None]":
        """Change the ring, if it is of this version still; the new version, or None.

        ``added`` is the key that ``after`` has and ``before`` has not, if there is one. The private
        half of a key that is neither pending nor active in ``after`` is destroyed.
        """

    def insert(key: PublishedKey) -> "Deferred[int]":
        """Keep the public half of a key that has signed its one token; the new version."""

    def withdraw(kids: Collection[str]) -> "Deferred[None]":
        """Take back keys that signed one token each."""

    def expire(now: float) -> "Deferred[None]":
        """Forget keys that signed one token each, and have expired."""

    def count(usage: Mapping[str, Usage]) -> "Deferred[Mapping[str, Usage]]":
        """Add to what keys of the ring have signed, and answer it for all of them."""

    def watch(changed: Callable[[], None]) -> None:
        """Have this called, on the reactor's thread, when others may have changed something."""


class IKeyPolicy(Interface):
    """Which key signs, and how long it is published (``per-token`` or ``rotating``)."""

    name = Attribute("The name of the policy, as ``--policy`` has it.")

    cache_control = Attribute("The Cache-Control of every document with keys, as bytes.")

    not_ready = Attribute("Why no token could be signed now, or should not be; or None.")

    keys = Attribute("The KeyStore of the keys that are published at this moment.")

    reads_through = Attribute("Whether ``keys`` may lack a key that a token is out for already.")

    def open() -> None:
        """Read the store, blocking; before anything is served, and after a daemon has forked.

        Raises:
            StartUpRefused: the store cannot be used, with what to do about it.
        """

    def start() -> None:
        """Begin to work; timers may be set from now on."""

    def stop() -> "Deferred[None]":
        """Leave nothing in the reactor, and let go of every private half and of the store."""

    async def refresh() -> None:
        """Have ``keys`` hold all that was published before this call, if the store is there."""

    def sign_now(alg: str, seal: Seal) -> Token | None:
        """What ``sign`` answers, or None where that would have to wait, or to refuse.

        Raises:
            TooManyKeys: no token now; try again later.
        """

    async def sign(alg: str, seal: Seal, *, sound: bool = True) -> Token:
        """A token sealed with the right key, which is published before the token is answered.

        One that is not ``sound`` is wrong on purpose: that it does not verify says nothing of us.

        Raises:
            TooManyKeys, TooManyWaiting, StoreAway, Stopping: no token now; try again later.
        """

    async def rotate(alg: str) -> Mapping[str, object]:
        """Replace the key of this algorithm as soon as that is safe; ``kid`` and ``at``, when.

        Raises:
            StoreAway: nothing was changed, or nothing is known of it.
        """

    async def revoke(kid: str) -> None:
        """Withdraw a live key at once; nothing of it is published or signs from now on.

        Raises:
            UnknownKey: no live key has this kid.
            StoreAway: nothing was changed, or nothing is known of it.
        """

    async def reset() -> int:
        """Forget every key at once, and answer how many there were.

        Raises:
            StoreAway: nothing was changed, or nothing is known of it.
        """

    async def describe() -> Mapping[str, object]:
        """Which keys there are, in which state, since and until when, and who still needs them."""
