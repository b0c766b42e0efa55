"""The settings of a server and of its issuer: the values of all options, checked together.

Flag over environment over file over default.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jwksd.config.options import BY_NAME, OPTIONS, Option
from jwksd.errors import WrongUse
from jwksd.lifecycle.schedule import Schedule

Flags = Mapping[str, "str | list[str]"]
"""Texts from the command line, by the option's name; a list where it may be repeated."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What is the process's: where it listens, and who may do what."""

    port: int = 8080
    interface: str = "127.0.0.1"
    listen: tuple[str, ...] = ()
    max_connections: int | None = None
    reuse_port: bool = False
    dev: bool = False
    allow_remote_minting: bool = False
    allow_remote_dev: bool = False
    allowed_host: tuple[str, ...] = ()
    cors_origin: tuple[str, ...] = ()
    signing_threads: int = 0
    no_access_log: bool = False


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """What is one issuer's: its name, tokens, keys and schedule. Durations are whole seconds."""

    name: str | None = None
    alg: tuple[str, ...] = ("RS256",)
    rsa_bits: int = 2048
    lifetime: int = 3600
    max_lifetime: int = 86_400
    reserve: int = 8
    max_waiting: int = 256
    max_keys: int = 10_000
    policy: str = "per-token"
    rotation_interval: int = 30 * 86_400
    propagation: int = 86_400
    max_age: int = 3600
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    clock_skew: int = 300
    retention: int | None = None
    store: str = "memory"
    kek_file: tuple[str, ...] = ()
    outage: int = 3600

    @property
    def is_rotating(self) -> bool:
        """Whether one key per algorithm signs for long."""
        return self.policy == "rotating"

    def schedule(self) -> Schedule:
        """Return the numbers of the rotation. A store in memory is never away: its outage is 0.

        Raises:
            WrongUse: they would let a verifier refuse a valid token.
        """
        numbers: dict[str, Any] = {row.name: getattr(self, row.name) for row in fields(Schedule)}
        if self.store == "memory":
            numbers["outage"] = 0
        try:
            return Schedule.of(**numbers)
        except ValueError as error:
            raise WrongUse(str(error)) from None


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of all options."""

    server: ServerSettings = field(default_factory=ServerSettings)
    issuer: IssuerSettings = field(default_factory=IssuerSettings)


_DEFAULTS = {
    row.name: row.default for kind in (ServerSettings, IssuerSettings) for row in fields(kind)
}


def help_of(option: Option) -> str:
    """Return the meaning of an option with its default, where it has one of its own."""
    default = _DEFAULTS[option.field]
    if default is None or default == () or option.is_flag:
        return option.help
    text = ",".join(default) if isinstance(default, tuple) else default
    return f"{option.help} (default: {text})"


def read_settings(flags: Flags, config: str | None) -> Settings:
    """Return the settings of this process: of the flags, its environment and the TOML file.

    Args:
        flags: what the command line says.
        config: the file; None takes the one that ``JWKSD_CONFIG`` names, if any.

    Raises:
        WrongUse: as ``resolve`` does, or the file cannot be read.
    """
    path = os.environ.get("JWKSD_CONFIG") if config is None else config
    return resolve(flags, os.environ, {} if path is None else _read_config(path))


def resolve(flags: Flags, environment: Mapping[str, str], file: Mapping[str, object]) -> Settings:
    """Return the settings from all sources: flag over environment over file over default.

    Args:
        flags: what the command line says.
        environment: the process environment.
        file: the decoded TOML file, by option name.

    Raises:
        WrongUse: a value is not allowed, or values do not go together.
    """
    values: dict[str, object] = {}
    for source in (_from_file(file), _from_environment(environment), _from_flags(flags)):
        _check_address(source)
        if not _ADDRESS.isdisjoint(source):
            values = {name: value for name, value in values.items() if name not in _ADDRESS}
        values |= source
    settings = Settings(_part(ServerSettings, values), _part(IssuerSettings, values))
    _check_lifetime(settings.issuer)
    _check_policy(settings.issuer, values)
    _check_reuse_port(settings)
    return settings


def _part(kind: Any, values: Mapping[str, object]) -> Any:
    """Make the settings of this kind out of those values that are its fields."""
    names = {row.name for row in fields(kind)}
    by_field = {BY_NAME[name].field: value for name, value in values.items()}
    return kind(**{name: value for name, value in by_field.items() if name in names})


def _check_lifetime(settings: IssuerSettings) -> None:
    if settings.lifetime > settings.max_lifetime:
        raise WrongUse(
            f"--lifetime ({settings.lifetime} s) must not be longer than --max-lifetime"
            f" ({settings.max_lifetime} s)"
        )


def _check_policy(settings: IssuerSettings, given: Mapping[str, object]) -> None:
    if settings.is_rotating:
        settings.schedule()
        return
    for option in OPTIONS:
        if option.is_of_rotation and option.name in given:
            raise WrongUse(f"--{option.name} means something with --policy rotating only")


def _check_reuse_port(settings: Settings) -> None:
    if not settings.server.reuse_port:
        return
    if settings.issuer.store == "memory":
        raise WrongUse(
            "--reuse-port needs a --store that the processes share, sqlite:///PATH or"
            " postgresql://…: with keys in memory each would refuse what the others sign"
        )
    if settings.server.listen or settings.server.port == 0:
        raise WrongUse("--reuse-port needs a --port, the same for every process")


_ADDRESS = frozenset({"port", "interface", "listen"})
"""The options that say where to listen. The source that has one of them overrules all of them in
sources of lower rank."""


def _check_address(source: Mapping[str, object]) -> None:
    for name in ("port", "interface"):
        if "listen" in source and name in source:
            raise WrongUse(f"--listen stands instead of --{name}: give one of the two")


def _read_config(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise WrongUse(f"{path} is not TOML: {error}") from None


def _from_file(file: Mapping[str, object]) -> dict[str, object]:
    unknown = sorted(set(file) - set(BY_NAME))
    if unknown:
        raise WrongUse(
            f"unknown key {unknown[0]!r} in the configuration file; known are {', '.join(BY_NAME)}"
        )
    return {
        name: _parse(BY_NAME[name], _texts(name, value), f"{name} in the file")
        for name, value in file.items()
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        option.name: _parse(option, [environment[option.variable]], option.variable)
        for option in OPTIONS
        if option.variable in environment
    }


def _from_flags(flags: Flags) -> dict[str, object]:
    return {
        name: _parse(BY_NAME[name], given if isinstance(given, list) else [given], f"--{name}")
        for name, given in flags.items()
    }


def _texts(name: str, value: object) -> list[str]:
    """Return a TOML value as the texts that it would be on the command line."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, int | str):
        return [str(value)]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value if BY_NAME[name].repeatable else [",".join(value)]
    raise WrongUse(f"{name} in the file must be a text, a number, true, false, or a list of texts")


def _parse(option: Option, texts: list[str], source: str) -> object:
    try:
        parsed = [option.parse(text) for text in texts]
    except ValueError as error:
        named = source if option.secret else f"{source}={','.join(texts)!r:.80}"
        raise WrongUse(f"{named} {error}") from None
    return tuple(parsed) if option.repeatable else parsed[-1]
