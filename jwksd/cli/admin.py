"""``jwksd kek`` and ``jwksd keys``: what an operator does to a store, beside servers at work."""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jwcrypto.jwk import JWK
from twisted.python import usage

from jwksd.config.commandline import ConfiguredOptions, PlainOptions, collector
from jwksd.config.options import BY_NAME
from jwksd.config.secretfiles import read_keychain
from jwksd.config.settings import IssuerSettings
from jwksd.errors import EnvelopeUnreadable, StartUpRefused, StoreAway, StoreUnreachable
from jwksd.interfaces import Contents, Usage
from jwksd.jose.envelopes import write_kek
from jwksd.jose.importing import read_private_key
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle import plan as lifecycle
from jwksd.lifecycle.plan import Ring, RingKey, Schedule
from jwksd.lifecycle.published import PublishedKeys
from jwksd.stores.opening import open_database

if TYPE_CHECKING:
    from jwksd.stores.database import Database

_TRIES = 10
"""How often a change is tried again when a server has changed the ring meanwhile."""


class NewKekOptions(PlainOptions):
    """``jwksd kek new``."""

    synopsis = "Usage: jwksd kek new > FILE"
    longdesc = "Prints a new key-encryption key. It is a secret: say umask 077 before."

    def run(self) -> None:
        """Print it."""
        print(write_kek(JWK.generate(kty="oct", size=256)))


class StoreOptions(ConfiguredOptions):
    """The options of a command that works on a store; what the server reads counts here too."""

    optParameters: ClassVar = [
        ["store", None, None, "sqlite:///PATH or postgresql://USER@HOST/NAME"],
        ["config", None, None, "the server's TOML file"],
    ]
    opt_kek_file = collector(BY_NAME["kek-file"])
    needs_keks = False
    makes_store = False

    def run(self) -> None:
        """Open the store and work on it.

        Raises:
            StartUpRefused: it cannot be done, with what to do about it.
        """
        settings = self.settings.issuer
        if settings.store == "memory":
            raise StartUpRefused("this needs --store: a store in memory is its server's alone")
        keychain = read_keychain(settings.kek_file, os.environ)
        database = open_database(settings.store, keychain, private_keys=self.needs_keks)
        file = database.file
        if file is not None and not file.exists() and not self.makes_store:
            raise StartUpRefused(f"there is no store {file} yet")
        try:
            self.work(database, settings)
        except StoreAway as error:
            raise StoreUnreachable(f"--store cannot be used: {error.why}") from None
        except EnvelopeUnreadable as error:
            raise StartUpRefused(f"a private key cannot be decrypted: {error.detail}") from None
        finally:
            database.close()

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        """What the command does."""
        raise NotImplementedError


class RewrapOptions(StoreOptions):
    """``jwksd kek rewrap``."""

    synopsis = "Usage: jwksd kek rewrap --store URL --kek-file FILE"
    longdesc = (
        "Encrypts every private key in the store under the first key-encryption key of FILE. The"
        " keys that they are under now must be in FILE too, and in those of the servers. It can be"
        " broken off and run again."
    )
    needs_keks = True

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        database.open()
        keychain = database.keychain
        assert keychain is not None  # noqa: S101  # needs_keks
        print(f"{database.rewrap()} private keys rewrapped; all are under {keychain.first} now")


class ListOptions(StoreOptions):
    """``jwksd keys list``."""

    synopsis = "Usage: jwksd keys list --store URL [--json]"
    longdesc = "Prints which keys there are, in which state, and who still needs them."
    optFlags: ClassVar = [["json", None, "as JSON, with times as NumericDates"]]

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        contents = database.open()
        usage = database.count({})
        single = {key.kid: key for key in contents.keys if key.expires is not None}
        rows = [_row(key, usage.get(key.kid, Usage())) for key in contents.ring.keys]
        rows += [
            {"kid": key.kid, "alg": key.alg, "state": "retired", "since": key.created}
            | {"until": key.expires, "signed": 1, "last_exp": key.expires}
            for key in sorted(single.values(), key=lambda key: (key.created, key.kid))
            if key.expires is not None and key.expires > time.time()
        ]
        if self["json"]:
            print(json.dumps({"keys": rows}))
            return
        print(f"{'kid':43} {'alg':9} {'state':7} {'since':20} {'until':20} {'signed':>7} last exp")
        for row in rows:
            times = " ".join(f"{_time(row[name]):20}" for name in ("since", "until"))
            head = f"{row['kid']} {row['alg']:9} {row['state']:7} {times}"
            print(f"{head} {row['signed']:>7} {_time(row['last_exp'])}".rstrip())


class ExportOptions(StoreOptions):
    """``jwksd keys export-public``."""

    synopsis = "Usage: jwksd keys export-public --store URL"
    longdesc = "Prints the JWK Set that the servers publish: public halves only."

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        published = PublishedKeys()
        for key in database.open().keys:
            published.add(key)
        published.expire(time.time())
        print(published.key_set().body.decode("ascii"))


