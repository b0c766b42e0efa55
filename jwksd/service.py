"""The parts of the server as services: what makes keys, and the whole, which starts it in order.

The laws of the start:
1. Ports are bound first, for the issuer's name may need the port; then the issuer and what answers
   for it are made; then the store is opened. All of it is one turn of the reactor, so no connection
   is accepted before all is there.
2. What cannot be had raises StartUpRefused, and every port is released.
3. No thread is started before ``startService``: twistd may fork before it.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from jwksd.errors import StartUpRefused
from jwksd.issuing.issuer import Issuer
from jwksd.keysources.local import KeySource
from jwksd.keysources.threads import Threads
from jwksd.web.endpoints.listener import Listener, base_url


class KeyService(Service):
    """Makes keys from start to stop.

    Args:
        reactor: on whose thread pool the stop waits for the threads.
        threads: those that the source and the issuer work on.
        source: where the issuer's keys come from.
        issuer: who signs with them.
    """

    def __init__(
        self, reactor: Any, threads: Sequence[Threads], source: KeySource, issuer: Issuer
    ) -> None:
        self.issuer = issuer
        self._reactor = reactor
        self._threads = threads
        self._source = source

    def privilegedStartService(self) -> None:
        """Open the store.

        Raises:
            StartUpRefused: it cannot be used.
        """
        super().privilegedStartService()
        self.issuer.policy.open()

    def startService(self) -> None:
        super().startService()
        for threads in self._threads:
            threads.start()
        self._source.start()
        self.issuer.policy.start()

    def stopService(self) -> "Deferred[None]":
        super().stopService()
        # In this order: a rotation that waits for its next key knows why it will not come.
        stopped = self.issuer.stop()
        self._source.stop()
        # A key of the largest size can take a minute to make, and the threads are waited for.
        pool = self._reactor.getThreadPool()
        return stopped.addCallback(
            lambda _: deferToThreadPool(self._reactor, pool, self._end_threads)
        )

    def _end_threads(self) -> None:
        for threads in reversed(self._threads):
            threads.stop()


class Daemon(MultiService):
    """The whole server.

    Its parts start in order, and stop in reverse, each when the one before has stopped: requests
    in flight are answered while there still are keys.

    Args:
        listener: binds the ports.
        build: makes the issuer and what answers for it, once the addresses are known.
        dev: whether any client can change the server, which the log then says.
    """

    _log = Logger()

    def __init__(
        self,
        listener: Listener,
        build: Callable[[Sequence[IAddress]], KeyService],
        *,
        dev: bool = False,
    ) -> None:
        super().__init__()
        self.listener = listener
        self._build = build
        self._dev = dev
        self._keys: KeyService | None = None

    @property
    def issuer(self) -> Issuer:
        """Who signs; there is none before ``privilegedStartService``, which names it."""
        if self._keys is None:
            raise RuntimeError("the server has not been started: its issuer has no name yet")
        return self._keys.issuer

    def privilegedStartService(self) -> None:
        """Bind, make the issuer, and open the store.

        Raises:
            StartUpRefused: something cannot be had; no port is kept.
        """
        try:
            self._open()
        except StartUpRefused as refused:
            self.listener.release()
            # twistd has made a log of sys.stderr by now, and the interpreter would end with it.
            if sys.stderr is not sys.__stderr__ and sys.__stderr__ is not None:
                print(refused.code, file=sys.__stderr__)
            raise

    def startService(self) -> None:
        if self._keys is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> "Deferred[None]":
        Service.stopService(self)
        if self._keys is not None:  # the listener would wait for those who are held
            self._keys.issuer.policy.readers.dismiss()
        return Deferred.fromCoroutine(self._stop_in_reverse())

    def _open(self) -> None:
        self.listener.privilegedStartService()
        keys = self._build(self.listener.addresses)
        keys.privilegedStartService()
        self._keys = keys
        keys.setServiceParent(self)
        self.listener.setServiceParent(self)
        self._announce()

    def _announce(self) -> None:
        """Log who serves where, and what is open to whom."""
        urls = ", ".join(filter(None, map(base_url, self.listener.addresses)))
        self._log.info("{urls} serve as issuer {name}", urls=urls, name=self.issuer.name)
        if self._dev:
            self._log.warn(
                "--dev: any client can change this server by /dev; never use it in production"
            )

    async def _stop_in_reverse(self) -> None:
        for part in reversed(list(self)):
            await maybeDeferred(part.stopService)
