"""The reader of JSON from outside: what it takes, what it refuses, and nothing else."""

import json
from unittest import TestCase

from hypothesis import example, given
from hypothesis import strategies as st

from jwksd.jose.jsontext import MAX_DEPTH, MAX_DIGITS, BadJson, parse, parse_object, same, shown

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
PIECES = r"""{ } [ ] , : " \ \u d800 dc00 1 e 999 - . NaN Infinity true null a é "a": [[[[[[[["""
NEARLY_JSON = st.lists(st.sampled_from([*PIECES.split(), " ", "\ufeff", "\0"]), max_size=60).map(
    "".join
)

# What is refused wherever it stands, and what is said of it.
REFUSED: list[tuple[bytes, str]] = [
    (b"", "is not JSON"),
    (b"{", "is not JSON"),
    (b"{} {}", "is not JSON"),
    (b"{'a': 1}", "is not JSON"),
    (b"[1,]", "is not JSON"),
    (b"01", "is not JSON"),
    (b'"\n"', "is not JSON"),
    (b"\xff", "is not UTF-8"),
    (b'"\xed\xa0\x80"', "is not UTF-8"),  # a surrogate in three octets
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", "is not JSON"),
    ("{}".encode("utf-16"), "is not UTF-8"),
    ("{}".encode("utf-16-le"), "send UTF-8"),
    ("{}".encode("utf-16-be"), "send UTF-8"),
    ("{}".encode("utf-32-be"), "send UTF-8"),
    (b"NaN", "NaN is no JSON number"),
    (b"[-Infinity]", "-Infinity is no JSON number"),
    (b"1e400", "1e400 is larger"),
    (b"-1e400", "-1e400 is larger"),
    (b'{"a":[{"b":1.5E999999}]}', "1.5E999999 is larger"),
    (b"1" * 400 + b".0", "is larger"),
    (b"1" * (MAX_DIGITS + 1), f" {'1' * 20}… has 101 digits"),
    (b"-" + b"1" * (MAX_DIGITS + 1), "101 digits"),
    (b"1" * 60_000, "60000 digits"),
    (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deeply"),
    (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested too deeply"),
    (b"[" * 60_000, "nested too deeply"),
    (b"[" * MAX_DEPTH + b"[],[]" + b"]" * MAX_DEPTH, "nested too deeply"),
    (b'[{"a":' * (MAX_DEPTH // 2) + b"{},[]" + b"}]" * (MAX_DEPTH // 2), "nested too deeply"),
    (b'{"":[' * 10_000, "nested too deeply"),
    (rb'"\ud800"', "surrogate"),
    (rb'{"\udc00":1}', "surrogate"),
    (rb'["\uD83D", "\uDE00"]', "surrogate"),
    (b'{"a":1,"a":2}', "a is given twice"),
    (b'[{"b":{"c":1,"c":true}}]', "c is given twice"),
    (rb'{"exp":1,"\u0065xp":2}', "exp is given twice"),
]


class ParseTests(TestCase):
    def test_each_text_that_is_no_json_is_refused_with_a_reason(self) -> None:
        """The sentence begins with what was read, and fits on a line."""
        for octets, said in REFUSED:
            for token in (False, True):
                with self.subTest(octets=octets[:40], token=token):
                    with self.assertRaises(BadJson) as caught:
                        parse(octets, "the body", token=token)
                    self.assertRegex(str(caught.exception), r"\Athe body [^\n]{1,250}\Z")
                    self.assertIn(said, str(caught.exception))

    def test_what_is_at_a_bound_is_read(self) -> None:
        """64 levels, 100 digits, the largest double; brackets in strings are no levels."""
        for octets in (
            b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
            b"[" + b"[]," * 1000 + b"[]]",
            b'["' + b"[" * 1000 + b'"]',
            rb'["\"' + b"{" * 1000 + b'"]',
            rb'["\\",' + b"[]," * 100 + rb'"\\"]',
            b"[{}" + b',{"a":[]}' * 1000 + b"]",
            b"[" * (MAX_DEPTH - 1) + b"[],{}" + b"]" * (MAX_DEPTH - 1),
            b'[{"a":' * (MAX_DEPTH // 2 - 1) + b"[{},{}]" + b"}]" * (MAX_DEPTH // 2 - 1),
            b"9" * MAX_DIGITS,
            b"-" + b"9" * MAX_DIGITS,
            b"1.7976931348623157e308",
            b"1e-400",
            b"0." + b"1" * 1000,
            rb'"\ud83d\ude00 \u0000"',
        ):
            with self.subTest(octets=octets[:40]):
                self.assertEqual(parse(octets, "it", token=True), json.loads(octets))

    def test_only_a_token_may_not_repeat_itself_or_have_a_mark(self) -> None:
        """The same member with the same value, and a byte order mark, are harmless in a body."""
        for octets, value in (
            (b'{"a":{"b":[1]},"a":{"b":[1]}}', {"a": {"b": [1]}}),
            (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        ):
            self.assertEqual(parse(octets, "it"), value)
            with self.subTest(octets=octets), self.assertRaises(BadJson):
                parse(octets, "it", token=True)

    def test_an_object_is_asked_for_by_name(self) -> None:
        """What else it is, is said as JSON writes it."""
        self.assertEqual(parse_object("{}", "claims"), {})
        for text in ("null", "true", "0", '"x"', "[]"):
            with self.assertRaisesRegex(BadJson, "claims must be a JSON object") as caught:
                parse_object(text, "claims")
            self.assertTrue(str(caught.exception).endswith(f"not {text}"))

    @given(st.binary(max_size=60) | NEARLY_JSON.map(str.encode), st.booleans())
    @example(b"[" * 200_000, False)
    def test_any_octets_are_read_as_json_reads_them_or_refused(
        self, octets: bytes, token: bool
    ) -> None:
        """No text raises anything but BadJson; and what is read is what json.loads reads."""
        try:
            value = parse(octets, "it", token=token)
        except BadJson:
            return
        expected = json.loads(octets.decode("utf-8").removeprefix("\ufeff"))
        self.assertEqual(json.dumps(value), json.dumps(expected))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")

    @given(VALUES, st.booleans(), st.booleans())
    def test_any_value_is_read_as_it_was_written(
        self, value: object, ascii_only: bool, token: bool
    ) -> None:
        """Whatever a client writes with a JSON library comes out as it went in."""
        text = json.dumps(value, ensure_ascii=ascii_only)
        self.assertEqual(parse(text, "it", token=token), value)
        self.assertEqual(parse(text.encode(), "it", token=token), value)

    @given(st.text(st.characters(codec=None, categories=None)))  # type: ignore[arg-type]
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """A text that no UTF-8 can have is refused as octets are."""
        try:
            parse(text, "it")
        except BadJson as error:
            self.assertTrue(str(error).startswith("it "))


class ValueTests(TestCase):
    def test_values_are_shown_as_json_writes_them(self) -> None:
        """true, null and "text", on one line; what is long is cut."""
        for value, text in (
            (True, "true"),
            (None, "null"),
            ("a\nb", r'"a\nb"'),
            ({"a": [1.5]}, '{"a": [1.5]}'),
            ("é", '"é"'),
            ("x" * 58, '"' + "x" * 58 + '"'),
            ("x" * 100, '"' + "x" * 59 + "…"),
        ):
            self.assertEqual(shown(value), text)

    def test_one_and_true_are_not_the_same(self) -> None:
        """At any depth; the order of members makes no difference."""
        self.assertTrue(same({"a": 1, "b": [True]}, {"b": [True], "a": 1}))
        for one, other in ((1, True), ([0], [False]), ({"a": 1}, {"a": True}), ("1", 1)):
            self.assertFalse(same(one, other))
