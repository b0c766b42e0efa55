"""Fresh keys to put into a store, and the rings that publish them."""

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from jwksd.interfaces import IKeySource
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keys import KeyPair, PublishedKey
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.keysources.generating import generate
from jwksd.lifecycle import ring as rings
from jwksd.lifecycle.ring import Ring
from tests.support.keys import NOW, NothingReady


def fresh_pair() -> LocalKeyPair:
    """An ES256 pair that nobody else has."""
    return generate(ALGORITHMS["ES256"], 0)


def single(expires: int = NOW + 3600, created: int = NOW) -> PublishedKey:
    """The public half of a key that has signed its token."""
    return fresh_pair().published(created, expires)


def with_pending(ring: Ring, pair: KeyPair, now: float = NOW) -> Ring:
    """The ring after this key was published, at ``now``."""
    return rings.publish(ring, pair.kid, pair.alg, now)


@implementer(IKeySource)
class FreshKeys(NothingReady):
    """A source of ES256 keys that answers at once."""

    def take(self, alg: str) -> "Deferred[KeyPair]":
        return succeed(fresh_pair())
