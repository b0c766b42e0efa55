"""What all commands on a store share: the options that name the store, and how it is opened.

The options, variables and file are those of the servers: what they read counts here too.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from jwksd.cli.parsing import config_option, flags_of, table_option
from jwksd.config.options import BY_NAME
from jwksd.config.secretfiles import read_keychain
from jwksd.config.settings import IssuerSettings, read_settings
from jwksd.errors import EnvelopeUnreadable, StartUpRefused, StoreAway, StoreUnreachable, WrongUse

if TYPE_CHECKING:
    from jwksd.stores.database import Database

F = TypeVar("F", bound=Callable[..., Any])

Clock = Callable[[], float]
"""Returns the time, a NumericDate. It is the object of click's context."""


def store_options(function: F) -> F:
    """Give a command the options that say which store it works on."""
    for decorate in (
        config_option("the server's TOML file"),
        table_option(BY_NAME["kek-file"]),
        table_option(BY_NAME["store"], text="sqlite:///PATH or postgresql://USER@HOST/NAME"),
    ):
        function = decorate(function)
    return function


def issuer_settings(given: Mapping[str, Any]) -> IssuerSettings:
    """Return the settings of the servers on the store, of what the command was given.

    Raises:
        WrongUse: a value is not allowed.
    """
    return read_settings(flags_of(given), given["config"]).issuer


@contextmanager
def opened(
    settings: IssuerSettings,
    clock: Clock,
    *,
    private_keys: bool = False,
    makes_store: bool = False,
) -> "Iterator[Database]":
    """Open the store for as long as a command works on it.

    Args:
        settings: where it is, and the key-encryption keys.
        clock: returns the time, a NumericDate.
        private_keys: whether the command reads or writes private keys.
        makes_store: whether it makes the store where there is none.

    Raises:
        WrongUse: no store is given.
        StartUpRefused: it cannot be done, with what to do about it.
        StoreUnreachable: the store is away, or cannot be used.
    """
    database = _open(settings, clock, private_keys=private_keys, makes_store=makes_store)
    try:
        yield database
    except StoreAway as error:
        raise StoreUnreachable(f"--store cannot be used: {error.why}") from None
    except EnvelopeUnreadable as error:
        raise StartUpRefused(f"a private key cannot be decrypted: {error.detail}") from None
    finally:
        database.close()


def _open(
    settings: IssuerSettings, clock: Clock, *, private_keys: bool, makes_store: bool
) -> "Database":
    from jwksd.stores.opening import open_database

    if settings.store == "memory":
        raise WrongUse("this needs --store: a store in memory belongs to its server")
    keychain = read_keychain(settings.kek_file, os.environ)
    database = open_database(settings.store, keychain, clock, private_keys=private_keys)
    file = database.file
    if file is not None and not file.exists() and not makes_store:
        raise StartUpRefused(f"there is no store {file} yet")
    return database
