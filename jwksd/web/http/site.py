"""The site: the factory of connections, which closes them in order when the server stops."""

from dataclasses import replace

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.logger import Logger
from twisted.web import http, server
from twisted.web.resource import IResource

from jwksd.errors import TooManyConnections
from jwksd.web.http.admission import Admission
from jwksd.web.http.answers import RememberedAnswer
from jwksd.web.http.channel import Channel, Refusal
from jwksd.web.http.connections import PER_CLIENT, Connections
from jwksd.web.http.fastpath import FastPath, FastPathChannel
from jwksd.web.http.request import Request, access_log_line, log_line
from jwksd.web.http.turns import Turns
from jwksd.web.http.twistednames import FAST_PATH, missing

GRACE = 30
"""Seconds that requests in flight get to finish when the server stops."""

_REPORT = 60
"""Seconds between two lines of the log about refused connections."""


class Site(server.Site):
    """The factory of connections. It counts those that are open.

    A Unix socket has no name, so there the Host is not checked. Its answers are therefore
    remembered apart from those of all other connections.
    """

    protocol = FastPathChannel  # type: ignore[assignment]  # without the wrapper that may speak HTTP/2
    requestFactory = Request

    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        *,
        dev: bool = False,
        access_log: bool = True,
    ) -> None:
        super().__init__(
            resource,
            reactor=reactor,
            parsePOSTFormSubmission=False,
            logFormatter=access_log_line,
        )
        self.dev = dev
        self.access_log = access_log
        self.admission = Admission()
        """Which requests are let in. It may be set until the first connection."""
        self.fast_path = FastPath()
        self.unix_fast_path = FastPath()
        self._choose_channel()
        self.turns = Turns(reactor)
        self.draining = False
        self.connections: Connections[Channel] = Connections()
        self._refused = 0
        self._reported = -float(_REPORT)
        self._drained: Deferred[None] | None = None

    def _choose_channel(self) -> None:
        names = missing(FAST_PATH)
        if names:
            self.protocol = Channel  # type: ignore[assignment]
            self._log.warn(
                "this version of Twisted has no {names}: the server does without its fast path",
                names=", ".join(names),
            )

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        host, now = getattr(addr, "host", None), self.reactor.seconds()
        if not self.connections.have_room(host, now):
            self._report_refusal(host, now)
            error = TooManyConnections("too many connections are in use; try again", 1)
            return Refusal(error, self.reactor)
        channel: Channel = super().buildProtocol(addr)
        is_unix = isinstance(addr, UNIXAddress)
        channel.admission = replace(self.admission, check_host=False) if is_unix else self.admission
        if isinstance(channel, FastPathChannel):
            channel.fast_path = self.unix_fast_path if is_unix else self.fast_path
        self.connections.add(channel, host, now)
        return channel

    def _report_refusal(self, host: str | None, now: float) -> None:
        self._refused += 1
        if now < self._reported + _REPORT:
            return
        self._log.warn(
            "{refused} connections were refused since the last such line, for none was idle that"
            " could give way: {count} are open, and --max-connections allows {bound}; {own} are"
            " counted for {host}, and one client may have {most}",
            refused=self._refused,
            count=len(self.connections),
            bound=self.connections.bound,
            own=self.connections.of_client(host),
            host=host or "this machine",
            most=PER_CLIENT,
        )
        self._refused, self._reported = 0, now

    def log(self, request: http.Request) -> None:
        if self.access_log:
            super().log(request)

    def log_repeated(self, channel: Channel, answer: RememberedAnswer) -> None:
        """Write the line that ``log`` would write of an answer that was repeated."""
        if self._logFile is not None:
            address = channel.transport.getPeer()
            line = log_line(address, self._logDateTime, answer.summary, answer.length)
            self._logFile.write(line + "\n")

    def connection_closed(self, channel: Channel) -> None:
        """Forget a channel, which calls this when its connection is lost."""
        self.connections.remove(channel)
        if self._drained is not None and not self.connections:
            drained, self._drained = self._drained, None
            if self._deadline.active():
                self._deadline.cancel()
            drained.callback(None)

    def drain(self) -> "Deferred[None]":
        """Let the requests in flight finish, ``GRACE`` seconds at most, and close all connections.

        The Deferred fires when the last one is closed.
        """
        self.draining = True
        for channel in self.connections:
            channel.drain()
        if not self.connections:
            return succeed(None)
        self._drained = drained = Deferred[None]()
        self._deadline = self.reactor.callLater(GRACE, self._abort)
        return drained

    def _abort(self) -> None:
        self._log.warn(
            "{count} requests were not done after {grace} s and are cut off",
            count=len(self.connections),
            grace=GRACE,
        )
        for channel in self.connections:
            channel.transport.abortConnection()
