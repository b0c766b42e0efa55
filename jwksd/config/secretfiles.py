"""Secrets that are read from files, such as key-encryption keys.

All of them pass one check: a file that others may read is refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jwcrypto.jwk import JWK

from jwksd.errors import StartUpRefused
from jwksd.jose.envelopes import Keychain, read_keks

_OWNER_ONLY = 0o077
_OWNER_AND_GROUP = 0o007


def read_keychain(files: Sequence[str], environment: Mapping[str, str]) -> Keychain | None:
    """Return the key-encryption keys that are given, or None where there are none.

    Raises:
        StartUpRefused: as ``load_keks`` does.
    """
    keks = load_keks(files, environment)
    return Keychain(keks) if keks else None


def load_keks(files: Sequence[str], environment: Mapping[str, str]) -> list[JWK]:
    """Return key-encryption keys: of files, then of ``JWKSD_KEK``, then of a systemd credential.

    Raises:
        StartUpRefused: one cannot be read, or can be read by others too.
    """
    keks: list[JWK] = []
    for name in files:
        keks += _keks_in(name, _read_kek_file(Path(name), forbidden=_OWNER_ONLY))
    if "JWKSD_KEK" in environment:
        keks += _keks_in("JWKSD_KEK", environment["JWKSD_KEK"])
    credential = Path(environment.get("CREDENTIALS_DIRECTORY", ""), "jwksd-kek")
    if "CREDENTIALS_DIRECTORY" in environment and credential.exists():
        # systemd lets the service's user in by an ACL, whose mask is shown as the group's bits.
        keks += _keks_in(str(credential), _read_kek_file(credential, forbidden=_OWNER_AND_GROUP))
    return keks


def read_secret(path: Path, *, forbidden: int = _OWNER_ONLY) -> bytes:
    """Return the octets of a file that is a secret.

    Args:
        path: the file.
        forbidden: bits of its mode that must not be set.

    Raises:
        StartUpRefused: it cannot be read, or can be read by others too.
    """
    try:
        if path.stat().st_mode & forbidden:
            raise StartUpRefused(f"{path} can be read by others: chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise StartUpRefused(f"cannot read {path}: {error.strerror}") from None


def _read_kek_file(path: Path, *, forbidden: int) -> str:
    try:
        return read_secret(path, forbidden=forbidden).decode("utf-8")
    except ValueError:
        raise StartUpRefused(f"{path} holds no key-encryption keys: it is no text") from None


def _keks_in(source: str, text: str) -> list[JWK]:
    try:
        return read_keks(text)
    except ValueError as error:
        raise StartUpRefused(f"{source} holds no key-encryption keys: {error}") from None
