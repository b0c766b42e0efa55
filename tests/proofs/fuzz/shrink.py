"""Shrinking: the shortest octets that a few hundred tries find, with which the same still fails."""

from collections.abc import Awaitable, Callable

TRIES = 400


async def shrink(octets: bytes, fails: Callable[[bytes], Awaitable[bool]]) -> bytes:
    """Take out what can be taken out, in halves first and then in ever smaller pieces."""
    width, tries = len(octets) // 2, 0
    while width and tries < TRIES:
        at = 0
        while at < len(octets) and tries < TRIES:
            candidate = octets[:at] + octets[at + width :]
            tries += 1
            if candidate and await fails(candidate):
                octets = candidate
            else:
                at += width
        width //= 2
    return octets
