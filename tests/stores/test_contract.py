"""The contract of a store, on each that there is: memory, SQLite and a real PostgreSQL.

PostgreSQL's part exists where PostgreSQL is installed; CI installs it.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any
from unittest.mock import patch

from jwcrypto.jwk import JWK
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue, gatherResults
from twisted.trial.unittest import TestCase

from jwksd.errors import JwksdError, StartUpRefused, StoreAway
from jwksd.interfaces import IStore
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.envelopes import Keychain
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle import plan as plans
from jwksd.lifecycle.contents import Usage
from jwksd.lifecycle.ring import Ring, State
from jwksd.stores.database import Database
from jwksd.stores.memory import MemoryStore
from jwksd.stores.sql import SqlStore
from tests.support import postgres
from tests.support.app import SCHEDULE
from tests.support.keys import NOW, key_pair
from tests.support.stores import fresh_pair, single, with_pending

KEKS = [JWK.generate(kty="oct", size=256)]


class StoreContract:
    """What every store keeps to. ``make_store`` opens one; all of one test hold the same."""

    def make_store(self) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.store = self.make_store()
        self.contents = self.store.open()

    def kept_private_halves(self) -> set[str]:
        """The kids whose private half the store keeps, as it keeps them; no call of it is made."""
        raise NotImplementedError

    async def publish(self) -> tuple[KeyPair, Ring, int]:
        """A first key, pending."""
        pair = fresh_pair()
        ring = with_pending(Ring(), pair)
        version = await self.store.swap(self.contents.version, Ring(), ring, pair)
        return pair, ring, version

    def test_it_provides_what_it_says(self: Any) -> None:
        """Every attribute and method of the interface is there."""
        self.assertTrue(IStore.providedBy(self.store))
        for name in IStore.names():
            self.assertTrue(hasattr(self.store, name), name)

    def test_a_new_store_is_empty(self: Any) -> None:
        """No keys, an empty ring."""
        self.assertEqual((self.contents.ring, list(self.contents.keys)), (Ring(), []))

    async def test_what_was_inserted_is_read(self: Any) -> None:
        """By everybody who reads from before; once they know it, there is nothing new."""
        key = single()
        version = await self.store.insert(key)
        self.assertGreater(version, self.contents.version)
        read = await self.store.read(self.contents.version, ())
        self.assert_same_keys(read.keys, [key])
        self.assertEqual(read.version, version)
        self.assertIsNone(await self.store.read(version, ()))

    def assert_same_keys(self: Any, found: Any, expected: Any) -> None:
        told = [(k.kid, k.created, k.expires, k.document, dict(k.public)) for k in found]
        wanted = [(k.kid, k.created, k.expires, k.document, dict(k.public)) for k in expected]
        self.assertEqual(sorted(told, key=str), sorted(wanted, key=str))

    async def test_many_at_once_are_all_kept(self: Any) -> None:
        """However they are committed, each is acknowledged with a version that has it."""
        keys = [single() for _ in range(50)]
        versions = await gatherResults([self.store.insert(key) for key in keys])
        read = await self.store.read(self.contents.version, ())
        self.assert_same_keys(read.keys, keys)
        self.assertEqual(read.version, max(versions))

    async def test_withdrawn_keys_are_gone(self: Any) -> None:
        """For those who knew them, and for those who read everything."""
        stays, goes = single(), single()
        await self.store.insert(stays)
        version = await self.store.insert(goes)
        await self.store.withdraw([goes.kid, "unknown"])
        read = await self.store.read(version, ())
        self.assertTrue(read.gone is None or list(read.gone) == [goes.kid])
        self.assertNotIn(goes.kid, {key.kid for key in read.keys})
        everything = await self.store.read(None, ())
        self.assert_same_keys(everything.keys, [stays])
        self.assertIsNone(everything.gone)

    async def test_expired_keys_are_forgotten(self: Any) -> None:
        """Those at or past their second, and no others."""
        over, live = single(NOW), single(NOW + 1)
        for key in (over, live):
            await self.store.insert(key)
        await self.store.expire(NOW)
        self.assert_same_keys((await self.store.read(None, ())).keys, [live])

    async def test_a_withdrawal_that_is_forgotten_is_seen_in_everything(self: Any) -> None:
        """Whoever slept longer than withdrawals are remembered is given all that there is."""
        goes, stays = single(NOW + 10**9), single(NOW + 10**9)
        await self.store.insert(goes)
        version = await self.store.insert(stays)
        await self.store.withdraw([goes.kid])
        await self.store.expire(NOW + 10**8)
        read = await self.store.read(version, ())
        self.assertIsNone(read.gone)
        self.assert_same_keys(read.keys, [stays])

    async def test_the_ring_changes_by_compare_and_swap(self: Any) -> None:
        """Of two who change the same version one wins; the other learns what the first made."""
        pairs = fresh_pair(), fresh_pair()
        rings = [with_pending(Ring(), pair) for pair in pairs]
        version = self.contents.version
        results = await gatherResults(
            [
                self.store.swap(version, Ring(), ring, pair)
                for ring, pair in zip(rings, pairs, strict=True)
            ]
        )
        self.assertEqual(sorted(result is None for result in results), [False, True])
        winner = 0 if results[0] is not None else 1
        read = await self.store.read(version, ())
        self.assertEqual(read.ring, rings[winner])
        self.assertEqual([key.kid for key in read.keys], [pairs[winner].kid])
        self.assertIsNone(read.keys[0].expires)

    async def test_a_private_half_lives_as_long_as_it_signs(self: Any) -> None:
        """Pending and active keys have theirs, left out for who has it; retired ones have none.

        When a key is retired, nothing of its private half is left where it was kept.
        """
        pair, ring, version = await self.publish()
        for change in (lambda r: r, lambda r: plans.settle(r, ["ES256"], NOW, SCHEDULE, {})):
            before, ring = ring, change(ring)
            if ring != before:
                version = await self.store.swap(version, before, ring, None)
            read = await self.store.read(None, ())
            self.assertEqual([found.kid for found in read.pairs], [pair.kid])
            self.assertEqual(self.kept_private_halves(), {pair.kid})
            verifier = ALGORITHMS["ES256"].verifier()
            verifier.verify(pair.public, b"text", read.pairs[0].sign(b"text"))
            self.assertEqual(list((await self.store.read(None, {pair.kid})).pairs), [])
        retired = plans.settle(ring, [], NOW, SCHEDULE, {})
        self.assertEqual(retired.keys[0].state, State.RETIRED)
        await self.store.swap(version, ring, retired, None)
        read = await self.store.read(None, ())
        self.assertEqual((read.ring, list(read.pairs)), (retired, []))
        self.assertEqual(self.kept_private_halves(), set())
        self.assertEqual([key.kid for key in read.keys], [pair.kid])

    async def test_a_dropped_key_is_gone_with_all_of_it(self: Any) -> None:
        """Public half, private half, usage."""
        pair, ring, version = await self.publish()
        await self.store.count({pair.kid: Usage(1, NOW)})
        await self.store.swap(version, ring, Ring(), None)
        read = await self.store.read(version, ())
        self.assertEqual((read.ring, list(read.keys), list(read.pairs)), (Ring(), [], []))
        self.assertEqual(await self.store.count({}), {})

    async def test_the_ring_is_read_as_it_was_written(self: Any) -> None:
        """Hurry, alert and clocks too."""
        pair = fresh_pair()
        ring = with_pending(Ring(frozenset(), boot="b", ahead=1.5), pair)
        ring = Ring(ring.keys, frozenset({"ES256", "RS256"}), NOW + 5, "boot", NOW - 0.125)
        await self.store.swap(self.contents.version, Ring(), ring, pair)
        self.assertEqual((await self.store.read(None, ())).ring, ring)

    async def test_usage_adds_up(self: Any) -> None:
        """Counts are added, of last exps the later counts; it is no new version."""
        pair, _, version = await self.publish()
        self.assertEqual(await self.store.count({}), {pair.kid: Usage(0, 0)})
        await self.store.count({pair.kid: Usage(2, NOW + 9)})
        told = await self.store.count({pair.kid: Usage(3, NOW + 5), "unknown": Usage(1, 1)})
        self.assertEqual(told, {pair.kid: Usage(5, NOW + 9)})
        self.assertIsNone(await self.store.read(version, ()))

    async def test_rsa_keys_are_kept_whole(self: Any) -> None:
        """With all of their primes: what is read signs as what was written."""
        pair = key_pair(0)
        await self.store.swap(self.contents.version, Ring(), with_pending(Ring(), pair), pair)
        (read,) = (await self.store.read(None, ())).pairs
        self.assertEqual(read.sign(b"text"), pair.sign(b"text"))

    async def test_another_hears_of_a_change(self: Any) -> None:
        """Where a store is shared, and notifies of changes itself, within a second."""
        if not self.tells:
            return
        heard = DeferredQueue()
        self.store.watch(lambda: heard.put(None))
        await heard.get()  # it listens
        other = self.make_store()
        version = other.open().version
        await heard.get()  # of the other's start, which tries out whether it can write
        await other.insert(single())
        await heard.get()
        read = await self.store.read(version, ())
        self.assertEqual(len(read.keys), 1)

    tells = False


class MemoryStoreTests(StoreContract, TestCase):
    """Keys in memory."""

    def make_store(self) -> IStore:
        store = MemoryStore()
        self.addCleanup(store.close)
        return store

    def kept_private_halves(self) -> set[str]:
        return set(self.store._pairs)


class SqlStoreContract(StoreContract):
    """What databases have in common beyond the contract."""

    def url(self) -> str:
        raise NotImplementedError

    def make_store(self: Any) -> Any:
        if not hasattr(self, "_url"):
            self._url = self.url()
        store = SqlStore(Database(self._url, Keychain(KEKS)), reactor)
        self.addCleanup(store.close)
        return store

    def kept_private_halves(self: Any) -> set[str]:
        """The column itself: a row whose envelope is not NULL."""
        with self.store._database.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT kid, envelope FROM jwksd_keys").all()
        return {row.kid for row in rows if row.envelope is not None}

    async def test_a_key_that_lives_elsewhere_is_not_kept(self: Any) -> None:
        """There is nothing to put into an envelope: it is refused, and no row is written."""
        local = fresh_pair()
        remote = KeyPair(dict(local.public), local.sign, ALGORITHMS["ES256"])
        swap = self.store.swap(self.contents.version, Ring(), with_pending(Ring(), remote), remote)
        await self.assertFailure(swap, JwksdError)
        self.assertIsNone(await self.store.read(self.contents.version, ()))

    async def test_another_process_sees_the_same(self: Any) -> None:
        """Opened anew, everything is there, private halves included."""
        pair, ring, _ = await self.publish()
        key = single()
        version = await self.store.insert(key)
        await self.store.count({pair.kid: Usage(2, NOW)})
        other = self.make_store()
        contents = other.open()
        self.assertEqual((contents.version, contents.ring), (version, ring))
        self.assert_same_keys(contents.keys, [key, pair.published(NOW)])
        self.assertEqual([found.kid for found in contents.pairs], [pair.kid])
        self.assertEqual(await other.count({}), {pair.kid: Usage(2, NOW)})

    async def test_without_a_kek_private_halves_stay_closed(self: Any) -> None:
        """The public halves can be read all the same."""
        pair, _, _ = await self.publish()
        closed = SqlStore(Database(self._url, None), reactor)
        self.addCleanup(closed.close)
        contents = closed.open()
        self.assertEqual(([k.kid for k in contents.keys], list(contents.pairs)), ([pair.kid], []))

    async def test_a_call_that_is_not_answered_fails(self: Any) -> None:
        """A database that hangs is as good as away; the thread ends when the database does."""
        goes_on = Event()
        hangs = patch.object(Database, "read", lambda *_: goes_on.wait())
        with hangs, patch("jwksd.stores.sql._LONGEST_CALL", 0.05):
            error = await self.assertFailure(self.store.read(None, ()), StoreAway)
            goes_on.set()
        self.assertIn("has not answered", error.why)


class SQLiteStoreTests(SqlStoreContract, TestCase):
    """Keys in a file."""

    def url(self) -> str:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        return f"sqlite:///{self.folder}/keys.db"

    def test_a_withdrawal_is_remembered_by_the_clock_that_was_handed_in(self) -> None:
        """For an hour after it, others read of it; then they are given everything."""
        database = Database(self._url, None, clock=lambda: NOW)
        self.addCleanup(database.close)
        key = single(NOW + 10**6)
        version = database.insert([key])
        database.withdraw([key.kid])
        for seconds, gone in ((3599, [key.kid]), (3600, None)):
            database.expire(NOW + seconds)
            contents = database.read(version, ())
            self.assertEqual(contents and contents.gone, gone)

    def test_only_the_owner_may_read_the_file(self) -> None:
        """And so are those that SQLite puts beside it."""
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.folder.iterdir()}
        self.assertEqual(set(modes.values()), {0o600}, modes)


if postgres.find() is not None:

    class PostgreSQLStoreTests(SqlStoreContract, TestCase):
        """Keys in a PostgreSQL that is started for these tests."""

        tells = True

        def url(self) -> str:
            return postgres.shared().new_database()

        def test_a_clock_that_is_off_changes_nothing(self) -> None:
            """A node whose clock disagrees with the database's does not start."""
            off = Database(self._url, Keychain(KEKS), clock=lambda: os.times().elapsed)
            self.addCleanup(off.close)
            refused = self.assertRaises(StartUpRefused, off.open)
            self.assertIn("clock", str(refused))
