"""``jwksd kek``: each command, on a real SQLite file."""

from unittest.mock import patch

from jwcrypto.jwk import JWK

from jwksd.errors import EnvelopeUnreadable, StoreAway
from jwksd.jose.envelopes import kek_of, read_keks
from jwksd.stores.database import Database
from tests.support.app import SCHEDULE
from tests.support.operators import OperatorTestCase


class KekTests(OperatorTestCase):
    def test_new_prints_a_fresh_kek(self) -> None:
        """One line, which is read as a key, and another one each time."""
        first, second = self.run_command("kek", "new"), self.run_command("kek", "new")
        self.assertEqual((len(read_keks(first)), first.count("\n")), (1, 1))
        self.assertNotEqual(first, second)

    def test_rewrap_puts_all_under_the_first(self) -> None:
        """It prints how many it did: each key that was under another, and none the second time."""
        server = self.serve()
        old, before = self.keks[0], self.envelopes()
        self.keks.insert(0, JWK.generate(kty="oct", size=256))
        self.write_keks()
        new = self.keks[0].thumbprint()
        for count in (2, 0):
            said = self.run_command("kek", "rewrap", *self.keyed)
            self.assertEqual(said, f"{count} private keys rewrapped; all are under {new} now\n")
        self.keks.remove(old)
        pairs = self.database().open().pairs
        self.assertEqual({p.kid for p in pairs}, {key.kid for key in server.ring.keys})
        octets = b"".join(path.read_bytes() for path in self.folder.glob("keys.db*"))
        for kid, envelope in self.envelopes().items():
            self.assertIn(envelope.encode(), octets)
            self.assertNotIn(before[kid].encode(), octets)

    def test_rewrap_beside_a_server(self) -> None:
        """A server that has both keys goes on, and its next keys are under the one that it has."""
        server = self.serve()
        self.keks.insert(0, JWK.generate(kty="oct", size=256))
        self.write_keks()
        self.run_command("kek", "rewrap", *self.keyed)
        self.clock.advance(SCHEDULE.rotation_interval)
        self.assertEqual(len(server.ring.keys), 3)
        self.assertIn("1 private keys rewrapped", self.run_command("kek", "rewrap", *self.keyed))

    def test_rewrap_without_the_old_key(self) -> None:
        """The line names the KEK that is missing, and what is there stays as it was."""
        self.serve()
        before = self.envelopes()
        (missing,) = set(map(kek_of, before.values()))
        self.keks[0] = JWK.generate(kty="oct", size=256)
        self.write_keks()
        self.assert_refused(f"under key-encryption key {missing}", "kek", "rewrap", *self.keyed)
        self.assert_refused("make a key-encryption key", "kek", "rewrap", *self.store)
        self.assertEqual(self.envelopes(), before)

    def test_what_goes_wrong_on_the_way_ends_in_one_line(self) -> None:
        """The store that goes away, and an envelope that turns out to be damaged."""
        self.serve()
        for error, said, code in (
            (StoreAway("connection lost"), "--store cannot be used: connection lost", 3),
            (EnvelopeUnreadable("it is damaged"), "cannot be decrypted: it is damaged", 1),
        ):
            with patch.object(Database, "rewrap", side_effect=error):
                self.assert_refused(said, "kek", "rewrap", *self.keyed, code=code)
