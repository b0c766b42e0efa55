"""Parameters: where they may come from, and every way in which they can be wrong."""

import json
from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType
from unittest import TestCase
from urllib.parse import urlencode

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.web.test.requesthelper import DummyRequest

from jwksd.errors import ContentTooLarge, InvalidParameter, JwksdError, UnsupportedMediaType
from jwksd.web.http.bodies import MAX_BODY
from jwksd.web.http.names import meant
from jwksd.web.http.parameters import Parameters, Table, read_parameters
from jwksd.web.http.values import Parameter, json_object, object_text, plain, seconds

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
MULTIPART = "multipart/form-data; boundary=b"


def anything(name: str, value: object) -> object:
    """A value of any type."""
    return value


def boolean(name: str, value: object) -> bool:
    """true or false, or its text."""
    if value in (True, "true", False, "false"):
        return value in (True, "true")
    raise InvalidParameter(f"{name} must be true or false")


KNOWN: Table = {"expired": plain(anything), "alg": plain(anything)}


TYPED: Table = {
    "expired": plain(boolean),
    "lifetime": plain(seconds),
    "claims": Parameter(json_object, object_text),
}


def read(
    query: str = "",
    body: bytes = b"",
    content_type: str | None = None,
    table: Table = KNOWN,
    fields: Mapping[str, list[str]] = MappingProxyType({}),
) -> Parameters:
    """The parameters of a request with this query, body, and other header fields."""
    request = DummyRequest([b"auth"])
    request.uri = b"/auth?" + query.encode("utf-8", "surrogateescape")
    request.content = BytesIO(body)
    if content_type is not None:
        request.requestHeaders.setRawHeaders(b"content-type", [content_type.encode()])
    for name, values in fields.items():
        request.requestHeaders.setRawHeaders(name, values)
    return read_parameters(request, table)


