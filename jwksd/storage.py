"""Where the options say that keys are kept: the store, and the keys that encrypt what is in it.

SQLAlchemy is imported only where ``--store`` asks for a database: it is an extra, and takes time.
"""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from jwcrypto.jwk import JWK

from jwksd.config.settings import Settings
from jwksd.errors import StartUpRefused
from jwksd.interfaces import IStore, IThreadReactor
from jwksd.jose.envelopes import Keychain, read_keks
from jwksd.stores.memory import MemoryStore

if TYPE_CHECKING:
    from jwksd.stores.database import Database


def make_store(settings: Settings, reactor: IThreadReactor) -> IStore:
    """Where the keys are kept; nothing is connected yet.

    Raises:
        StartUpRefused: what it needs is not installed, or not given.
    """
    if settings.store == "memory":
        return MemoryStore()
    database = open_database(settings, needs_keks=settings.policy == "rotating")
    from jwksd.stores.sql import SqlStore

    return SqlStore(database, reactor)


def open_database(settings: Settings, *, needs_keks: bool) -> "Database":
    """The database of ``--store``, with the key-encryption keys that there are.

    Raises:
        StartUpRefused: what it needs is not installed, or not given.
    """
    keks = load_keks(settings.kek_file, os.environ)
    if needs_keks and not keks:
        raise StartUpRefused(
            "--store keeps private keys encrypted only: make a key-encryption key with"
            " (umask 077; jwksd kek new > kek.txt), and give it by --kek-file kek.txt"
        )
    try:
        if find_spec("alembic") is None:
            raise ModuleNotFoundError(name="alembic")
        from jwksd.stores.database import Database

        return Database(settings.store, Keychain(keks) if keks else None)
    except ImportError as error:
        raise StartUpRefused(
            f"--store needs {error.name or error}: python -m pip install 'jwksd[sql]'"
        ) from None
    except Exception as error:  # SQLAlchemy and the drivers raise what they like, the URL in it
        raise StartUpRefused(
            f"--store is no URL that can be used ({type(error).__name__}): it must be such as"
            " sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None


def load_keks(files: Sequence[str], environment: Mapping[str, str]) -> list[JWK]:
    """Key-encryption keys: of files, then of ``JWKSD_KEK``, then of a systemd credential.

    Raises:
        StartUpRefused: one cannot be read, or can be read by others too.
    """
    keks: list[JWK] = []
    for name in files:
        keks += _keks_in(name, _read_private(Path(name), others=0o077))
    if "JWKSD_KEK" in environment:
        keks += _keks_in("JWKSD_KEK", environment["JWKSD_KEK"])
    credential = Path(environment.get("CREDENTIALS_DIRECTORY", ""), "jwksd-kek")
    if "CREDENTIALS_DIRECTORY" in environment and credential.exists():
        # systemd lets the service's user in by an ACL, whose mask is shown as the group's bits.
        keks += _keks_in(str(credential), _read_private(credential, others=0o007))
    return keks


def _keks_in(source: str, text: str) -> list[JWK]:
    try:
        return read_keks(text)
    except ValueError as error:
        raise StartUpRefused(f"{source} holds no key-encryption keys: {error}") from None


def _read_private(path: Path, *, others: int) -> str:
    try:
        if path.stat().st_mode & others:
            raise StartUpRefused(f"{path} can be read by others: chmod 600 {path}")
        return path.read_text("utf-8")
    except OSError as error:
        raise StartUpRefused(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise StartUpRefused(f"{path} holds no key-encryption keys: it is no text") from None
