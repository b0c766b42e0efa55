"""A database that goes back to what it was, while servers are at work on it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.internet.defer import Deferred

from jwksd.issuing.rotating import Rotating
from jwksd.issuing.rotator import HEARTBEAT
from jwksd.lifecycle.ring import State
from tests.support.app import SCHEDULE
from tests.support.operators import OperatorTestCase


def copy(source: Path, target: Path) -> None:
    """What SQLite's backup does; the target may be open elsewhere."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


class RestoreTests(OperatorTestCase):
    """One server on a file that is copied, changed, and overwritten with the copy."""

    def restore_older(self) -> Rotating:
        """A server whose store is again as it was three rotations ago."""
        server = self.serve()
        backup = self.folder / "backup.db"
        self.clock.advance(SCHEDULE.rotation_interval / 2)
        copy(self.file, backup)
        self.ring = server.ring
        for _ in range(3):
            self.clock.advance(SCHEDULE.rotation_interval)
        self.assertNotEqual(server.ring, self.ring)
        copy(backup, self.file)
        return server

    def refresh(self, server: Rotating) -> None:
        self.successResultOf(Deferred.fromCoroutine(server.refresh()))

    def test_a_server_follows_it(self) -> None:
        """What is published and what signs is what the store holds; what it lacks is gone."""
        server = self.restore_older()
        lost = {key.kid for key in server.ring.keys} - {key.kid for key in self.ring.keys}
        self.refresh(server)  # after which what has become due since the copy is done, too
        self.clock.advance(HEARTBEAT)
        published = {key.kid for key in server.keys}
        self.assertEqual(published, {key.kid for key in server.ring.keys})
        self.assertLess({key.kid for key in self.ring.keys}, published)
        self.assertFalse(lost & published)
        states = sorted(key.state for key in server.ring.keys)
        self.assertEqual(states, [State.ACTIVE, State.PENDING, State.RETIRED])
        self.sign(server, int(self.clock.seconds()) + 60)

    def test_the_rotation_goes_on(self) -> None:
        """A change that is tried before the server has noticed does not keep it busy for ever."""
        server = self.restore_older()
        self.clock.advance(SCHEDULE.rotation_interval)
        active = server.ring.active("ES256")
        self.clock.advance(SCHEDULE.rotation_interval)
        self.assertNotEqual(server.ring.active("ES256"), active)
        self.assertEqual({r["kid"] for r in self.listed()}, {k.kid for k in server.ring.keys})

    def test_keys_of_single_tokens(self) -> None:
        """Those from after the copy are gone, those from before are there."""
        server = self.serve("per-token")
        backup = self.folder / "backup.db"
        end = int(self.clock.seconds()) + 3600
        before = self.sign(server, end).kid
        copy(self.file, backup)
        after = self.sign(server, end).kid
        self.refresh(server)
        self.assertEqual({key.kid for key in server.keys}, {before, after})
        copy(backup, self.file)
        self.refresh(server)
        self.assertEqual({key.kid for key in server.keys}, {before})
        self.sign(server, end)
        self.assertEqual(len(server.keys), 2)
