"""Documents: the bytes of a key set, and their entity tag.

A document is built once for each change, and then served as it is. The same keys in the same order
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


def entity_tag(body: bytes) -> bytes:
    """Return the strong entity tag of a body, which is a hash of it."""
    return b'"%b"' % sha256(body).hexdigest()[:32].encode("ascii")


def document(body: bytes) -> Document:
    """Return a body with its tag."""
    return Document(body, entity_tag(body))


def single_body(member: bytes) -> bytes:
    """Return the body of the JWK Set with one key, given as JSON text."""
    return _HEAD + member + _TAIL


def key_set(members: Iterable[bytes]) -> Document:
    """Return the JWK Set (RFC 7517 §5) of keys that are given as JSON texts, in their order."""
    texts = list(members) or [b""]
    # Join once: a set may have many megabytes, and each further step would copy them.
    texts[0] = _HEAD + texts[0]
    texts[-1] += _TAIL
    return document(b",".join(texts))
