"""One tree of errors: each has a slug, an HTTP status and a title.

The web layer turns each into an RFC 9457 problem document. Its detail says what was wrong and what
would be right, and never contains key material.
"""

from typing import ClassVar


class JwksdError(Exception):
    """The root of the tree. Only a fault of jwksd itself is raised as this class."""

    slug: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> dict[str, str]:
        """The header fields that the answer must have, by name."""
        return {}


class MalformedRequest(JwksdError):
    """The octets are not an HTTP message (RFC 9112)."""

    slug = "malformed-request"
    status = 400
    title = "Malformed HTTP request"


class InvalidParameter(JwksdError):
    """A parameter or a body has a value that is not allowed."""

    slug = "invalid-parameter"
    status = 400
    title = "Invalid parameter"


class CrossSite(JwksdError):
    """A browser sends this for a page of another site, which may not change anything here."""

    slug = "cross-site"
    status = 403
    title = "Request of another site"


class UnknownPath(JwksdError):
    """Nothing is served at this path."""

    slug = "unknown-path"
    status = 404
    title = "Unknown path"


class UnknownKey(JwksdError):
    """No live key has this kid."""

    slug = "unknown-key"
    status = 404
    title = "Unknown key"

    def __init__(self, kid: str) -> None:
        super().__init__(
            f"no live key has the kid {kid!r:.60}: it is unknown here, or has expired;"
            " jwks.json lists those there are"
        )


class MethodNotAllowed(JwksdError):
    """The path exists, but not with this method (RFC 9110 §15.5.6)."""

    slug = "method-not-allowed"
    status = 405
    title = "Method not allowed"

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": self.allow}


class RequestTimeout(JwksdError):
    """The client did not finish sending its request in time (RFC 9110 §15.5.9)."""

    slug = "request-timeout"
    status = 408
    title = "Request timeout"


class ContentTooLarge(JwksdError):
    """The body is larger than the server reads (RFC 9110 §15.5.14)."""

    slug = "content-too-large"
    status = 413
    title = "Content too large"


class UnsupportedMediaType(JwksdError):
    """The body has a media type that the server does not read (RFC 9110 §15.5.16)."""

    slug = "unsupported-media-type"
    status = 415
    title = "Unsupported media type"


class WrongHost(JwksdError):
    """The request is for a server of another name (RFC 9110 §15.5.20)."""

    slug = "wrong-host"
    status = 421
    title = "Wrong host"


class HeadTooLarge(JwksdError):
    """The request line or the header section is too long (RFC 6585 §5)."""

    slug = "head-too-large"
    status = 431
    title = "Request header fields too large"


class Overloaded(JwksdError):
    """The request cannot succeed now; one after ``retry_after`` seconds can."""

    slug = "overloaded"
    status = 503
    title = "Overloaded"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class TooManyWaiting(Overloaded):
    """``bound`` requests wait for ``what`` already, and no more may."""

    slug = "too-many-waiting"
    title = "Too many requests wait for a key"

    def __init__(self, bound: int, what: str, retry_after: int = 1) -> None:
        super().__init__(
            f"{bound} requests wait for {what}, which is all that --max-waiting allows;"
            f" try again in {retry_after} s",
            retry_after,
        )


class TooManyKeys(Overloaded):
    """There are as many live keys as are allowed."""

    slug = "too-many-keys"
    title = "Too many live keys"


class TooManyConnections(Overloaded):
    """There are as many connections as are allowed, and none of them is idle."""

    slug = "too-many-connections"
    title = "Too many connections"


class Stopping(Overloaded):
    """The server is shutting down and makes no more keys."""

    slug = "stopping"
    title = "The server is stopping"

    def __init__(self) -> None:
        super().__init__("the server is shutting down; try again when it is back", retry_after=1)


class NotReady(Overloaded):
    """The server runs, but should not get requests now."""

    slug = "not-ready"
    title = "The server is not ready"


class StoreAway(Overloaded):
    """The store cannot be reached, or cannot keep what it was given; nothing was acknowledged."""

    slug = "store-away"
    title = "The key store is away"

    def __init__(
        self, why: str, detail: str = "the store cannot be used now; the log says why"
    ) -> None:
        """``why`` is for operators: it names hosts, ports, files. ``detail`` is for clients."""
        super().__init__(detail, retry_after=1)
        self.why = why


class OAuthError(JwksdError):
    """A refusal at an OAuth endpoint, by its registered code (RFC 6749 §5.2, RFC 8707 §2)."""

    slug = "oauth"
    status = 400
    title = "OAuth request refused"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class InvalidClient(OAuthError):
    """The client did not authenticate, or not by a method that is supported (RFC 6749 §2.3)."""

    status = 401

    def __init__(self, detail: str) -> None:
        super().__init__("invalid_client", detail)

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Basic realm="jwksd", charset="UTF-8"'}


class EnvelopeUnreadable(JwksdError):
    """A private key at rest cannot be decrypted with the key-encryption keys that were given."""

    slug = "envelope-unreadable"
    title = "A stored private key cannot be decrypted"


class PrivateHalfDestroyed(JwksdError):
    """The private half of the key was destroyed, so the key cannot sign."""

    slug = "private-half-destroyed"
    title = "The private half of this key was destroyed"


class StartUpRefused(JwksdError, SystemExit):
    """The options cannot work, or the port cannot be bound.

    It is a SystemExit, so that every way to start jwksd, twistd included, ends with this one line
    on stderr and a non-zero exit code. It is an Exception too, so that twistd cleans up after it.
    """

    slug = "start-up-refused"
    title = "Start-up refused"
    exit_code: ClassVar[int] = 1
    """The exit code of the ``jwksd`` command; under twistd it is always 1."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.code = f"jwksd: {' '.join(detail.split())}"


class WrongUse(StartUpRefused):
    """An option is unknown, its value is not allowed, or options do not go together."""

    exit_code = 2


class StoreUnreachable(StartUpRefused):
    """The store that a command needs is away, or cannot be used."""

    exit_code = 3
