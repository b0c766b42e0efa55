"""``jwksd keys``: what an operator does to the keys of a store, beside servers at work."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jwksd.cli.parsing import Command, Group, file_name, table_option
from jwksd.cli.store import Clock, issuer_settings, opened, store_options
from jwksd.config.options import BY_NAME
from jwksd.errors import StartUpRefused
from jwksd.jose.importing import read_private_key
from jwksd.jose.keys import KeyPair
from jwksd.lifecycle import plan as plans
from jwksd.lifecycle import ring as rings
from jwksd.lifecycle.contents import Contents, Usage
from jwksd.lifecycle.published import PublishedKeys
from jwksd.lifecycle.ring import Ring
from jwksd.lifecycle.schedule import Schedule
from jwksd.lifecycle.status import KeyStatus

if TYPE_CHECKING:
    from jwksd.stores.database import Database

_TRIES = 10
"""How often a change is tried again when a server has changed the ring meanwhile."""


@click.group(cls=Group, short_help="List, export, import, rotate and revoke keys of a store.")
def keys() -> None:
    """List and change the keys of a store; servers may be at work on it."""


@keys.command(
    "list",
    options_metavar="--store URL [--json]",
    short_help="Print which keys there are, and in which state.",
)
@store_options
@click.option("--json", "as_json", is_flag=True, help="as JSON, with times as NumericDates")
@click.pass_obj
def list_keys(clock: Clock, /, *, as_json: bool, **given: Any) -> None:
    """Print which keys there are, in which state, and what they have signed."""
    with opened(issuer_settings(given), clock) as database:
        rows = _rows(database, clock())
    if as_json:
        click.echo(json.dumps({"keys": rows}, allow_nan=False))
        return
    click.echo(f"{'kid':43} {'alg':9} {'state':7} {'since':20} {'until':20} {'signed':>7} last exp")
    for row in rows:
        times = " ".join(f"{_time(row[name]):20}" for name in ("since", "until"))
        head = f"{row['kid']} {row['alg']:9} {row['state']:7} {times}"
        click.echo(f"{head} {row['signed']:>7} {_time(row['last_exp'])}".rstrip())


@keys.command(
    "export-public",
    options_metavar="--store URL",
    short_help="Print the JWK Set that is published.",
)
@store_options
@click.pass_obj
def export_public(clock: Clock, /, **given: Any) -> None:
    """Print the JWK Set that the servers publish: public halves only."""
    published = PublishedKeys()
    with opened(issuer_settings(given), clock) as database:
        for key in database.open().keys:
            published.add(key)
    published.expire(clock())
    click.echo(published.key_set().body.decode("ascii"))


@keys.command(
    "import",
    options_metavar="--store URL --kek-file FILE [--as ALG]",
    short_help="Take a private key from a file.",
)
@store_options
@click.option("--as", "algorithm", metavar="ALG", help="the algorithm of the key, such as RS256")
@table_option(BY_NAME["alg"], text="the --alg of the servers")
@click.argument("path", metavar="KEY", type=file_name())
@click.pass_obj
def import_key(clock: Clock, /, *, path: str, algorithm: str | None, **given: Any) -> None:
    """Take a private key from the file KEY, an unencrypted PEM or a JWK.

    It is published as a pending key, and signs when its turn comes: after the propagation time, and
    after those that were pending before it.
    """
    settings = issuer_settings(given)
    with opened(settings, clock, private_keys=True, makes_store=True) as database:
        pair = _read_pair(path, algorithm)
        if pair.alg not in settings.alg:
            raise StartUpRefused(
                f"servers that do not sign with {pair.alg} would drop it: give the --alg that"
                f" they have, and {pair.alg} among it, instead of {','.join(settings.alg)}"
            )
        _change(database, lambda contents: _published(contents, pair, clock()), pair)
    click.echo(f"{pair.kid} ({pair.alg}) is pending")


@keys.command(options_metavar="--store URL", short_help="Replace a key as soon as that is safe.")
@store_options
@click.argument("alg", metavar="ALG")
@click.pass_obj
def rotate(clock: Clock, /, *, alg: str, **given: Any) -> None:
    """Have the pending key of an algorithm take over as soon as every cache can know it.

    The servers see to that.
    """

    def hurried(contents: Contents) -> Ring:
        if contents.ring.active(alg) is None:
            raise StartUpRefused(f"no {alg:.60} key is active; jwksd keys list shows which are")
        return rings.hurry(contents.ring, alg)

    with opened(issuer_settings(given), clock) as database:
        _change(database, hurried)
    click.echo(f"the {alg} key is replaced as soon as that is safe")


_LIKE_AN_OPTION = re.compile(r"-[A-Za-z0-9_-]{42}")
"""A kid, which is 43 characters of base64url, that begins as an option does; one in 64 does."""


class RevokeCommand(Command):
    """A command that takes a kid, which may begin as an option does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        kids = [] if "--" in args else [word for word in args if _LIKE_AN_OPTION.fullmatch(word)]
        others = [word for word in args if word not in kids]
        return super().parse_args(ctx, [*others, "--", *kids] if kids else args)


