"""What the issuer needs of the outside: a source of keys, and a clock.

The clock is Twisted's own ``IReactorTime``; its ``seconds()`` is the wall clock, a NumericDate.
"""

from twisted.internet.defer import Deferred
from zope.interface import Interface

from jwksd.keys import KeyPair


class IKeySource(Interface):
    """Where fresh key pairs come from. No call blocks."""

    def take(alg: str) -> "Deferred[KeyPair]":
        """A key given to no one else, and warm: its first signature is as fast as the next.

        The Deferred can be cancelled, which gives up the place in the queue.

        Raises (in the Deferred):
            TooManyWaiting: the queue is full.
            Stopping: the source has been stopped.
        """
