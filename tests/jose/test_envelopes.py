"""Private keys at rest: what is sealed opens to the same, and nothing of it is ever shown."""

import json
import re
import string
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.common import base64url_decode, base64url_encode
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from jwksd.errors import EnvelopeUnreadable
from jwksd.jose.envelopes import PREFIX, Keychain, kek_of, read_keks, write_kek

FIRST, SECOND, FOREIGN = (JWK.generate(kty="oct", size=256) for _ in range(3))
CHAIN = Keychain([FIRST, SECOND])
TEXT = b'{"kty":"OKP","crv":"Ed25519","d":"a-private-half-that-nobody-may-read"}'
ENVELOPE = CHAIN.seal(TEXT)
SECRETS = [kek["k"] for kek in (FIRST, SECOND, FOREIGN)]

_words = st.one_of(
    st.sampled_from([write_kek(FIRST), write_kek(SECOND), "#", " ", "\n", PREFIX, SECRETS[0]]),
    st.from_regex(PREFIX + "[A-Za-z0-9_-]{42,44}", fullmatch=True),
    st.text(max_size=20),
)


class EnvelopeTests(TestCase):
    @given(st.binary(min_size=1, max_size=3000))
    def test_what_is_sealed_opens_to_the_same(self, text: bytes) -> None:
        """Any octets; and no two envelopes are alike."""
        envelope = CHAIN.seal(text)
        self.assertEqual(CHAIN.open(envelope), text)
        self.assertNotEqual(envelope, CHAIN.seal(text))

    def test_the_header_says_how_and_under_which_kek(self) -> None:
        """A256GCMKW, A256GCM, and the RFC 7638 thumbprint of the first KEK of the chain."""
        parts = ENVELOPE.split(".")
        self.assertEqual(len(parts), 5)
        header = json.loads(base64url_decode(parts[0]))
        expected = {"alg": "A256GCMKW", "enc": "A256GCM", "kid": FIRST.thumbprint()}
        self.assertEqual(header | expected, header)
        self.assertEqual(set(header), {*expected, "iv", "tag"})
        self.assertEqual(kek_of(ENVELOPE), FIRST.thumbprint())

    def test_every_key_of_the_chain_opens(self) -> None:
        """The first encrypts; what was sealed under the others is opened still."""
        for kek in (FIRST, SECOND):
            self.assertEqual(CHAIN.open(Keychain([kek]).seal(TEXT)), TEXT)
        self.assertEqual(CHAIN.first, FIRST.thumbprint())

    def test_a_kek_that_was_not_given_is_named(self) -> None:
        """By its thumbprint, beside those that were given; none of them by its secret."""
        with self.assertRaises(EnvelopeUnreadable) as caught:
            CHAIN.open(Keychain([FOREIGN]).seal(TEXT))
        for kek in (FIRST, SECOND, FOREIGN):
            self.assertIn(kek.thumbprint(), caught.exception.detail)
        self.assert_tells_no_secret(caught.exception)

    def test_every_changed_character_is_noticed(self) -> None:
        """In each place each other one of base64url, even where it would spell the same octets."""
        for place, original in enumerate(ENVELOPE):
            for character in string.ascii_letters + string.digits + "-_.=!\n ":
                if character != original:
                    self.assert_unreadable(ENVELOPE[:place] + character + ENVELOPE[place + 1 :])

    @given(st.integers(0, len(ENVELOPE) - 1), st.text(max_size=3))
    def test_any_other_text_in_any_place_is_noticed(self, place: int, text: str) -> None:
        """Put in, or instead of what stands there."""
        for changed in (
            ENVELOPE[:place] + text + ENVELOPE[place:],
            ENVELOPE[:place] + text + ENVELOPE[place + 1 :],
        ):
            if changed != ENVELOPE:
                self.assert_unreadable(changed)

    @given(st.text(max_size=300))
    def test_any_text_is_no_envelope(self, text: str) -> None:
        """It is refused with our own error, whatever it is."""
        self.assert_unreadable(text)
        self.assert_unreadable(f"{ENVELOPE.partition('.')[0]}.{text}")

    def test_a_header_that_json_readers_may_not_survive_has_no_kek(self) -> None:
        """Nested as deeply as there is room, a kid given twice, or no UTF-8."""
        for header in (b"[" * 100_000, b'{"kid":"a","kid":"a"}', b'{"kid":' * 5000, b"\xff", b"[]"):
            with self.subTest(header=header[:20]):
                self.assertIsNone(kek_of(f"{base64url_encode(header)}.a.b.c.d"))

    def test_an_envelope_of_another_kind_is_refused(self) -> None:
        """Under our KEK, by an algorithm that is not ours."""
        header = {"alg": "A256KW", "enc": "A128CBC-HS256", "kid": FIRST.thumbprint()}
        other = JWE(TEXT, json.dumps(header))
        other.add_recipient(FIRST)
        self.assert_unreadable(other.serialize(compact=True))

    def test_the_repr_shows_no_secret(self) -> None:
        """A chain that is printed shows its thumbprints."""
        self.assertEqual(repr(CHAIN), f"<Keychain {FIRST.thumbprint()}, {SECOND.thumbprint()}>")

    def assert_unreadable(self, envelope: str) -> None:
        with self.assertRaises(EnvelopeUnreadable) as caught:
            CHAIN.open(envelope)
        self.assert_tells_no_secret(caught.exception)

    def assert_tells_no_secret(self, error: EnvelopeUnreadable) -> None:
        for secret in (*SECRETS, "nobody-may-read"):
            self.assertNotIn(secret, str(error))
        self.assertIsNone(error.__cause__)


