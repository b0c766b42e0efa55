"""Violation: what a crash run raises when a promise was broken."""


class Violation(Exception):
    """A promise that was not kept, in one line."""


def demand(kept: bool, line: str) -> None:
    """Go on if it was kept.

    Raises:
        Violation: it was not.
    """
    if not kept:
        raise Violation(line)
