"""``jwksd keys``: each command, on a real SQLite file."""

import json
import time
from typing import Any
from unittest.mock import patch

from jwcrypto.jwk import JWK
from twisted.internet.defer import Deferred

from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.rotating import Rotating
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.lifecycle.ring import State
from jwksd.stores.database import Database
from tests.support.app import SCHEDULE
from tests.support.keys import assert_public, private_jwk
from tests.support.operators import OperatorTestCase


class ListTests(OperatorTestCase):
    def test_json_has_what_the_servers_describe(self) -> None:
        """Every key of the ring, with its state, times and what it has signed."""
        server = self.serve()
        self.sign(server, int(self.clock.seconds()) + 60)
        told = self.successResultOf(Deferred.fromCoroutine(server.describe()))
        rows = self.listed()
        self.assertEqual({row["state"] for row in rows}, {"active", "pending"})
        by_kid = {key["kid"]: key for key in told["keys"]}
        self.assertEqual({row["kid"] for row in rows}, set(by_kid))
        for row in rows:
            # How long the servers' options let it be is theirs to know.
            expected = by_kid[row["kid"]] | {"until": None}
            self.assertEqual(row, {name: expected[name] for name in row})
        self.assertEqual({row["signed"] for row in rows}, {0, 1})

    def test_the_table_has_the_same(self) -> None:
        """One line a key under one of headings; times are UTC, what is not known is a dash."""
        self.serve()
        head, *lines = self.run_command("keys", "list", *self.store).splitlines()
        self.assertEqual(
            head.split(), ["kid", "alg", "state", "since", "until", "signed", "last", "exp"]
        )
        for line, row in zip(lines, self.listed(), strict=True):
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row["since"]))
            cells = [row["kid"], "ES256", row["state"], since, "-", "0", "-"]
            self.assertEqual(line.split(), cells)
            self.assertEqual(line.index(row["state"]), head.index("state"))

    def test_keys_of_single_tokens(self) -> None:
        """Those that are live, each with its one token; no KEK is needed, and none is looked at."""
        server = self.serve("per-token")
        end = int(time.time()) + 3600
        for exp in (end, end + 1):
            self.sign(server, exp)
        rows = self.listed()
        self.assertEqual(sorted(row["until"] for row in rows), [end, end + 1])
        self.assertEqual({(r["state"], r["signed"]) for r in rows}, {("retired", 1)})
        self.assertEqual([row["until"] for row in self.listed(lambda: end)], [end + 1])

    def test_the_store_has_the_clock_of_the_command(self) -> None:
        """A withdrawal is remembered for an hour from the time that the command was given."""
        key = self.sign(self.serve("per-token"), int(time.time()) + 3600)
        self.run_command("keys", "revoke", *self.store, key.kid, clock=lambda: 1000.0)
        with self.database().engine.connect() as connection:
            until = connection.exec_driver_sql("SELECT until FROM jwksd_keys").scalar_one()
        self.assertEqual(until, 1000 + 3600)

    def test_it_reads_what_the_server_reads(self) -> None:
        """Variables and the configuration file say where the store is, too."""
        self.serve()
        url = f"sqlite:///{self.file}"
        config = self.folder / "jwksd.toml"
        config.write_text(f"store = '{url}'\npolicy = 'rotating'\nport = 1\n")
        by_flag = self.run_command("keys", "list", *self.store)
        self.assertEqual(self.run_command("keys", "list", JWKSD_STORE=url), by_flag)
        self.assertEqual(self.run_command("keys", "list", "--config", str(config)), by_flag)

    def test_what_cannot_be_listed(self) -> None:
        """No store, a store in memory, a file that is none, one that others may read, a typo."""
        self.assert_refused("this needs --store", "keys", "list", code=2)
        self.assert_refused("this needs --store", "keys", "list", "--store", "memory", code=2)
        for command in (["list"], ["export-public"]):
            self.assert_refused(f"there is no store {self.file} yet", "keys", *command, *self.store)
        self.assertFalse(self.file.exists())
        self.file.write_text("no database at all, " * 100)
        self.file.chmod(0o644)
        self.assert_refused("can be read by others: chmod 600", "keys", "list", *self.store)
        self.file.chmod(0o600)
        self.assert_refused("file is not a database", "keys", "list", *self.store, code=3)


