"""What keys have signed, added up."""

from unittest import TestCase

from jwksd.lifecycle.contents import Usage


class UsageTests(TestCase):
    def test_usage_of_two_nodes_adds_up(self) -> None:
        """Tokens are counted together; of two last exps the later one is the last."""
        self.assertEqual(Usage(3, 200) + Usage(5, 100), Usage(8, 200))
        self.assertEqual(Usage(5, 100) + Usage(3, 200), Usage(8, 200))

    def test_what_has_signed_nothing_adds_nothing(self) -> None:
        """The usage of a new key is no token and no exp."""
        self.assertEqual(Usage() + Usage(7, 300), Usage(7, 300))
        self.assertEqual((Usage().signed, Usage().last_exp), (0, 0))
