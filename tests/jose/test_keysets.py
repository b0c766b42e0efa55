"""Documents: the JWK Set of any number of keys, and the tag that tells one from another."""

import json
from hashlib import sha256
from unittest import TestCase

from jwksd.jose.keysets import document, key_set, single_body

MEMBERS = [b'{"kid":"a"}', b'{"kid":"b"}', b'{"kid":"c"}']


class KeySetTests(TestCase):
    def test_any_number_of_keys_make_a_set_in_their_order(self) -> None:
        """None, one or several: what is read from it is what was put in (RFC 7517 §5)."""
        for count in range(len(MEMBERS) + 1):
            body = key_set(iter(MEMBERS[:count])).body
            expected = [json.loads(member) for member in MEMBERS[:count]]
            with self.subTest(count=count):
                self.assertEqual(json.loads(body), {"keys": expected})

    def test_a_key_alone_has_one_document(self) -> None:
        """Be it asked for by its kid, or as a set that has no other."""
        self.assertEqual(single_body(MEMBERS[0]), key_set(MEMBERS[:1]).body)

    def test_the_tag_is_strong_and_of_the_octets(self) -> None:
        """In quotes, 128 bits of a hash: every process gives the same to the same octets."""
        bodies = [key_set(MEMBERS[:count]).body for count in range(4)]
        for body in bodies:
            digest = sha256(body).hexdigest()
            self.assertEqual(document(body).etag, f'"{digest[:32]}"'.encode())
        self.assertEqual(len({document(body).etag for body in bodies}), 4)
