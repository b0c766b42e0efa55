"""Stream: one store and one policy, a server on it, and what must hold whenever it starts."""

import asyncio
import json
import time
from pathlib import Path

from jwcrypto.jwk import JWK

from jwksd.jose.envelopes import Keychain, write_kek
from jwksd.lifecycle.contents import Contents
from jwksd.stores.database import Database
from tests.proofs.crash.daemon import Daemon
from tests.proofs.crash.engines import Engine
from tests.proofs.crash.leaks import Leaks
from tests.proofs.crash.ledger import ISSUER, Ledger
from tests.proofs.crash.load import Load
from tests.proofs.crash.succession import Succession

_COMMON = ("--alg", "ES256", "--issuer", ISSUER)
POLICIES = {
    "per-token": ("--lifetime", "30s", "--max-keys", "1000000"),
    # As short as whole seconds allow, so that kills hit every step of a rotation.
    "rotating": (
        *("--policy", "rotating", "--rotation-interval", "7s", "--propagation", "7s"),
        *("--max-age", "1s", "--clock-skew", "1s", "--outage", "5s"),
        *("--lifetime", "10s", "--max-lifetime", "10s"),
    ),
}


class Stream:
    """A series of servers on one store.

    Args:
        policy: a name in ``POLICIES``.
        engine: where the store is.
        folder: for the key-encryption key and the log, beside the store.
    """

    def __init__(self, policy: str, engine: Engine, folder: Path) -> None:
        self.policy = policy
        self.engine = engine
        self.log = folder / "log"
        self.ledger = Ledger()
        self.leaks = Leaks()
        self.succession = Succession()
        self.kills = 0
        self.database_crashes = 0
        self.slowest = 0.0
        self._daemon: Daemon | None = None
        self._loads: list[Load] = []
        self._kek = JWK.generate(kty="oct", size=256)
        self.leaks.know(self._kek["k"], "the key-encryption key")
        kek_file = folder / "kek"
        kek_file.touch(0o600)
        kek_file.write_text(write_kek(self._kek))
        store = ("--store", engine.url, "--kek-file", str(kek_file))
        self._arguments = (*_COMMON, *store, *POLICIES[policy])

    async def spawn(self) -> Daemon:
        """A server that begins to start."""
        self._daemon = await Daemon.spawn(self.log, *self._arguments)
        return self._daemon

    async def start(self) -> Daemon:
        """A server that serves, and keeps every promise that was made before.

        Raises:
            Violation: it does not.
        """
        began = time.monotonic()
        daemon = await self.spawn()
        await daemon.ready()
        self.slowest = max(self.slowest, time.monotonic() - began)
        await self.verify()
        if self.policy == "rotating":
            contents = await asyncio.to_thread(self._read_store)
            hauls = [haul for load in self._loads for haul in load.hauls]
            self.succession.observe(contents.ring, hauls)
            for pair in contents.pairs:
                private = json.loads(pair.private_text_in_the_clear())
                self.leaks.know(private["d"], f"private key {pair.kid}")
        self._loads.clear()
        return daemon

    async def start_with_load(self) -> Load:
        """A server that mints."""
        daemon = await self.start()
        load = Load()
        self._loads.append(load)
        await load.begin(daemon.port)
        return load

    async def verify(self) -> None:
        """Judge every token that was acknowledged by now.

        Raises:
            Violation: one does not verify with what the server publishes.
        """
        assert self._daemon is not None
        for load in self._loads:
            for token in load.fresh():
                self.ledger.acknowledge(token)
        key_set = await self._daemon.key_set()
        self.leaks.publish(key["x"] for key in key_set.values())
        self.ledger.check(key_set, time.time())

    async def kill(self) -> None:
        """Kill the server, and wait for the end of its connections."""
        assert self._daemon is not None
        await self._daemon.kill()
        self.kills += 1
        for load in self._loads:
            await load.ended()

    async def stop(self) -> None:
        """End the server in order."""
        assert self._daemon is not None
        await self._daemon.stop()

    async def look_for_leaks(self) -> None:
        """Search everything that was written so far.

        Raises:
            Violation: there is something private in it.
        """
        await asyncio.to_thread(self.leaks.search, [*self.engine.files(), self.log])

    async def reap(self) -> None:
        """Leave no process behind."""
        if self._daemon is not None:
            await self._daemon.reap()

    def _read_store(self) -> Contents:
        """With the key-encryption key. No connection is kept: it would outlive the next kill, and
        SQLite recovers a file only when nobody else has it open."""
        database = Database(self.engine.url, Keychain([self._kek]))
        contents = database.read(None, ())
        database.close()
        assert contents is not None
        return contents
