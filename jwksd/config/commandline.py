"""The options as ``twistd jwksd`` takes them: Twisted's ``usage.Options``, made from the table."""

from collections.abc import Callable, Sequence

from twisted.python import usage

from jwksd import __version__
from jwksd.config.options import OPTIONS, Option
from jwksd.config.settings import Settings, help_of, read_settings
from jwksd.errors import WrongUse


class Options(usage.Options):
    """The options of ``twistd jwksd``, which may also come from the environment and from a file.

    After parsing, ``settings`` holds the result of flags, environment and file together. What
    cannot work is refused with WrongUse, in one line.
    """

    synopsis = "Usage: twistd [options] jwksd [options]"
    longdesc = (
        "Signs JWTs and publishes the keys that verify them as a JWKS. Each option is also an"
        " environment variable (JWKSD_MAX_KEYS) and a key of the configuration file (max-keys)."
    )
    optFlags = [[option.name, option.short, option.help] for option in OPTIONS if option.is_flag]
    optParameters = [
        ["config", None, None, "a TOML file with any of these options"],
        *(
            [option.name, option.short, None, help_of(option)]
            for option in OPTIONS
            if not option.is_flag and not option.repeatable
        ),
    ]
    settings: Settings

    def getSynopsis(self) -> str:
        return self.synopsis

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"jwksd {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise WrongUse(f"{error} (--help lists the options)") from None

    def postOptions(self) -> None:
        given = {
            option.name: "true" if option.is_flag else self[option.name]
            for option in OPTIONS
            if self.get(option.name) or self.get(option.name) == ""
        }
        self.settings = read_settings(given, self["config"])


def _collector(option: Option) -> Callable[[Options, str], None]:
    """Make the method that Twisted calls with each value of an option that may be repeated."""

    def collect(options: Options, text: str) -> None:
        options.setdefault(option.name, []).append(text)

    collect.__doc__ = option.help
    return collect


for _option in OPTIONS:
    if _option.repeatable:
        setattr(Options, f"opt_{_option.name.replace('-', '_')}", _collector(_option))
