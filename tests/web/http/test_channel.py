"""Heads that cannot be read: what is said of each, up to the bounds."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from jwksd.web.http.site import Site
from tests.support.http import Connection, get

MOST = 500
"""Fields that a head may have, Host among them."""


class FieldsTests(SynchronousTestCase):
    def answer(self, fields: int, last: str = "A: b") -> bytes:
        """The answer to a request with so many fields, of which this is the last."""
        connection = Connection(Site(Resource(), Clock()))
        return connection.send(get("/x", *["A: b"] * (fields - 2), last))

    def test_past_the_bound_there_are_too_many_fields(self) -> None:
        """A head with one less is read."""
        self.assertTrue(self.answer(MOST).startswith(b"HTTP/1.1 404 "))
        refused = self.answer(MOST + 1)
        self.assertTrue(refused.startswith(b"HTTP/1.1 431 "))
        self.assertIn(b"more than 500 fields", refused)

    def test_what_is_malformed_is_not_called_too_many(self) -> None:
        """Nor at the bound itself: who drops a field there would be refused again."""
        for fields in (3, MOST):
            refused = self.answer(fields, "not\x01a field")
            self.assertTrue(refused.startswith(b"HTTP/1.1 400 "), fields)
            self.assertIn(b"not well-formed", refused)