@keys.command(
    cls=RevokeCommand, options_metavar="--store URL", short_help="Withdraw a key at once."
)
@store_options
@click.argument("kid", metavar="KID")
@click.pass_obj
def revoke(clock: Clock, /, *, kid: str, **given: Any) -> None:
    """Withdraw a key at once; if it is active, the next one takes over.

    Caches may hold it for as long as the documents may be cached. Give the --config of the servers.
    """
    settings = issuer_settings(given)
    schedule = settings.schedule()
    with opened(settings, clock) as database:
        if kid in {key.kid for key in database.open().keys if key.expires is not None}:
            database.withdraw([kid])
        else:
            _change(database, lambda contents: _revoked(contents.ring, kid, clock(), schedule))
    click.echo(f"{kid} is revoked")


def _read_pair(path: str, algorithm: str | None) -> KeyPair:
    try:
        return read_private_key(Path(path).read_bytes(), algorithm)
    except OSError as error:
        raise StartUpRefused(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise StartUpRefused(f"{path} cannot be imported: {error}") from None


def _published(contents: Contents, pair: KeyPair, now: float) -> Ring:
    if any(key.kid == pair.kid for key in contents.keys):
        raise StartUpRefused(f"{pair.kid} is in the store already")
    return rings.publish(contents.ring, pair.kid, pair.alg, now)


def _revoked(ring: Ring, kid: str, now: float, schedule: Schedule) -> Ring:
    if ring.get(kid) is None:
        raise StartUpRefused(f"no key has the kid {kid!r:.60}; jwksd keys list shows them all")
    algorithms = sorted({key.alg for key in ring.keys})
    without = rings.revoke(ring, kid, now, schedule)
    return plans.settle(without, algorithms, now, schedule, {})


def _change(
    database: "Database", change: Callable[[Contents], Ring], added: KeyPair | None = None
) -> None:
    """Change the ring, beside servers that may do so too."""
    for _ in range(_TRIES):
        contents = database.open()
        if database.swap(contents.version, contents.ring, change(contents), added) is not None:
            return
    raise StartUpRefused("the servers change their keys without a pause: try again")


def _rows(database: "Database", now: float) -> list[dict[str, object]]:
    """Return a row for each key: those of the ring, then those that signed one token each."""
    contents = database.open()
    usage = database.count({})
    singles = {key.kid: key for key in contents.keys if key.expires is not None}
    ordered = sorted(singles.values(), key=lambda key: (key.created, key.kid))
    listed = [
        *(KeyStatus.stored(key, usage.get(key.kid, Usage())) for key in contents.ring.keys),
        *(KeyStatus.single(key) for key in ordered if key.expires and key.expires > now),
    ]
    return [_row(status) for status in listed]


def _row(status: KeyStatus) -> dict[str, object]:
    row = status.members()
    del row["safe_to_drop_at"]  # which only a server with the schedule knows
    return row


def _time(second: object) -> str:
    if not isinstance(second, int):
        return "-"
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
