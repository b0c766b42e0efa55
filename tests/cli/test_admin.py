"""``jwksd kek`` and ``jwksd keys``: each command, on a real SQLite file."""

import json
import time
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from unittest.mock import patch

from jwcrypto.jwk import JWK
from twisted.internet.defer import Deferred

from jwksd.cli import command as cli
from jwksd.cli.admin import RevokeOptions
from jwksd.errors import EnvelopeUnreadable, StartUpRefused, StoreAway
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.rotating import Rotating
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.envelopes import kek_of, read_keks
from jwksd.lifecycle.ring import State
from jwksd.stores.database import Database
from tests.support.admin import AdminTestCase
from tests.support.app import SCHEDULE
from tests.support.keys import assert_public, private_jwk


class KekTests(AdminTestCase):
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
        """It is told which KEK is missing, and what is there stays as it was."""
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
        for error, said in (
            (StoreAway("connection lost"), "--store cannot be used: connection lost"),
            (EnvelopeUnreadable("it is damaged"), "cannot be decrypted: it is damaged"),
        ):
            with patch.object(Database, "rewrap", side_effect=error):
                self.assert_refused(said, "kek", "rewrap", *self.keyed)


class ListTests(AdminTestCase):
    def test_json_tells_what_the_servers_tell(self) -> None:
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
        with patch("jwksd.cli.admin.time.time", return_value=end):
            self.assertEqual([row["until"] for row in self.listed()], [end + 1])

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
        self.assert_refused("this needs --store", "keys", "list")
        self.assert_refused("this needs --store", "keys", "list", "--store", "memory")
        for command in (["list"], ["export-public"]):
            self.assert_refused(f"there is no store {self.file} yet", "keys", *command, *self.store)
        self.assertFalse(self.file.exists())
        self.assert_refused("one of list, export-public, import", "keys")
        self.assert_refused("Unknown command: lst", "keys", "lst")
        self.assert_refused("one of new, rewrap", "kek")
        self.assert_refused("--explode not recognized", "keys", "list", "--explode")
        self.assert_refused("Wrong number of arguments", "keys", "list", "more")
        self.file.write_text("no database at all, " * 100)
        self.file.chmod(0o644)
        self.assert_refused("can be read by others: chmod 600", "keys", "list", *self.store)
        self.file.chmod(0o600)
        self.assert_refused("file is not a database", "keys", "list", *self.store)

    def test_the_help_is_about_the_command(self) -> None:
        """Its own usage line and options, and our version."""
        for words, said in (
            (["kek"], "Usage: jwksd kek COMMAND"),
            (["kek", "new"], "Usage: jwksd kek new > FILE"),
            (["kek", "rewrap"], "Usage: jwksd kek rewrap --store URL --kek-file FILE"),
            (["keys"], "Usage: jwksd keys COMMAND"),
            (["keys", "list"], "Usage: jwksd keys list --store URL [--json]"),
            (["keys", "import"], "Usage: jwksd keys import --store URL"),
        ):
            out = StringIO()
            with redirect_stdout(out):
                self.assertRaises(SystemExit, cli.main, [*words, "--help"])
                self.assertRaises(SystemExit, cli.main, [*words, "--version"])
            self.assertTrue(out.getvalue().startswith(said), out.getvalue())
            self.assertIn("\njwksd 0.", out.getvalue())


class ExportTests(AdminTestCase):
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


class ImportTests(AdminTestCase):
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
        self.assert_refused("Wrong number of arguments", *command)
        self.assert_refused(
            "make a key-encryption key", "keys", "import", *self.store, "--as", "ES256", path
        )
        self.assertEqual(len(self.listed()), 1)

    def test_the_servers_algorithms_may_come_from_where_theirs_do(self) -> None:
        """From a variable, or their file."""
        path = self.key_file(JWK.generate(kty="EC", crv="P-256"))
        arguments = ["keys", "import", *self.keyed, "--as", "ES256", path]
        self.assertIn("is pending", self.run_command(*arguments, JWKSD_ALG="RS256,ES256"))


class ChangeTests(AdminTestCase):
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
        """One in 64 does; an option that there is not is refused all the same."""
        for kid in ("-" + "3" * 42, "--" + "x" * 41, "A" * 43):
            for separator in ([], ["--"]):
                options = RevokeOptions()
                options.parseOptions([*self.store, *separator, kid])
                self.assertEqual(options["kid"], kid)
        with self.assertRaisesRegex(StartUpRefused, "option -3"):
            RevokeOptions().parseOptions([*self.store, "-3"])

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
