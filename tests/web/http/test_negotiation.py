"""Accept and If-None-Match, as pure functions of header bytes."""

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from jwksd.web.http.negotiation import is_named, none_match, prefers, quality

JSON, JWT, JWK_SET = b"application/json", b"application/jwt", b"application/jwk-set+json"

_RANGES = st.sampled_from([b"*/*", b"application/*", JSON, JWK_SET, b"text/html"])
_WEIGHTS = st.sampled_from([b"", b";q=0", b";q=0.5", b"; q=1", b";q=x", b";level=1;q=0.3"])
ACCEPT = st.lists(st.tuples(_RANGES, _WEIGHTS)).map(lambda r: b",".join(map(b"".join, r)))
TAGS = st.from_regex(rb'"[\x21\x23-\x7e]{0,8}"', fullmatch=True)


class AcceptTests(TestCase):
    def test_the_most_specific_range_decides(self) -> None:
        """RFC 9110 §12.5.1: the type itself, then its family, then anything."""
        accept = b"*/*;q=0.1, application/*;q=0.5, application/json;q=0.9"
        for media_type, expected in ((JSON, 0.9), (JWT, 0.5), (b"text/html", 0.1)):
            with self.subTest(media_type=media_type):
                self.assertEqual(quality(accept, media_type)[0], expected)

    def test_json_is_sent_where_it_is_liked_better_than_jwt(self) -> None:
        """/auth answers JSON for a client that asks for it, and the bare token for all others."""
        for accept, expected in (
            (b"", False),
            (b"*/*", False),
            (b"application/json", True),
            (b"application/json, */*;q=0.5", True),
            (b"application/json, application/jwt", False),
            (b"application/json, text/plain, */*", False),
            (b"Application/JSON;charset=utf-8", True),
            (b"application/json;q=0.4, application/jwt;q=0.5", False),
            (b"application/json;q=nonsense", False),
            (b"text/html", False),
        ):
            with self.subTest(accept=accept):
                self.assertIs(prefers(accept, JSON, default=JWT), expected)

    def test_the_media_type_of_key_sets_is_sent_to_who_names_it(self) -> None:
        """It has broken clients that did not ask for it; a wildcard is not asking."""
        for accept, expected in (
            (b"", False),
            (b"*/*", False),
            (b"application/*", False),
            (b"application/jwk-set+json", True),
            (b"application/json, application/jwk-set+json", True),
            (b"application/json;q=0.5, application/jwk-set+json", True),
            (b"application/json, application/jwk-set+json;q=0.5", False),
            (b"application/jwk-set+json;q=0", False),
        ):
            with self.subTest(accept=accept):
                self.assertIs(is_named(accept, JWK_SET, default=JSON), expected)

    @given(ACCEPT | st.binary(max_size=60))
    def test_any_field_gives_a_quality(self, accept: bytes) -> None:
        """Whatever a client sends, there is an answer: never an error, so never a 406."""
        liking, named = quality(accept, JWK_SET)
        self.assertIsInstance(liking, float)
        self.assertTrue(not named or JWK_SET in accept.lower())


class IfNoneMatchTests(TestCase):
    def test_tags_are_compared_weakly_and_in_lists(self) -> None:
        """RFC 9110 §13.1.2 and §8.8.3.2: any member of the list, weak or not, is a match."""
        for field, modified in (
            (b'"a"', False),
            (b'W/"a"', False),
            (b'"x", "a"', False),
            (b'"x","a"', False),
            (b'"x",W/"a" ,"y"', False),
            (b"*", False),
            (b" * ", False),
            (b'"b"', True),
            (b'"A"', True),
            (b"a", True),
            (b"", True),
            (b'"x,a"', True),
            (b'"*"', True),
        ):
            with self.subTest(field=field):
                self.assertIs(none_match(field, b'"a"'), modified)

    @given(st.lists(TAGS), TAGS, st.booleans())
    def test_a_tag_matches_exactly_when_it_is_listed(
        self, listed: list[bytes], etag: bytes, weak: bool
    ) -> None:
        """For every list of well-formed tags the answer is membership."""
        field = b", ".join((b"W/" if weak else b"") + tag for tag in listed)
        self.assertIs(none_match(field, etag), etag not in listed)

    @given(st.binary(max_size=60))
    def test_any_field_gives_an_answer(self, field: bytes) -> None:
        """Garbage is no match, and no error."""
        self.assertIsInstance(none_match(field, b'"0123456789abcdef"'), bool)
