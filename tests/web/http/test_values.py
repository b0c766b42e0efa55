"""Values: what each kind of parameter takes from JSON and from text, up to its bounds."""

from collections.abc import Callable
from typing import Any
from unittest import TestCase

from jwksd.errors import InvalidParameter
from jwksd.web.http.values import (
    json_object,
    number,
    object_text,
    only_json,
    plain,
    seconds,
    text,
    whole,
)

Read = Callable[[str, object], object]


class ValuesTestCase(TestCase):
    def assert_taken(self, read: Read, pairs: list[tuple[object, object]]) -> None:
        for given, expected in pairs:
            with self.subTest(given=given):
                found = read("x", given)
                self.assertEqual((found, type(found)), (expected, type(expected)))

    def assert_refused(self, read: Read, values: list[Any], said: str) -> None:
        for given in values:
            with self.subTest(given=given):
                with self.assertRaises(InvalidParameter) as caught:
                    read("x", given)
                self.assertTrue(caught.exception.detail.startswith(f"x must be {said}"))


class NumberTests(ValuesTestCase):
    def test_a_number_is_taken_from_bound_to_bound(self) -> None:
        """Both included, whole or not, as JSON or in decimal digits."""
        taken = [(1, 1.0), (2.5, 2.5), (3, 3.0), ("1", 1.0), ("2.5", 2.5), ("3.000", 3.0)]
        self.assert_taken(number(1, 3), taken)
        refused = [0.999, 3.001, 0, 4, -2, "0.9", "3.1"]
        self.assert_refused(number(1, 3), refused, "a number from 1 to 3, not ")

    def test_a_whole_number_is_taken_from_bound_to_bound(self) -> None:
        """Both included; a fraction of nothing is none."""
        taken = [(1, 1), (2.0, 2), (3, 3), ("1", 1), ("3.0", 3)]
        self.assert_taken(whole(1, 3), taken)
        refused = [0, 4, 1.5, 2.999, -2, "0", "4", "2.5", 10**15]
        self.assert_refused(whole(1, 3), refused, "a number from 1 to 3, and whole, not ")

    def test_a_number_is_nothing_but_a_number(self) -> None:
        """Neither true, nor a text in another notation, nor of so many digits."""
        for read in (number(0, 1e15), whole(0, 10**15)):
            wrong = [True, False, None, [1], {}, "", " 1", "1 ", "+1", "-1", "1e1", "0x1", "1."]
            self.assert_refused(read, [*wrong, ".5", "\u0661", "1" * 13, "1.1234567"], "a number")
            self.assertEqual(read("x", "1" * 12), int("1" * 12))

    def test_seconds_are_whole_and_may_be_of_any_size_in_json(self) -> None:
        """Their bounds are judged later; a text has at most nine digits."""
        taken = [(5, 5), (-1, -1), (10**20, 10**20), ("5", 5), ("0" * 9, 0), ("9" * 9, 999_999_999)]
        self.assert_taken(seconds, taken)
        wrong = [5.0, True, None, [], "", "-1", "5.0", "1" * 10, " 5", "\u0665", "5s"]
        self.assert_refused(seconds, wrong, "a whole number of seconds, not ")


class TextTests(ValuesTestCase):
    def test_a_text_is_taken_as_it_is(self) -> None:
        """Of whatever characters; no number is made one."""
        self.assert_taken(text, [("", ""), (" é\n", " é\n"), ("1", "1")])
        self.assert_refused(text, [1, None, True, [], {}], "a string, not ")
        self.assertIs(plain(text).from_json, plain(text).from_text)

    def test_an_object_is_one_of_json_or_its_text(self) -> None:
        """What else it is, is said; text where only JSON may stand is refused."""
        self.assert_taken(json_object, [({}, {}), ({"a": [1]}, {"a": [1]})])
        self.assert_refused(json_object, ["{}", [], None, 1], "a JSON object, not ")
        self.assert_taken(object_text, [("{}", {}), ('{"a":[1]}', {"a": [1]})])
        self.assert_refused(object_text, ["[]", "null", "1"], "a JSON object such as {}, not ")
        self.assert_refused(object_text, [{}, 1], "a string, not ")
        self.assert_refused(only_json, ["{}", {}], "a JSON object, in a JSON body, not ")
