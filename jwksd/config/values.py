"""How the texts of options are read: each function turns one into its value.

All raise ValueError for what they do not take, with words that go on from the option's name: «must
be …».
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from jwksd.jose.algorithms import ALGORITHMS

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


def duration(text: str) -> int:
    """Return the seconds in ``90``, ``90s``, ``15m``, ``1h`` or ``30d``; zero is none of them."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError("must be a duration above zero, such as 90, 90s, 15m, 1h or 30d")
    return int(match[1]) * _UNITS[match[2]]


def duration_or_zero(text: str) -> int:
    """Read a duration that may also be ``0``."""
    return 0 if text == "0" else duration(text)


def integer(low: int, high: int) -> Callable[[str], int]:
    """Make the reader of a whole number from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) is None or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def flag(text: str) -> bool:
    """Read ``true`` or ``false``."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def text(text: str) -> str:
    """Take any text but the empty one."""
    if not text:
        raise ValueError("must not be empty")
    return text


def algorithms(text: str) -> tuple[str, ...]:
    """Read the names of algorithms that there are, separated by commas, none twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is not known; known are {', '.join(ALGORITHMS)}")
    if len(set(names)) < len(names):
        raise ValueError("names an algorithm twice")
    return names


def issuer(text: str) -> str:
    """Take an issuer URL: http or https, without query and fragment (RFC 8414 §2)."""
    try:
        url = urlsplit(text)
        fine = url.scheme in ("http", "https") and url.hostname and not url.query + url.fragment
    except ValueError:
        fine = False
    if not fine or re.search(r"[^\x21-\x7e]|[?#]", text):
        raise ValueError(
            "must be a URL without query and fragment, such as https://issuer.example (RFC 8414 §2)"
        )
    return text


def interface(text: str) -> str:
    """Take an IP address, or ``localhost``."""
    try:
        if text != "localhost":
            ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address such as 127.0.0.1 or ::1, or localhost") from None
    return text


def host(text: str) -> str:
    """Take a host name, without scheme, port and path."""
    if re.fullmatch(r"(?=.{1,253}$)([a-z0-9_-]+\.)*[a-z0-9_-]+\.?", text, re.I | re.A) is None:
        raise ValueError("must be a host name such as jwksd.example, without scheme, port and path")
    return text


def origin(text: str) -> str:
    """Take an origin: scheme, host and port (RFC 6454 §6)."""
    try:
        fine = urlsplit(text).port != 0  # raises, too, where an address or a port is none
    except ValueError:
        fine = False
    if (
        not fine
        or re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+", text, re.I | re.A) is None
    ):
        raise ValueError("must be an origin such as https://app.example, without a path")
    return text


def policy(text: str) -> str:
    """Take the name of a key policy."""
    if text not in ("per-token", "rotating"):
        raise ValueError("must be per-token or rotating")
    return text


def store(text: str) -> str:
    """Take ``memory``, or the URL of a database."""
    if text == "memory" or re.fullmatch(r"(sqlite:///|postgresql://)\S+", text):
        return text
    raise ValueError("must be memory, sqlite:///PATH or postgresql://USER@HOST/NAME")


def kek_file(text: str) -> str:
    """Take the name of a file, and never the key itself, which would be shown to everyone."""
    if not text or "jwksd-kek-" in text:
        raise ValueError("must be the name of a file; JWKSD_KEK can hold the key itself")
    return text