def part(name: str, value: str, more: str = "") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


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

    def test_what_says_more_than_it_needs_is_read(self) -> None:
        """A charset that agrees with UTF-8 on what is there, the same type twice, a file name."""
        file = part("expired", "true", '; filename="x"\r\nContent-Type: text/plain').encode()
        for body, content_type, fields in (
            (b"expired=true", f"{FORM}; charset=UTF-8", {}),
            (b"expired=true", f'{FORM};Charset="utf8"', {}),
            (b"expired=true&password=%E9", f"{FORM}; charset=ISO-8859-1", {}),
            (b"expired=true", f"{FORM}; charset=windows-1252", {}),
            (b'{"expired":"true"}', f"{JSON}; charset=us-ascii", {}),
            (b'{"expired":"true"}', f"{JSON}; charset=latin1", {}),
            (b"expired=true", None, {"Content-Type": [FORM, FORM]}),
            (b"expired=true", FORM, {"Content-Encoding": ["identity"]}),
            (b"expired=true", FORM, {"Content-Encoding": [""]}),
            (b"%65xpired=%74rue", FORM, {}),
            (b"&&expired=true&", FORM, {}),
            (b'\xef\xbb\xbf{"expired":"true"}', JSON, {}),
            (b'{"expired":"true","username":"u","password":null}', JSON, {}),
            (b'{"expired":"true","password":["p"],"username":{"a":1}}', JSON, {}),
            (b"x={}&expired=true", FORM, {}),
            (b"username=a;expired=false&expired=true", FORM, {}),
            (b"password=a?alg=b&expired=true", FORM, {}),
            (file + b"--b--\r\n", MULTIPART, {}),
            (file + b"--b--\r\nepilogue", MULTIPART, {}),
        ):
            with self.subTest(body=body, content_type=content_type):
                given = read("", body, content_type, fields=fields)
                self.assertEqual(given, {"expired": "true"})

    def test_an_empty_body_may_say_anything_of_itself(self) -> None:
        """There is nothing in it to misread."""
        fields = {"Content-Encoding": ["gzip"], "Content-Type": [JSON, "a/b; charset=x"]}
        self.assertEqual(read("", b"", None, fields=fields), {})

    def test_null_is_absent(self) -> None:
        """As if the member were not there: no value, and no conflict."""
        self.assertEqual(read("", b'{"expired":null,"claims":null}', JSON, TYPED), {})
        given = read("lifetime=60", b'{"lifetime":null}', JSON, TYPED)
        self.assertEqual(given, {"lifetime": 60})

    def test_the_same_value_is_no_conflict_however_it_is_written(self) -> None:
        """In query and body, as text and as JSON; other values are one, wherever they are."""
        for query, body, content_type, expected in (
            ("lifetime=60", b'{"lifetime":60}', JSON, {"lifetime": 60}),
            ("lifetime=060", b"lifetime=60", FORM, {"lifetime": 60}),
            ("expired=true", b'{"expired":true}', JSON, {"expired": True}),
            (
                'claims={"a":1,"b":2}',
                b'{"claims":{"b":2,"a":1}}',
                JSON,
                {"claims": {"a": 1, "b": 2}},
            ),
            ("claims={}&claims=%20{}", b"", None, {"claims": {}}),
        ):
            with self.subTest(query=query):
                self.assertEqual(read(query, body, content_type, TYPED), expected)
        for query, body, content_type in (
            ("lifetime=60", b'{"lifetime":61}', JSON),
            ('claims={"a":1}', b'{"claims":{"a":true}}', JSON),
            ("expired=1&expired=true", b"", None),
        ):
            with (
                self.subTest(query=query),
                self.assertRaisesRegex(InvalidParameter, "twice with different values"),
            ):
                read(query, body, content_type, TYPED)

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
        encoded = "x=1&" + urlencode(fields)
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
        bad_part = good_part = part("expired", "true").encode()
        nameless = good_part.replace(b'; name="expired"', b"")
        bad_encoding = part("expired", "dHJ1ZQ==", "\r\nContent-Transfer-Encoding: base64").encode()
        for query, body, content_type, named in (
            ("expired=true&expired=false", b"", None, "expired is given twice"),
            ("expired=true", b"expired=false", FORM, "expired is given twice"),
            ("expired=true", b'{"expired":true}', JSON, "expired is given twice"),
            ("", b"Expired=true", FORM, "did you mean expired?"),
            ("", part("expired[]", "true").encode() + b"--b--\r\n", MULTIPART, "did you mean"),
            ("", b'{"Expired":true}', JSON, "did you mean expired?"),
            ("x=1;expired=true", b"", None, "expired stands behind x: & separates"),
            ("", b"x=1&amp;Expired=true", FORM, "Expired stands behind amp;Expired"),
            ("x;expired=true", b"", None, "& separates"),
            ("x=1,expired=true", b"", None, "& separates"),
            ("", b"x=1\nexpired=true", FORM, "& separates"),
            ("", b"username=u\r\nexpired=true\r\n", FORM, "& separates"),
            (
                "",
                b'{"expired": true}',
                FORM,
                "looks like JSON: send Content-Type: application/json",
            ),
            ("", b"{expired: true}", FORM, "send Content-Type: application/json"),
            ("", b"{'expired': true}", FORM, "send Content-Type: application/json"),
            ("", b"'{expired: true}'", FORM, "send Content-Type: application/json"),
            ("", b'\r\n\t {"expired":', FORM, "send Content-Type: application/json"),
            ("", b'\xef\xbb\xbf{"expired": true}', FORM, "send Content-Type: application/json"),
            ("", b"%7B%22expired%22%3A+true%7D", FORM, "send Content-Type: application/json"),
            ("", '{"expired": 1}'.encode("utf-16"), FORM, "send Content-Type: application/json"),
            ("", b'\xff\xfe{"expired": true}', FORM, "send Content-Type: application/json"),
            ("", b"++{}", FORM, "send Content-Type: application/json"),
            ("", b'[{"expired": true}]', FORM, "send Content-Type: application/json"),
            ("", b'["expired"]', FORM, "send Content-Type: application/json"),
            ("", b'{"expired": true}', MULTIPART, "send Content-Type: application/json"),
            ("", b'{"expired": true}', "multipart/form-data", "Content-Type: application/json"),
            ("", good_part + b"--b--\r\n" + good_part + b"--b--", MULTIPART, "after the last"),
            ("", bad_encoding + b"--b--\r\n", MULTIPART, "Content-Transfer-Encoding base64"),
            ("", nameless + b"--b--\r\n", MULTIPART, "a part has no name"),
            (
                "",
                part("expired", "x", '; name="x"').encode() + b"--b--",
                MULTIPART,
                "several names",
            ),
            (
                "",
                part("x", "true", "; name*=utf-8''expired").encode() + b"--b--",
                MULTIPART,
                "several names",
            ),
            (
                "",
                part("x", "\xe9", '; filename="\xe9"').encode("latin-1") + b"--b--",
                MULTIPART,
                "decode",
            ),
            ("", b"expired=%E9", f"{FORM}; charset=ISO-8859-1", "expired is not ASCII"),
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

    def test_a_long_media_type_is_cut(self) -> None:
        """A hundred characters of it are told."""
        with self.assertRaises(UnsupportedMediaType) as caught:
            read("", b"x", "a/" + "B" * 200)
        self.assertRegex(caught.exception.detail, "a/b{98}[^b]")

    def test_octets_that_could_mean_something_else_are_refused(self) -> None:
        """Compressed, in another charset, or of two types: 415 or 400 with what would be right."""
        for body, content_type, fields, status, named in (
            (b"\x1f\x8b\x08", FORM, {"Content-Encoding": ["gzip"]}, 415, "Content-Encoding"),
            (b"x=1", FORM, {"Content-Encoding": ["gzip, identity"]}, 415, "Content-Encoding"),
            (b"{}", JSON, {"Content-Encoding": ["br"]}, 415, '"br"'),
            (
                b"{}",
                f"{JSON}; charset=utf-16",
                {},
                415,
                '"utf-16" cannot be read; send it in UTF-8',
            ),
            (b"x=1", f"{FORM};charset=UTF-7", {}, 415, "UTF-7"),
            (b"x=1", f'{FORM}; charset="ibm037"', {}, 415, "ibm037"),
            ("expired=true".encode("cp037"), f"{FORM}; charset=cp037", {}, 415, "cp037"),
            (b'{"expired":"\xc3\xa9"}', f"{JSON}; charset=latin1", {}, 415, "latin1"),
            (b"{}", None, {"Content-Type": [JSON, FORM]}, 400, "Content-Type is given twice"),
            (b"{}", f"{JSON}, {FORM}", {}, 415, "cannot be read"),
            (b"{}", None, {}, 415, "send Content-Type: application/json"),
            (b' {"expired":true}', "text/plain", {}, 415, "send Content-Type: application/json"),
            (b"{}", "application/x-json", {}, 415, "send Content-Type: application/json"),
        ):
            with self.subTest(body=body, content_type=content_type, fields=fields):
                with self.assertRaises(JwksdError) as caught:
                    read("", body, content_type, fields=fields)
                self.assertEqual(caught.exception.status, status)
                self.assertIn(named, caught.exception.detail)

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
