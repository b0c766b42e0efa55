"""What whoever answers a request may say of the same request when it comes again."""

from collections.abc import Callable
from typing import NamedTuple

Again = Callable[[], bytes | None]
"""The body that the same request is to be answered with now, or None for: ask anew."""

Sibling = Callable[[bytes], tuple[bytes, bytes] | None]
"""Body and tag that the sibling with these octets is to be answered with now, or None."""


class Repeat(NamedTuple):
    """How the same request, octet for octet, is to be answered from now on.

    Args:
        again: as it was, with this body, as long as there is one.
        keeps: octets that ``again`` keeps in memory.
        slot: octets of the path in whose place each of its siblings has others, as many.
        sibling: what these are answered with.
    """

    again: Again
    keeps: int = 0
    slot: bytes = b""
    sibling: Sibling | None = None
