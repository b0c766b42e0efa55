"""What a client says it wants: Accept and If-None-Match, as pure functions of header bytes."""

import re
from functools import lru_cache

_ENTITY_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@lru_cache(maxsize=256)
def quality(accept: bytes, media_type: bytes) -> tuple[float, bool]:
    """Return how much an Accept field wants a media type (RFC 9110 §12.5.1), and if it names it.

    The quality is 0 to 1 and comes from the most specific range that matches: the type itself,
    then ``type/*``, then ``*/*``. A range that cannot be parsed is ignored; an empty field
    accepts everything.
    """
    if not accept.strip():
        return 1.0, False
    ranges = dict(_media_ranges(accept))
    family = media_type.split(b"/")[0] + b"/*"
    for candidate in (media_type, family, b"*/*"):
        if candidate in ranges:
            return ranges[candidate], candidate == media_type
    return 0.0, False


def _media_ranges(accept: bytes) -> list[tuple[bytes, float]]:
    ranges = []
    for element in accept.lower().split(b","):
        media_range, *parameters = (part.strip() for part in element.split(b";"))
        weights = [value[2:] for value in parameters if value.startswith(b"q=")]
        try:
            ranges.append((media_range, float(weights[0]) if weights else 1.0))
        except ValueError:
            continue
    return ranges


def prefers(accept: bytes, wanted: bytes, default: bytes) -> bool:
    """Return whether ``wanted`` has a higher quality than ``default``."""
    return quality(accept, wanted)[0] > quality(accept, default)[0]


def is_named(accept: bytes, wanted: bytes, default: bytes) -> bool:
    """Return whether the field names ``wanted``, and gives ``default`` no higher quality."""
    own, named = quality(accept, wanted)
    return named and own > 0 and own >= quality(accept, default)[0]


def none_match(field: bytes, etag: bytes) -> bool:
    """Return the result of If-None-Match (RFC 9110 §13.1.2) for a document with this strong tag.

    False means that the client has it already: the answer to GET and HEAD is 304. Tags are
    compared weakly (§8.8.3.2).
    """
    if field.strip() == b"*":
        return False
    return etag not in _ENTITY_TAG.findall(field)
