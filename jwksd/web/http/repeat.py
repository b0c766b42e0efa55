"""What a handler adds to its answer, so that the fast path can give the same answer again.

Two words of this module and of the fast path:
- the *hole* of a request is the one place in its path where a kid stands;
- requests are *of the same kind* when they have other octets in the hole, as many, and differ in
  nothing else.
"""

from collections.abc import Callable
from typing import NamedTuple

CurrentBody = Callable[[], bytes | None]
"""Returns the body that the same request gets now, or None if its handler must be asked again."""

BodyAndTag = Callable[[bytes], tuple[bytes, bytes] | None]
"""Given the octets in the hole, returns the body and the ETag that the request gets now, or None
if its handler must be asked again."""


class Repeat(NamedTuple):
    """How to answer the same request, octet for octet, from now on.

    Status and header fields stay as they were, but for Date, Content-Length and ETag.

    Args:
        body: the body of the next answer.
        octets_kept: how many octets of memory ``body`` keeps from being freed.
        hole: the octets that stand in the hole of this request; empty if it has none.
        same_kind: the answers to the other requests of the same kind; None if they cannot be
            derived from this one.
    """

    body: CurrentBody
    octets_kept: int = 0
    hole: bytes = b""
    same_kind: BodyAndTag | None = None
