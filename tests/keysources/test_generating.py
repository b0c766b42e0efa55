"""New private keys: each is another, of the size asked for."""

from unittest import TestCase

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.keysources.generating import generate


class GenerateTests(TestCase):
    def test_a_generated_key_is_new_and_of_the_size_asked_for(self) -> None:
        """Two calls give two keys, each of the number of bits that was asked for."""
        one, two = (generate(ALGORITHMS["RS256"], 2048) for _ in range(2))
        self.assertNotEqual(one.kid, two.kid)
        self.assertEqual(one.public.get_op_key("verify").key_size, 2048)
