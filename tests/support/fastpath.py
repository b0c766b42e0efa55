"""A site in memory, and whether its fast path answers a request."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.issuing.mintrequest import MintRequest
from jwksd.web.http.answers import RememberedAnswer
from jwksd.web.http.site import Site
from jwksd.web.root import make_root
from tests.support.app import make_issuer
from tests.support.http import Connection, masked
from tests.support.keys import NOW


class FastPathTestCase(SynchronousTestCase):
    """A site in memory, with one connection."""

    policy = "rotating"

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.issuer = make_issuer(self.clock, policy=self.policy)
        self.issuer.policy.start()
        self.site = self.make_site()
        self.connection = Connection(self.site)

    def make_site(self, **options: Any) -> Site:
        return Site(make_root(self.issuer, options.pop("dev", None)), self.clock, **options)

    def mint(self, **wish: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.issuer.mint(MintRequest(**wish))))

    def is_repeated(self, request: bytes, client: Connection | None = None) -> bool:
        """Return whether the fast path answers it; check that both paths answer the same."""
        client = client or self.connection
        ordinary = client.send(request)
        learned = self.site.fast_path.answers.get(request)
        calls: list[RememberedAnswer] = []
        repeat = client.channel._repeat

        def watch(head: bytes, answer: RememberedAnswer) -> bool:
            calls.append(answer)
            return bool(repeat(head, answer))

        client.channel._repeat = watch
        try:
            self.assertEqual(masked(client.send(request)), masked(ordinary))
        finally:
            del client.channel._repeat
        return learned is not None and calls == [learned]
