"""Octets of clients in the log: what could be mistaken for another is escaped, as nginx does."""

import re

_AMBIGUOUS = re.compile(rb'[^ -~]|["\\]')


def escaped(octets: bytes, longest: int = 200) -> str:
    """Return the first ``longest`` octets, with quotes, backslashes and what is not printable
    ASCII as ``\\xXX``."""
    return _AMBIGUOUS.sub(_escape, octets[:longest]).decode("ascii")


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % ord(match[0])
