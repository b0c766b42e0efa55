"""What is published: the bytes of a key set, and their entity tag.

A document is built once per change and then handed out as it is. The same keys in the same order
give the same bytes and the same tag in every process.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

_HEAD, _TAIL = b'{"keys":[', b"]}"


class Document(NamedTuple):
    """A JSON text in UTF-8, most often a JWK Set, with its strong entity tag (RFC 9110 §8.8.3)."""

    body: bytes
    etag: bytes


def document(body: bytes) -> Document:
    """These bytes with their tag."""
    return Document(body, b'"' + sha256(body).hexdigest()[:32].encode("ascii") + b'"')


def single_body(member: bytes) -> bytes:
    """The JWK Set of one key."""
    return _HEAD + member + _TAIL


def key_set(members: Iterable[bytes]) -> Document:
    """The JWK Set (RFC 7517 §5) of these keys, each JSON text already, in the order given."""
    texts = list(members) or [b""]
    # Put to the first and the last, for a set of many megabytes is best copied only once.
    texts[0] = _HEAD + texts[0]
    texts[-1] += _TAIL
    return document(b",".join(texts))