class ExportTests(OperatorTestCase):
    def test_it_is_what_the_servers_publish(self) -> None:
        """To the byte, with either policy, and without the KEK."""
        for policy in ("rotating", "per-token"):
            self.file.unlink(missing_ok=True)
            server = self.serve(policy)
            if policy == "per-token":
                self.sign(server, int(time.time()) + 60)
            exported = self.run_command("keys", "export-public", *self.store).encode()
            self.assertEqual(exported, bytes(server.keys.key_set().body) + b"\n")
            assert_public(exported, "the export")
            self.assertEqual(len(json.loads(exported)["keys"]), len(server.keys))
            self.successResultOf(server.stop())


class ImportTests(OperatorTestCase):
    def test_it_is_published_first_and_signs_in_its_turn(self) -> None:
        """Pending behind the one that was pending before; active one rotation later; then over."""
        server = self.serve()
        jwk = JWK.generate(kty="EC", crv="P-256")
        kid = jwk.thumbprint()
        self.assertEqual(self.import_key(jwk), f"{kid} (ES256) is pending\n")
        self.assertNotIn(json.loads(jwk.export_private())["d"].encode(), self.file.read_bytes())
        self.successResultOf(Deferred.fromCoroutine(server.refresh()))
        self.assertIsNotNone(server.keys.get(kid))
        states = []
        for _ in range(3):
            key = server.ring.get(kid)
            states.append((key.state, server.ring.active("ES256").kid == kid))
            self.clock.advance(SCHEDULE.rotation_interval)
        self.assertEqual(
            states,
            [(State.PENDING, False), (State.PENDING, False), (State.ACTIVE, True)],
        )
        self.assertEqual(server.ring.get(kid).state, State.RETIRED)

    def test_what_it_signs_verifies_with_what_is_published(self) -> None:
        """The private half that the server reads is the one that was in the file."""
        jwk = JWK.generate(kty="EC", crv="P-256")
        self.import_key(jwk)
        server = self.serve()
        self.assertEqual(server.ring.active("ES256").kid, jwk.thumbprint())
        pair = self.sign(server, int(self.clock.seconds()) + 60)
        self.assertEqual(pair.kid, jwk.thumbprint())
        ALGORITHMS["ES256"].verifier().verify(jwk, b"text", pair.sign(b"text"))

    def test_it_is_tried_again_when_a_server_was_faster(self) -> None:
        """A change between its read and its write is read, and kept."""
        jwk = JWK.generate(kty="EC", crv="P-256")
        server: list[Any] = []
        swap = Database.swap

        def interrupted(database: Database, *arguments: Any) -> Any:
            if not server:
                server.append(None)
                server[0] = self.serve()
            return swap(database, *arguments)

        with patch.object(Database, "swap", interrupted):
            self.import_key(jwk)
        self.assertEqual(len(self.listed()), 3)
        with patch.object(Database, "swap", lambda *_: None):
            other = self.key_file(JWK.generate(kty="EC", crv="P-256"))
            arguments = [*self.keyed, "--alg", "ES256", "--as", "ES256", other]
            self.assert_refused("try again", "keys", "import", *arguments)

    def test_what_is_refused(self) -> None:
        """A key that is there, an algorithm of nobody, a missing file, a wrong one, no KEK."""
        jwk = JWK.generate(kty="EC", crv="P-256")
        self.import_key(jwk)
        path = self.key_file(jwk)
        command = ["keys", "import", *self.keyed]
        for said, arguments in (
            (f"{jwk.thumbprint()} is in the store already", ["--alg", "ES256", path]),
            ("servers that do not sign with ES256 would drop it", [path]),
            (f"cannot read {path}.none: No such file", [f"{path}.none"]),
            (f"cannot read {self.folder}: Is a directory", [str(self.folder)]),
            ("cannot be imported: it is neither a JWK nor", [str(self.kek_file)]),
            (
                "this is a key of RSA",
                ["--alg", "ES256", self.key_file(private_jwk(0), "rsa.pem")],
            ),
        ):
            self.assert_refused(said, *command, "--as", "ES256", *arguments)
        self.assert_refused("give --as", *command, path)
        self.assert_refused("Missing argument 'KEY'", *command, code=2)
        self.assert_refused(
            "make a key-encryption key", "keys", "import", *self.store, "--as", "ES256", path
        )
        self.assertEqual(len(self.listed()), 1)

    def test_the_servers_algorithms_may_come_from_where_theirs_do(self) -> None:
        """From a variable, or their file."""
        path = self.key_file(JWK.generate(kty="EC", crv="P-256"))
        arguments = ["keys", "import", *self.keyed, "--as", "ES256", path]
        self.assertIn("is pending", self.run_command(*arguments, JWKSD_ALG="RS256,ES256"))


