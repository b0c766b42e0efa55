"""Every option once: its name, its meaning, and how its text is read.

The one table makes the options of the command line and of twistd, the environment variables
(``JWKSD_MAX_KEYS``) and the keys of the TOML file (``max-keys``). Defaults are those of the fields
in ``settings``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jwksd.config import values
from jwksd.jose.algorithms import MAX_RSA_BITS, MIN_RSA_BITS


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Args:
        name: as on the command line, without the dashes.
        parse: turns its text into its value, or raises ValueError with the reason.
        help: its meaning, without its default.
        short: its one-letter form.
        repeatable: it may be given more than once; its value is then a tuple.
        secret: no message quotes its value, for there may be a password or a key in it.
        attribute: its field in the settings, where that has another name.
    """

    name: str
    parse: Callable[[str], object]
    help: str
    short: str | None = None
    repeatable: bool = False
    secret: bool = False
    attribute: str | None = None

    @property
    def field(self) -> str:
        """Its field in ``ServerSettings`` or ``IssuerSettings``."""
        return self.attribute or self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"JWKSD_{self.name.replace('-', '_').upper()}"

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone on the command line."""
        return self.parse is values.flag

    @property
    def is_of_rotation(self) -> bool:
        """Whether it means something with ``--policy rotating`` only; its help begins so."""
        return self.help.startswith("rotating: ")


OPTION_GROUPS: dict[str, tuple[Option, ...]] = {
    "Where it listens": (
        Option("port", values.integer(0, 65_535), "TCP port; 0 takes any that is free", short="p"),
        Option(
            "interface",
            values.interface,
            "address to bind; beyond loopback see --allow-remote-minting",
        ),
        Option(
            "listen",
            values.text,
            "a Twisted endpoint description instead of --port and --interface; may be repeated",
            repeatable=True,
        ),
        Option(
            "max-connections",
            values.integer(1, 1_000_000),
            "open connections in all; idle ones give way to new ones"
            " (default: 10000, or as many as the limit of open files allows)",
        ),
        Option(
            "reuse-port", values.flag, "let several processes with one --store listen on one --port"
        ),
    ),
    "Who may do what": (
        Option("dev", values.flag, "open /dev, by which any client can change the server"),
        Option(
            "allow-remote-minting",
            values.flag,
            "let other machines in, and mint tokens for anyone there",
        ),
        Option("allow-remote-dev", values.flag, "let other machines change the server by /dev"),
        Option(
            "allowed-host",
            values.host,
            "one more host name by which this server may be asked; may be repeated",
            repeatable=True,
        ),
        Option(
            "cors-origin",
            values.origin,
            "an origin whose pages may call /auth and /token; may be repeated",
            repeatable=True,
        ),
    ),
    "Tokens and keys": (
        Option(
            "issuer",
            values.issuer,
            "the iss of tokens (default: http://localhost:<port>)",
            attribute="name",
        ),
        Option(
            "alg",
            values.algorithms,
            "signature algorithms, comma-separated; the first is the default",
        ),
        Option("rsa-bits", values.integer(MIN_RSA_BITS, MAX_RSA_BITS), "size of RSA keys"),
        Option("lifetime", values.duration, "of tokens and their keys: 90, 90s, 15m, 1h, 30d"),
        Option("max-lifetime", values.duration, "the longest lifetime that a request may ask for"),
        Option(
            "reserve",
            values.integer(0, 10_000),
            "keys of each algorithm to keep ready; per-token: at least 128, save for RSA",
        ),
        Option(
            "max-waiting",
            values.integer(0, 100_000),
            "requests that may wait for a key; others get 503",
        ),
        Option("max-keys", values.integer(1, 10_000_000), "live keys; past it minting answers 503"),
    ),
    "Rotation": (
        Option(
            "policy", values.policy, "per-token, or rotating: one key per algorithm signs for long"
        ),
        Option("rotation-interval", values.duration, "rotating: how long a key signs"),
        Option(
            "propagation", values.duration, "rotating: how long a key is published before it signs"
        ),
        Option("max-age", values.duration, "rotating: how long the documents may be cached"),
        Option(
            "stale-while-revalidate",
            values.duration_or_zero,
            "rotating: how much longer while a cache asks anew (default: --max-age, if that fits)",
        ),
        Option(
            "stale-if-error",
            values.duration_or_zero,
            "rotating: how much longer while the server fails (default: what --propagation leaves)",
        ),
        Option(
            "clock-skew", values.duration_or_zero, "rotating: how far off verifiers' clocks may be"
        ),
        Option(
            "retention",
            values.duration,
            "rotating: how long a replaced key is published"
            " (default: --max-lifetime + --clock-skew, and with a --store + --outage)",
        ),
        Option(
            "signing-threads",
            values.integer(0, 64),
            "rotating: threads for RSA signatures; 0 for none",
        ),
    ),
    "Where keys are kept": (
        Option(
            "store",
            values.store,
            "memory, sqlite:///PATH, or postgresql://USER@HOST/NAME for many servers",
            secret=True,
        ),
        Option(
            "kek-file",
            values.kek_file,
            "a file with the keys that encrypt private keys in the store; may be repeated",
            repeatable=True,
            secret=True,
        ),
        Option(
            "outage",
            values.duration_or_zero,
            "rotating: how long a server signs on while the store is away",
        ),
    ),
    "Logs": (Option("no-access-log", values.flag, "write no line for each request"),),
}
"""The options under the headings of ``jwksd serve --help``."""

OPTIONS = tuple(option for group in OPTION_GROUPS.values() for option in group)

BY_NAME = {option.name: option for option in OPTIONS}
