"""The names of Twisted that we use and that are not in its documentation, so that they may change.

There is no other way to the same end, or none that is fast enough. Each name says what it is for.
Where a name is missing that only the fast path needs, the site does without the fast path; where
one is missing that only ``SmallReads`` needs, the transport stays Twisted's. ``Channel`` needs the
rest; the tests say whether the installed Twisted has them.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.tcp import Connection
from twisted.web import http
from twisted.web.http import HTTPChannel, HTTPFactory

CHANNEL, FAST_PATH, SMALL_READS = "channel", "fast path", "small reads"


class TwistedName(NamedTuple):
    """An attribute of a module or class of Twisted, or of the instances of the class.

    Args:
        needed_by: CHANNEL, FAST_PATH or SMALL_READS.
        purpose: what we do with it.
    """

    owner: type | ModuleType
    name: str
    needed_by: str
    purpose: str


NAMES = (
    TwistedName(
        HTTPChannel,
        "_networkProducer",
        CHANNEL,
        "pauses and resumes reading, which pauseProducing leaves to the transport",
    ),
    TwistedName(
        HTTPChannel,
        "_maybeChooseTransferDecoder",
        CHANNEL,
        "overridden to refuse codings and lengths that Twisted takes or fails at",
    ),
    TwistedName(
        HTTPChannel,
        "_respondToBadRequestAndDisconnect",
        CHANNEL,
        "overridden to answer what is no request with a problem document",
    ),
    TwistedName(
        HTTPChannel, "_receivedHeaderSize", CHANNEL, "says that a head was refused for its octets"
    ),
    TwistedName(
        HTTPChannel, "_receivedHeaderCount", CHANNEL, "says that a head was refused for its fields"
    ),
    TwistedName(
        HTTPChannel, "_command", CHANNEL, "the method of a request whose head is not complete"
    ),
    TwistedName(HTTPChannel, "_version", CHANNEL, "the version of such a request"),
    TwistedName(
        HTTPChannel,
        "_finishRequestBody",
        CHANNEL,
        "overridden to refuse trailer fields that Twisted drops unseen",
    ),
    TwistedName(HTTPChannel, "_transferDecoder", CHANNEL, "has the trailer fields"),
    TwistedName(
        HTTPChannel, "_trailerHeaders", CHANNEL, "of its transfer decoder: the trailer fields"
    ),
    TwistedName(http, "_MalformedChunkedDataError", CHANNEL, "raised to refuse a chunked body"),
    TwistedName(
        HTTPChannel, "_savedTimeOut", CHANNEL, "the time-out that is set again after an answer"
    ),
    TwistedName(
        HTTPChannel, "_abortingCall", CHANNEL, "cuts off a client that does not let itself be ended"
    ),
    TwistedName(HTTPChannel, "_buffer", CHANNEL, "octets that are not parsed yet"),
    TwistedName(HTTPChannel, "line_mode", CHANNEL, "whether a head is expected, not a body"),
    TwistedName(
        HTTPChannel, "_HTTPChannel__first_line", FAST_PATH, "whether a request line is expected"
    ),
    TwistedName(HTTPChannel, "_handlingRequest", CHANNEL, "whether a request is unanswered"),
    TwistedName(HTTPChannel, "_busyReceiving", CHANNEL, "whether the parser is running"),
    TwistedName(
        HTTPChannel, "_waitingForTransport", CHANNEL, "whether the client takes no more answers"
    ),
    TwistedName(
        HTTPChannel,
        "_send100Continue",
        FAST_PATH,
        "overridden to notice an interim answer, which bypasses write",
    ),
    TwistedName(FileDescriptor, "dataBuffer", FAST_PATH, "octets that wait to be sent"),
    TwistedName(FileDescriptor, "_tempDataBuffer", FAST_PATH, "octets that wait behind those"),
    TwistedName(HTTPFactory, "_logFile", FAST_PATH, "where the access log goes"),
    TwistedName(HTTPFactory, "_logDateTime", FAST_PATH, "the time stamp of the access log"),
    TwistedName(
        Connection, "_dataReceived", SMALL_READS, "what doRead does with the octets it has read"
    ),
)

_EXAMPLES: Mapping[type | ModuleType, Callable[[], object]] = {
    HTTPChannel: HTTPChannel,
    FileDescriptor: lambda: FileDescriptor(cast(Any, object())),
    HTTPFactory: lambda: HTTPFactory(reactor=cast(Any, object())),
    Connection: lambda: Connection,
    http: lambda: http,
}
"""What has the names of each class: a fresh instance, or the class where no instance is needed."""


def missing(needed_by: str) -> list[str]:
    """Return the names that FAST_PATH or SMALL_READS needs and the installed Twisted lacks."""
    return [
        f"{row.owner.__name__}.{row.name}"
        for row in NAMES
        if row.needed_by == needed_by and not hasattr(_EXAMPLES[row.owner](), row.name)
    ]