class TextTests(TestCase):
    def test_a_kek_is_written_so_that_scanners_find_it(self) -> None:
        """The prefix and 32 octets; read again it is the same key."""
        text = write_kek(FIRST)
        self.assertRegex(text, r"\Ajwksd-kek-[A-Za-z0-9_-]{43}\Z")
        (read,) = read_keks(text)
        self.assertEqual((read["k"], read.thumbprint()), (FIRST["k"], FIRST.thumbprint()))

    def test_lines_words_and_comments(self) -> None:
        """Keys stand in lines or words, in order; what follows a # is for people."""
        text = f"# made in spring\n{write_kek(SECOND)} # the new one\n\n\t{write_kek(FIRST)}  "
        self.assertEqual([kek["k"] for kek in read_keks(text)], [SECOND["k"], FIRST["k"]])
        words = f"{write_kek(FIRST)} {write_kek(SECOND)}"
        self.assertEqual([kek["k"] for kek in read_keks(words)], [FIRST["k"], SECOND["k"]])

    def test_what_is_no_kek_is_named_by_its_place(self) -> None:
        """The line is named, and neither quoted nor repeated."""
        for text, said in (
            ("", "there is no key in it"),
            ("# only a comment", "there is no key in it"),
            (f"{write_kek(FIRST)}\n{SECRETS[1]}\n", "line 2 is no key"),
            (f"{write_kek(FIRST)[:-1]}", "line 1 is no key"),
            (f"{write_kek(FIRST)}{write_kek(SECOND)}", "line 1 is no key"),
        ):
            with self.subTest(said=said), self.assertRaises(ValueError) as caught:
                read_keks(text)
            self.assertIn(said, str(caught.exception))
            for secret in SECRETS:
                self.assertNotIn(secret, str(caught.exception))

    @given(st.lists(_words, max_size=6).map("".join))
    def test_any_text_gives_keys_or_is_refused(self, text: str) -> None:
        """Keys that can be used, or a ValueError that quotes nothing of the text."""
        try:
            keks = read_keks(text)
        except ValueError as error:
            self.assertRegex(
                str(error),
                r"\A(line [0-9]+ is no key such as|there is no key in it;) jwksd kek "
                r"new makes( one)?\Z",
            )
            return
        self.assertEqual(len(keks), len(re.findall(PREFIX, re.sub("(?m)#.*$", "", text))))
        self.assertEqual(Keychain(keks).open(Keychain(keks[-1:]).seal(TEXT)), TEXT)
