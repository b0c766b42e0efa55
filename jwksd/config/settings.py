"""Every option once: its name, default, meaning and how its text is read.

The same table makes the command line, the environment variables (``JWKSD_MAX_KEYS``) and the keys
of the TOML file (``max-keys``). Flag over environment over file over default.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address
from urllib.parse import urlsplit

from jwksd.errors import StartUpRefused
from jwksd.jose.algorithms import ALGORITHMS, MAX_RSA_BITS, MIN_RSA_BITS
from jwksd.lifecycle.schedule import Schedule

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one server. Durations are whole seconds."""

    port: int = 8080
    interface: str = "127.0.0.1"
    listen: tuple[str, ...] = ()
    issuer: str | None = None
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
    dev: bool = False
    allow_remote_minting: bool = False
    allow_remote_dev: bool = False
    allowed_host: tuple[str, ...] = ()
    cors_origin: tuple[str, ...] = ()
    no_access_log: bool = False
    reuse_port: bool = False
    signing_threads: int = 0

    def schedule(self) -> Schedule:
        """The numbers of the rotation.

        Raises:
            StartUpRefused: they would let a verifier refuse a valid token.
        """
        numbers = {field.name: getattr(self, field.name) for field in fields(Schedule)}
        if self.store == "memory":
            numbers["outage"] = 0
        try:
            return Schedule.of(**numbers)
        except ValueError as error:
            raise StartUpRefused(str(error)) from None


def duration(text: str) -> int:
    """Seconds in ``90``, ``90s``, ``15m``, ``1h`` or ``30d``.

    Raises:
        ValueError: the text is none of these, or is no time at all.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError("must be a duration above zero, such as 90, 90s, 15m, 1h or 30d")
    return int(match[1]) * _UNITS[match[2]]


def _duration_or_zero(text: str) -> int:
    return 0 if text == "0" else duration(text)


def _policy(text: str) -> str:
    if text not in ("per-token", "rotating"):
        raise ValueError("must be per-token or rotating")
    return text


def _store(text: str) -> str:
    if text == "memory" or re.fullmatch(r"(sqlite:///|postgresql://)\S+", text):
        return text
    raise ValueError("must be memory, sqlite:///PATH or postgresql://USER@HOST/NAME")


def _kek_file(text: str) -> str:
    if not text or "jwksd-kek-" in text:
        raise ValueError("must be the name of a file; JWKSD_KEK can hold the key itself")
    return text


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) is None or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _algorithms(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is not known; known are {', '.join(ALGORITHMS)}")
    if len(set(names)) < len(names):
        raise ValueError("names an algorithm twice")
    return names


def _issuer(text: str) -> str:
    try:
        url = urlsplit(text)
        fine = url.scheme in ("http", "https") and url.hostname and not url.query + url.fragment
    except ValueError:
        fine = False
    if not fine or re.search(r"[^\x21-\x7e]|[?#]", text):
        raise ValueError(
            "must be a URL without query and fragment, such as https://issuer.example (RFC 8414 §2)"
        )
    return text


def _interface(text: str) -> str:
    try:
        if text != "localhost":
            ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address such as 127.0.0.1 or ::1, or localhost") from None
    return text


def _host(text: str) -> str:
    if re.fullmatch(r"(?=.{1,253}$)([a-z0-9_-]+\.)*[a-z0-9_-]+\.?", text, re.I | re.A) is None:
        raise ValueError("must be a host name such as jwksd.example, without scheme, port and path")
    return text


def _origin(text: str) -> str:
    try:
        fine = urlsplit(text).port != 0  # raises, too, where an address or a port is none
    except ValueError:
        fine = False
    if (
        not fine
        or re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+", text, re.I | re.A) is None
    ):
        raise ValueError("must be an origin such as https://app.example, without a path")
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``parse`` turns its text into its value, or raises ValueError with the reason.

    The value of a ``secret`` one is told to nobody: there may be a password or a key in it.
    """

    name: str
    parse: Callable[[str], object]
    help: str
    short: str | None = None
    repeatable: bool = False
    secret: bool = False

    @property
    def field(self) -> str:
        """Its attribute in ``Settings``."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"JWKSD_{self.field.upper()}"

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone on the command line."""
        return self.parse is _flag


