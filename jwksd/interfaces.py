"""What the parts of the application need of one another and of the outside.

The clock is Twisted's own ``IReactorTime``; its ``seconds()`` is the wall clock, a NumericDate.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from jwksd.keys import KeyPair
from jwksd.tokens import Token

Seal = Callable[[KeyPair], Token]
"""Signs one token with the key that it is given."""


class IKeySource(Interface):
    """Where fresh key pairs come from. No call blocks."""

    def take(alg: str) -> "Deferred[KeyPair]":
        """A key given to no one else, and warm: its first signature is as fast as the next.

        The Deferred can be cancelled, which gives up the place in the queue.

        Raises (in the Deferred):
            TooManyWaiting: the queue is full.
            Stopping: the source has been stopped.
        """


class IKeyPolicy(Interface):
    """Which key signs, and how long it is published (``per-token`` or ``rotating``)."""

    name = Attribute("The name of the policy, as ``--policy`` has it.")

    cache_control = Attribute("The Cache-Control of every document with keys, as bytes.")

    not_ready = Attribute("Why no token could be signed now, or None.")

    keys = Attribute("The KeyStore of the keys that are published at this moment.")

    def start() -> None:
        """Begin to work; timers may be set from now on."""

    def stop() -> None:
        """Leave nothing in the reactor, and let go of every private half."""

    async def sign(alg: str, seal: Seal) -> Token:
        """A token sealed with the right key, which is published before the token is answered.

        Raises:
            TooManyKeys, TooManyWaiting, Stopping: no token now; try again later.
        """

    async def rotate(alg: str) -> Mapping[str, object]:
        """Replace the key of this algorithm as soon as that is safe; ``kid`` and ``at``, when."""

    def revoke(kid: str) -> None:
        """Withdraw a live key at once; nothing of it is published or signs from now on.

        Raises:
            UnknownKey: no live key has this kid.
        """

    def reset() -> int:
        """Forget every key at once, and answer how many there were."""

    def describe() -> Mapping[str, object]:
        """Which keys there are, in which state, since and until when, and who still needs them."""
