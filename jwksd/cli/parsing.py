"""What all commands have in common: options from the table, ``-h``, ``--version``, did-you-mean.

A mistake in the words of a command is one line on stderr that says what is wrong and where the help
is, as every other refusal is.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import click

from jwksd import __version__
from jwksd.config.options import OPTIONS, Option
from jwksd.config.settings import help_of

F = TypeVar("F", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"]}

_FILES = ("kek-file",)
"""Options whose value a shell completes to the name of a file."""


def file_name() -> click.Path:
    """Return the type of a file's name: a shell completes it, and nothing is looked at yet."""
    return click.Path(readable=False)


class Versioned(click.Command):
    """A command or group that also takes ``--version``."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), _VERSION]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click does not always say whose words were wrong
            raise


class Command(Versioned):
    """A command whose help has its options under headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # click would quote what is too much, and that may be a password or a key.
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            ctx.fail("Wrong number of arguments")
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "heading", None) or "Options"
                sections.setdefault(heading, []).append(record)
        sections["Options"] = sections.pop("Options")  # those that every command has come last
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Group(Versioned, click.Group):
    """A command that has commands of its own. Without one of them it prints its help."""

    command_class = Command
    group_class = type

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            meant = did_you_mean(args[0], self.list_commands(ctx))
            raise UnknownCommand(f"Unknown command: {args[0]:.60}{meant}", ctx)
        return super().resolve_command(ctx, args)


class UnknownCommand(click.UsageError):
    """There is no such command in the group."""


class TableOption(click.Option):
    """An option of the table, under a heading of the help."""

    def __init__(self, *arguments: Any, heading: str | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.heading = heading


def table_option(
    option: Option, *, heading: str | None = None, text: str | None = None
) -> Callable[[F], F]:
    """Return a decorator that gives a command an option of the table.

    click hands over its text as given; ``config`` reads it, as it reads variables and the file.

    Args:
        option: the row.
        heading: that of the help under which it stands.
        text: what its help says, where that differs from the table's.
    """
    names = [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]
    named: dict[str, Any] = {"is_flag": True} if option.is_flag else {}
    if not option.is_flag:
        kind = file_name() if option.name in _FILES else None
        named = {"multiple": option.repeatable, "type": kind, "metavar": "FILE" if kind else "TEXT"}
    return click.option(
        *names,
        _key(option),
        cls=TableOption,
        heading=heading,
        help=text or help_of(option),
        **named,
    )


def config_option(text: str) -> Callable[[F], F]:
    """Return a decorator that gives a command ``--config``."""
    return click.option("--config", metavar="FILE", type=file_name(), help=text)


def flags_of(given: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the texts of those options of the table that were given, by their names."""
    flags: dict[str, str | list[str]] = {}
    for option in OPTIONS:
        value = given.get(_key(option))
        if option.is_flag and value:
            flags[option.name] = "true"
        elif option.repeatable and value:
            flags[option.name] = list(value)
        elif isinstance(value, str):
            flags[option.name] = value
    return flags


def refusal(error: click.UsageError) -> str:
    """Return the line that says what is wrong with the words of a command."""
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        names = error.ctx.command.get_params(error.ctx) if error.ctx else []
        known = [name for parameter in names for name in parameter.opts]
        meant = did_you_mean(error.option_name, known)
        message = f"option {error.option_name:.60} not recognized{meant}"
    path = error.ctx.command_path if error.ctx else "jwksd"
    listed = "commands" if isinstance(error, UnknownCommand) else "options"
    return f"jwksd: {' '.join(message.split())} ({path} --help lists the {listed})"


def did_you_mean(word: str, known: list[str]) -> str:
    """Return the words that propose what was probably meant; empty where nothing is near."""
    near = [name for name in known if name.startswith(word)] or get_close_matches(word, known, n=1)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _key(option: Option) -> str:
    """Return the name under which click hands over the value of an option."""
    return option.name.replace("-", "_")


def _print_version(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        click.echo(f"jwksd {__version__}")
        ctx.exit()


_VERSION = click.Option(
    ["--version"],
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
