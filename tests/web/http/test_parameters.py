"""Parameters: where they may come from, and every way in which they can be wrong."""

import json
from io import BytesIO
from unittest import TestCase
from urllib.parse import urlencode

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.web.test.requesthelper import DummyRequest

from jwksd.errors import ContentTooLarge, InvalidParameter, JwksdError, UnsupportedMediaType
from jwksd.web.http.bodies import MAX_BODY
from jwksd.web.http.names import meant
from jwksd.web.http.parameters import Parameters, Table, read_parameters
from jwksd.web.http.values import plain

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
MULTIPART = "multipart/form-data; boundary=b"


def anything(name: str, value: object) -> object:
    """A value of any type."""
    return value


KNOWN: Table = {"expired": plain(anything), "alg": plain(anything)}


def read(query: str = "", body: bytes = b"", content_type: str | None = None) -> Parameters:
    """The parameters of a request with this query and body."""
    request = DummyRequest([b"auth"])
    request.uri = b"/auth?" + query.encode("utf-8", "surrogateescape")
    request.content = BytesIO(body)
    if content_type is not None:
        request.requestHeaders.setRawHeaders(b"content-type", [content_type.encode()])
    return read_parameters(request, KNOWN)


def part(name: str, value: str) -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


class SourceTests(TestCase):
    def test_all_sources_are_read(self) -> None:
        """Query, form, multipart form and JSON each give the parameter."""
        multipart = (part("username", "u") + part("expired", "true") + "--b--\r\n").encode()
        for query, body, content_type in (
            ("expired=true", b"", None),
            ("", b"expired=true&username=u", FORM),
            ("", b"expired=true", f"{FORM}; charset=utf-8"),
            ("", multipart, MULTIPART),
            ("expired=true", b"expired=true", FORM),
            ("", b'{"expired":"true"}', JSON),
            ("", b' {"expired":"true"} ', "Application/JSON; charset=utf-8"),
        ):
            with self.subTest(query=query, content_type=content_type):
                self.assertEqual(read(query, body, content_type), {"expired": "true"})

    def test_json_keeps_its_types(self) -> None:
        """From JSON a boolean arrives as one."""
        self.assertEqual(read("", b'{"expired":true}', JSON), {"expired": True})

    def test_no_body_needs_no_type(self) -> None:
        """An empty body of any type is no body."""
        for content_type in (None, JSON, FORM, MULTIPART, "text/plain"):
            with self.subTest(content_type=content_type):
                self.assertEqual(read("", b"", content_type), {})

    def test_unknown_names_are_ignored_in_query_and_form(self) -> None:
        """Plain clients post a username and a password, and repeat what they like."""
        self.assertEqual(read("user=a&user=b", b"password=x&password=y", FORM), {})

    @given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=8))
    def test_query_and_form_are_read_alike(self, fields: dict[str, str]) -> None:
        """Whatever is urlencoded, in query or body, gives the same known values."""
        encoded = urlencode(fields)
        assume(not any(name not in KNOWN and meant(name, KNOWN) for name in fields))
        expected = {name: value for name, value in fields.items() if name in KNOWN}
        self.assertEqual(read(encoded), expected)
        self.assertEqual(read("", encoded.encode(), FORM), expected)

    @given(st.dictionaries(st.sampled_from(sorted(KNOWN)), st.booleans() | st.text(max_size=8)))
    def test_every_known_json_object_is_read(self, members: dict[str, object]) -> None:
        """What was encoded is what is read."""
        self.assertEqual(read("", json.dumps(members).encode(), JSON), members)


class RefusalTests(TestCase):
    def test_each_fault_is_named(self) -> None:
        """Every malformed body or query is refused with a detail that says what is wrong."""
        bad_part = part("expired", "true").encode()
        for query, body, content_type, named in (
            ("expired=true&expired=false", b"", None, "expired is given twice"),
            ("expired=true", b"expired=false", FORM, "expired is given twice"),
            ("expired=true", b'{"expired":true}', JSON, "expired is given twice"),
            ("", b'{"expired":true,"expired":false}', JSON, "expired is given twice"),
            ("expired=%FF", b"", None, "expired is not UTF-8"),
            ("expired=\udcff", b"", None, "expired is not UTF-8"),
            ("", b"expired=\xff", FORM, "expired is not UTF-8"),
            ("&".join("a=1" for _ in range(101)), b"", None, "more than 100 fields"),
            ("", b"{", JSON, "not JSON"),
            ("", b"\xff", JSON, "not UTF-8"),
            ("", b"[]", JSON, "must be an object"),
            ("", b"null", JSON, "must be an object"),
            ("", b'{"expired":NaN}', JSON, "NaN"),
            ("", b'{"expired":-Infinity}', JSON, "Infinity"),
            ("", b"[" * 60_000, JSON, "nested too deeply"),
            ("", b'{"expired":' + b"1" * 5_000 + b"}", JSON, "not JSON"),
            ("", b'{"lifetimes":1}', JSON, '"lifetimes" in the JSON body; it may have "alg"'),
            ("", b"x", MULTIPART, "multipart"),
            ("", bad_part, MULTIPART, "multipart"),
            ("", bad_part + b"--b--\r\n", "multipart/form-data", "multipart"),
        ):
            with self.subTest(query=query[:40], body=body[:40]):
                with self.assertRaises(InvalidParameter) as caught:
                    read(query, body, content_type)
                self.assertIn(named, caught.exception.detail)

    def test_other_media_types_are_refused_by_name(self) -> None:
        """A body that we cannot read is never passed over in silence."""
        for content_type, named in ((None, "without a Content-Type"), ("text/plain", "text/plain")):
            with self.subTest(content_type=content_type):
                with self.assertRaises(UnsupportedMediaType) as caught:
                    read("", b"expired=true", content_type)
                self.assertIn(named, caught.exception.detail)
                self.assertIn("application/json", caught.exception.detail)

    def test_one_octet_too_many_is_refused(self) -> None:
        """At the bound a body is read, past it refused."""
        fits = b"x=" + b"y" * (MAX_BODY - 2)
        self.assertEqual(read("", fits, FORM), {})
        with self.assertRaisesRegex(ContentTooLarge, "65536"):
            read("", fits + b"y", FORM)

    @given(
        st.text(max_size=60), st.binary(max_size=200), st.sampled_from([FORM, JSON, MULTIPART, ""])
    )
    def test_any_bytes_are_read_or_refused(
        self, query: str, body: bytes, content_type: str
    ) -> None:
        """No input leads to any error but one of ours."""
        try:
            self.assertLessEqual(set(read(query, body, content_type)), set(KNOWN))
        except JwksdError as error:
            self.assertIn(error.status, (400, 415))
