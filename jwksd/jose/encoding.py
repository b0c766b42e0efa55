"""How octets and JSON are written in keys and tokens (RFC 7515 §2)."""

from binascii import b2a_base64
from collections.abc import Mapping
from json import JSONEncoder

_URL_SAFE = bytes.maketrans(b"+/", b"-_")

# json.dumps makes an encoder for every call that asks for separators; this one is made once.
_encode = JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def base64url(octets: bytes) -> bytes:
    """Encode octets as base64url without padding (RFC 7515 §2)."""
    return b2a_base64(octets, newline=False).translate(_URL_SAFE, b"=")


def json_string(text: str) -> str:
    """Write a text as a JSON string."""
    return _encode(text)


def compact_json(members: Mapping[str, object]) -> bytes:
    """Write a JSON object without white space, in UTF-8.

    Raises:
        ValueError: a number in it is not finite, or half of a surrogate pair is in a text.
    """
    return _encode(members).encode("utf-8")