class ImportOptions(StoreOptions):
    """``jwksd keys import``."""

    synopsis = "Usage: jwksd keys import --store URL --kek-file FILE [--as ALG] KEY"
    longdesc = (
        "Takes a private key from the file KEY, an unencrypted PEM or a JWK. It is published as a"
        " pending key, and signs when its turn comes: after the propagation time, and after those"
        " that were pending before it."
    )
    optParameters: ClassVar = [
        ["as", None, None, "the algorithm that it is for, such as RS256"],
        ["alg", None, None, "the --alg of the servers"],
    ]
    needs_keks = True
    makes_store = True

    def parseArgs(self, path: str) -> None:  # type: ignore[override]  # each has its own
        self["path"] = path

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        try:
            pair = read_private_key(Path(self["path"]).read_bytes(), self["as"])
        except OSError as error:
            raise StartUpRefused(f"cannot read {self['path']}: {error.strerror}") from None
        except ValueError as error:
            raise StartUpRefused(f"{self['path']} cannot be imported: {error}") from None
        if pair.alg not in settings.alg:
            raise StartUpRefused(
                f"servers that do not sign with {pair.alg} would drop it: give the --alg that"
                f" they have, and {pair.alg} among it, instead of {','.join(settings.alg)}"
            )
        _publish(database, pair)
        print(f"{pair.kid} ({pair.alg}) is pending")


class RotateOptions(StoreOptions):
    """``jwksd keys rotate``."""

    synopsis = "Usage: jwksd keys rotate --store URL ALG"
    longdesc = (
        "Has the pending key of an algorithm take over as soon as every cache can know it; the"
        " servers see to that."
    )

    def parseArgs(self, alg: str) -> None:  # type: ignore[override]  # each has its own
        self["rotated"] = alg

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        alg = self["rotated"]

        def hurried(contents: Contents) -> Ring:
            if contents.ring.active(alg) is None:
                raise StartUpRefused(f"no {alg:.60} key is active; jwksd keys list tells which are")
            return lifecycle.hurry(contents.ring, alg)

        _change(database, hurried)
        print(f"the {alg} key is replaced as soon as that is safe")


_LIKE_AN_OPTION = re.compile(r"-[A-Za-z0-9_-]{42}")
"""A kid, which is 43 characters of base64url, that begins so."""


class RevokeOptions(StoreOptions):
    """``jwksd keys revoke``."""

    synopsis = "Usage: jwksd keys revoke --store URL KID"
    longdesc = (
        "Withdraws a key at once; if it is active, the next one takes over. Caches may hold it for"
        " as long as the documents may be cached. Give the --config of the servers."
    )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        # One kid in 64 begins like an option.
        given = list(options or ())
        if given and _LIKE_AN_OPTION.fullmatch(given[-1]) and "--" not in given:
            given.insert(-1, "--")
        super().parseOptions(given)

    def parseArgs(self, kid: str) -> None:  # type: ignore[override]  # each has its own
        self["kid"] = kid

    def work(self, database: "Database", settings: IssuerSettings) -> None:
        kid, now, schedule = self["kid"], time.time(), settings.schedule()
        if kid in {key.kid for key in database.open().keys if key.expires is not None}:
            database.withdraw([kid])
        else:
            _change(database, lambda contents: _revoked(contents.ring, kid, now, schedule))
        print(f"{kid} is revoked")


def _revoked(ring: Ring, kid: str, now: float, schedule: Schedule) -> Ring:
    if ring.get(kid) is None:
        raise StartUpRefused(f"no key has the kid {kid!r:.60}; jwksd keys list tells which do")
    algorithms = sorted({key.alg for key in ring.keys})
    without = lifecycle.revoke(ring, kid, now, schedule)
    return lifecycle.settle(without, algorithms, now, schedule, {})


def _publish(database: "Database", pair: KeyPair) -> None:
    def published(contents: Contents) -> Ring:
        if any(key.kid == pair.kid for key in contents.keys):
            raise StartUpRefused(f"{pair.kid} is in the store already")
        return lifecycle.publish(contents.ring, pair.kid, pair.alg, time.time())

    _change(database, published, pair)


def _change(
    database: "Database", change: Callable[[Contents], Ring], added: KeyPair | None = None
) -> None:
    """Change the ring, beside servers that may do so too."""
    for _ in range(_TRIES):
        contents = database.open()
        if database.swap(contents.version, contents.ring, change(contents), added) is not None:
            return
    raise StartUpRefused("the servers change their keys without a pause: try again")


def _row(key: RingKey, usage: Usage) -> dict[str, object]:
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": key.state.value,
        "since": key.since,
        "until": key.until,
        "signed": usage.signed,
        "last_exp": usage.last_exp or None,
    }


def _time(second: object) -> str:
    if not isinstance(second, int):
        return "-"
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Group(PlainOptions):
    """A command that has commands of its own."""

    subCommands: ClassVar[list[list[object]]]

    def parseOptions(self, options: "list[str] | None" = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise StartUpRefused(f"{error} (--help lists the commands)") from None
        if self.subCommand is None:
            names = ", ".join(str(row[0]) for row in self.subCommands)
            raise StartUpRefused(f"no command given: one of {names}")

    def run(self) -> None:
        """What was asked for."""
        run: Callable[[], None] = self.subOptions.run
        run()


class KekOptions(_Group):
    """``jwksd kek``."""

    synopsis = "Usage: jwksd kek COMMAND"
    longdesc = "A key-encryption key (KEK) encrypts the private keys in a store."
    subCommands: ClassVar = [
        ["new", None, NewKekOptions, "Print a new key-encryption key."],
        ["rewrap", None, RewrapOptions, "Encrypt private keys under the first one."],
    ]


class KeysOptions(_Group):
    """``jwksd keys``."""

    synopsis = "Usage: jwksd keys COMMAND"
    longdesc = "What is in a store; servers may be at work on it."
    subCommands: ClassVar = [
        ["list", None, ListOptions, "Which keys there are, and in which state."],
        ["export-public", None, ExportOptions, "The JWK Set that is published."],
        ["import", None, ImportOptions, "Take a private key from a file."],
        ["rotate", None, RotateOptions, "Replace a key as soon as that is safe."],
        ["revoke", None, RevokeOptions, "Withdraw a key at once."],
    ]