class ChangeTests(OperatorTestCase):
    """What an operator changes, servers at work on the file follow."""

    def states(self) -> dict[str, str]:
        return {row["kid"]: row["state"] for row in self.listed()}

    def refresh(self, server: Rotating | PerToken) -> None:
        self.successResultOf(Deferred.fromCoroutine(server.refresh()))

    def test_a_key_is_replaced_as_soon_as_that_is_safe(self) -> None:
        """The server sees to it: the pending key takes over when it is known."""
        server = self.serve()
        first, second = sorted(self.states(), key=self.states().get)  # type: ignore[arg-type]
        self.assertIn("ES256", self.run_command("keys", "rotate", *self.store, "ES256"))
        self.refresh(server)
        self.assertEqual(self.states()[first], "active")
        self.clock.advance(SCHEDULE.propagation)
        self.assertEqual(self.states()[second], "active")

    def test_an_active_key_is_revoked_and_the_next_signs(self) -> None:
        """In one step; the server publishes it no more, and cuts down what caches may hold."""
        server = self.serve()
        first, second = sorted(self.states(), key=self.states().get)  # type: ignore[arg-type]
        self.assertIn(first, self.run_command("keys", "revoke", *self.store, first))
        self.assertEqual(self.states(), {second: "active"})
        self.refresh(server)
        self.assertNotIn(first, {key.kid for key in server.keys})
        self.assertEqual(self.sign(server, int(self.clock.seconds()) + 60).kid, second)
        self.assertEqual(server.cache_control, b"public, max-age=60")

    def test_a_kid_may_begin_as_an_option_does(self) -> None:
        """One in 64 does, wherever it stands; an option that there is not is refused still."""
        self.serve()
        for kid in ("-" + "3" * 42, "--" + "x" * 41, "A" * 43):
            for words in ([*self.store, kid], [*self.store, "--", kid], [kid, *self.store]):
                self.assert_refused(f"no key has the kid {kid!r}", "keys", "revoke", *words)
        for wrong in ("-3", "--stor"):
            command = ["keys", "revoke", *self.store, wrong]
            self.assert_refused(f"option {wrong} not recognized", *command, code=2)

    def test_the_key_of_one_token_is_revoked(self) -> None:
        """It is published no more."""
        server = self.serve("per-token")
        kid = self.sign(server, int(self.clock.seconds()) + 60).kid
        self.run_command("keys", "revoke", *self.store, kid)
        self.refresh(server)
        self.assertEqual(len(server.keys), 0)

    def test_what_there_is_not_is_refused(self) -> None:
        """With the command that lists what there is."""
        self.serve()
        self.assert_refused("jwksd keys list", "keys", "revoke", *self.store, "nobody")
        self.assert_refused("jwksd keys list", "keys", "rotate", *self.store, "RS256")