OPTIONS: tuple[Option, ...] = (
    Option("port", _integer(0, 65_535), "TCP port; 0 takes any that is free", short="p"),
    Option("interface", _interface, "address to bind; beyond loopback see --allow-remote-minting"),
    Option(
        "listen",
        _text,
        "a Twisted endpoint description instead of --port and --interface; may be repeated",
        repeatable=True,
    ),
    Option("issuer", _issuer, "the iss of tokens (default: http://localhost:<port>)"),
    Option("alg", _algorithms, "signature algorithms, comma-separated; the first is the default"),
    Option("rsa-bits", _integer(MIN_RSA_BITS, MAX_RSA_BITS), "size of RSA keys"),
    Option("lifetime", duration, "of tokens and their keys: 90, 90s, 15m, 1h, 30d"),
    Option("max-lifetime", duration, "the longest lifetime that a request may ask for"),
    Option(
        "reserve",
        _integer(0, 10_000),
        "keys of each algorithm to keep ready; per-token: at least 128, save for RSA",
    ),
    Option("max-waiting", _integer(0, 100_000), "requests that may wait for a key; others get 503"),
    Option("max-keys", _integer(1, 10_000_000), "live keys; past it minting answers 503"),
    Option("policy", _policy, "per-token, or rotating: one key per algorithm signs for long"),
    Option("rotation-interval", duration, "rotating: how long a key signs"),
    Option("propagation", duration, "rotating: how long a key is published before it signs"),
    Option("max-age", duration, "rotating: how long the documents may be cached"),
    Option(
        "stale-while-revalidate",
        _duration_or_zero,
        "rotating: how much longer while a cache asks anew (default: --max-age, if that fits)",
    ),
    Option(
        "stale-if-error",
        _duration_or_zero,
        "rotating: how much longer while the server fails (default: what --propagation leaves)",
    ),
    Option("clock-skew", _duration_or_zero, "rotating: how far off verifiers' clocks may be"),
    Option(
        "retention",
        duration,
        "rotating: how long a replaced key is published"
        " (default: --max-lifetime + --clock-skew, and with a --store + --outage)",
    ),
    Option(
        "store",
        _store,
        "memory, sqlite:///PATH, or postgresql://USER@HOST/NAME for many nodes",
        secret=True,
    ),
    Option(
        "kek-file",
        _kek_file,
        "a file with the keys that encrypt private keys in the store; may be repeated",
        repeatable=True,
        secret=True,
    ),
    Option(
        "outage",
        _duration_or_zero,
        "rotating: how long a node signs on while the store is away",
    ),
    Option("dev", _flag, "open /dev, by which any client can change the server"),
    Option(
        "allow-remote-minting", _flag, "let other machines in, and mint tokens for anyone there"
    ),
    Option("allow-remote-dev", _flag, "let other machines change the server by /dev"),
    Option(
        "allowed-host",
        _host,
        "one more host name by which this server may be asked; may be repeated",
        repeatable=True,
    ),
    Option(
        "cors-origin",
        _origin,
        "an origin whose pages may call /auth and /token; may be repeated",
        repeatable=True,
    ),
    Option("no-access-log", _flag, "write no line for each request"),
    Option("reuse-port", _flag, "let several processes with one --store listen on one --port"),
    Option("signing-threads", _integer(0, 64), "rotating: threads for RSA signatures; 0 for none"),
)

_BY_NAME = {option.name: option for option in OPTIONS}


def resolve(
    flags: Mapping[str, str | list[str]],
    environment: Mapping[str, str],
    file: Mapping[str, object],
) -> Settings:
    """The settings from all sources: flag over environment over file over default.

    Args:
        flags: texts from the command line, by option name; a list where it may be repeated.
        environment: the process environment.
        file: the decoded TOML file, by option name.

    Raises:
        StartUpRefused: a value is not allowed, or values do not go together.
    """
    values: dict[str, object] = {}
    for source in (_from_file(file), _from_environment(environment), _from_flags(flags)):
        _check_address(source)
        if not _ADDRESS.isdisjoint(source):
            values = {name: value for name, value in values.items() if name not in _ADDRESS}
        values |= source
    settings = Settings(**{_BY_NAME[name].field: value for name, value in values.items()})  # type: ignore[arg-type]
    if settings.lifetime > settings.max_lifetime:
        raise StartUpRefused(
            f"--lifetime ({settings.lifetime} s) must not be longer than --max-lifetime"
            f" ({settings.max_lifetime} s)"
        )
    _check_policy(settings, values)
    _check_reuse_port(settings)
    return settings


def _check_reuse_port(settings: Settings) -> None:
    if not settings.reuse_port:
        return
    if settings.store == "memory":
        raise StartUpRefused(
            "--reuse-port needs a --store that the processes share, sqlite:///PATH or"
            " postgresql://…: with keys in memory each would refuse what the others sign"
        )
    if settings.listen or settings.port == 0:
        raise StartUpRefused("--reuse-port needs a --port, the same for every process")


_ROTATING = (
    *(field.name.replace("_", "-") for field in fields(Schedule) if field.name != "max_lifetime"),
    "signing-threads",
)


def _check_policy(settings: Settings, given: Mapping[str, object]) -> None:
    if settings.policy == "rotating":
        settings.schedule()
        return
    for name in _ROTATING:
        if name in given:
            raise StartUpRefused(f"--{name} means something with --policy rotating only")


_ADDRESS = frozenset({"port", "interface", "listen"})
"""These say where to listen; the source that says it overrules all of what others say of it."""


def _check_address(source: Mapping[str, object]) -> None:
    for name in ("port", "interface"):
        if "listen" in source and name in source:
            raise StartUpRefused(f"--listen stands instead of --{name}: give one of the two")


def _from_file(file: Mapping[str, object]) -> dict[str, object]:
    unknown = sorted(set(file) - set(_BY_NAME))
    if unknown:
        raise StartUpRefused(
            f"unknown key {unknown[0]!r} in the configuration file; known are {', '.join(_BY_NAME)}"
        )
    return {
        name: _parse(_BY_NAME[name], _texts(name, value), f"{name} in the file")
        for name, value in file.items()
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        option.name: _parse(option, [environment[option.variable]], option.variable)
        for option in OPTIONS
        if option.variable in environment
    }


def _from_flags(flags: Mapping[str, str | list[str]]) -> dict[str, object]:
    return {
        name: _parse(_BY_NAME[name], given if isinstance(given, list) else [given], f"--{name}")
        for name, given in flags.items()
    }


def _texts(name: str, value: object) -> list[str]:
    """A TOML value as the texts that it would be on the command line."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, int | str):
        return [str(value)]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value if _BY_NAME[name].repeatable else [",".join(value)]
    raise StartUpRefused(
        f"{name} in the file must be a text, a number, true, false, or a list of texts"
    )


def _parse(option: Option, texts: list[str], source: str) -> object:
    try:
        parsed = [option.parse(text) for text in texts]
    except ValueError as error:
        told = source if option.secret else f"{source}={','.join(texts)!r:.80}"
        raise StartUpRefused(f"{told} {error}") from None
    return tuple(parsed) if option.repeatable else parsed[-1]
