"""Which store a URL means, and the keys that encrypt the private keys in it.

SQLAlchemy is imported only where a database is asked for: it is an extra, and takes time.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jwksd.errors import StartUpRefused
from jwksd.interfaces import IStore, IThreadReactor
from jwksd.jose.envelopes import Keychain
from jwksd.stores.memory import MemoryStore

if TYPE_CHECKING:
    from jwksd.stores.database import Database


def make_store(
    url: str, keychain: Keychain | None, reactor: IThreadReactor, *, private_keys: bool
) -> IStore:
    """Make the store of a URL; nothing is connected yet.

    Args:
        url: ``memory``, ``sqlite:///PATH`` or ``postgresql://…``.
        keychain: the key-encryption keys, if there are any.
        reactor: the one on whose thread the store is called; its time is the wall clock.
        private_keys: whether private keys are to be kept, which a database does encrypted only.

    Raises:
        StartUpRefused: what it needs is not installed, or not given.
    """
    if url == "memory":
        return MemoryStore()
    database = open_database(url, keychain, reactor.seconds, private_keys=private_keys)
    from jwksd.stores.sql import SqlStore

    return SqlStore(database, reactor)


def open_database(
    url: str, keychain: Keychain | None, clock: Callable[[], float], *, private_keys: bool
) -> "Database":
    """Return the database of a URL; nothing is connected yet.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.
        keychain: the key-encryption keys, if there are any.
        clock: returns the time, a NumericDate.
        private_keys: whether private keys are to be kept or read.

    Raises:
        StartUpRefused: what it needs is not installed, or not given.
    """
    if private_keys and keychain is None:
        raise StartUpRefused(
            "--store keeps private keys encrypted only: make a key-encryption key with"
            " (umask 077; jwksd kek new > kek.txt), and give it by --kek-file kek.txt"
        )
    try:
        if find_spec("alembic") is None:
            raise ModuleNotFoundError(name="alembic")
        from jwksd.stores.database import Database

        return Database(url, keychain, clock)
    except ImportError as error:
        raise StartUpRefused(
            f"--store needs {error.name or error}: python -m pip install 'jwksd[sql]'"
        ) from None
    except Exception as error:  # SQLAlchemy and the drivers raise what they like, the URL in it
        raise StartUpRefused(
            f"--store is no URL that can be used ({type(error).__name__}): it must be such as"
            " sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None
