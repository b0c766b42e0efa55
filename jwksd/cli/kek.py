"""``jwksd kek``: the keys that encrypt private keys in a store."""

from typing import Any

import click
from jwcrypto.jwk import JWK

from jwksd.cli.parsing import Group
from jwksd.cli.store import Clock, issuer_settings, opened, store_options
from jwksd.jose.envelopes import write_kek


@click.group(cls=Group, short_help="Make and change the keys that encrypt private keys at rest.")
def kek() -> None:
    """Make and change key-encryption keys (KEKs), which encrypt the private keys in a store."""


@kek.command(options_metavar="> FILE", short_help="Print a new key-encryption key.")
def new() -> None:
    """Print a new key-encryption key. It is a secret: say umask 077 before."""
    click.echo(write_kek(JWK.generate(kty="oct", size=256)))


@kek.command(
    options_metavar="--store URL --kek-file FILE",
    short_help="Encrypt private keys under the first one.",
)
@store_options
@click.pass_obj
def rewrap(clock: Clock, /, **given: Any) -> None:
    """Encrypt every private key in the store under the first key-encryption key of FILE.

    The keys that they are under now must be in FILE too, and in those of the servers. It can be
    broken off and run again.
    """
    with opened(issuer_settings(given), clock, private_keys=True) as database:
        database.open()
        keychain = database.keychain
        assert keychain is not None  # noqa: S101  # a store with private keys is not opened without
        count = database.rewrap()
        click.echo(f"{count} private keys rewrapped; all are under {keychain.first} now")
