"""The ``jwksd`` command: its groups, its help, its completion, and its exit codes.

0 done; 1 refused; 2 wrong use; 3 the store could not be reached.
"""

import sys
import time
from collections.abc import Callable, Sequence

import click
from click.shell_completion import get_completion_class

from jwksd.cli import serve as serving
from jwksd.cli.kek import kek
from jwksd.cli.keys import keys
from jwksd.cli.parsing import CONTEXT, Group, refusal
from jwksd.errors import StartUpRefused

_INTERRUPTED = 130


@click.group("jwksd", cls=Group, context_settings=CONTEXT)
def root() -> None:
    """Make signing keys, sign JWTs, and publish the keys that verify them as a JWKS."""


for _command in (serving.serve, keys, kek):
    root.add_command(_command)


@root.command("help", short_help="Print the help of a command.")
@click.argument("words", metavar="[COMMAND]", nargs=-1)
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print the help of a command, or of jwksd itself."""
    command: click.Command = root
    context = ctx.find_root()
    for word in words:
        if not isinstance(command, click.Group):
            context.fail(f"{context.command_path} has no commands")
        name, found, _ = command.resolve_command(context, [word])
        assert found is not None  # noqa: S101  # an unknown one has been refused
        command, context = found, click.Context(found, info_name=name, parent=context)
    click.echo(command.get_help(context))


@root.command(short_help="Print the script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a shell completes commands and options.

    In bash: eval "$(jwksd completion bash)"
    """
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  # click has all three
    complete = found(root, {}, "jwksd", "_JWKSD_COMPLETE")
    # Not complete.source(), which first runs bash to see whether it is a new one.
    click.echo(complete.source_template % complete.source_vars())


def main(arguments: Sequence[str] | None = None, clock: Callable[[], float] = time.time) -> None:
    """Run the command.

    Args:
        arguments: its words; those of the process where None is given.
        clock: returns the time, a NumericDate.

    Raises:
        SystemExit: with the exit code, unless all was done.
    """
    run(root, "jwksd", arguments, clock)


def serve(arguments: Sequence[str]) -> None:
    """Run ``jwksd serve`` without the word, for ``main.py``."""
    run(serving.serve, "main.py", arguments, time.time)


def run(
    command: click.Command,
    name: str,
    arguments: Sequence[str] | None,
    clock: Callable[[], float],
) -> None:
    """Run a command of click; whatever is refused is one line on stderr."""
    words = None if arguments is None else list(arguments)
    try:
        code = command.main(words, prog_name=name, standalone_mode=False, obj=clock)
    except click.UsageError as error:
        print(refusal(error), file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(_INTERRUPTED) from None
    except StartUpRefused as refused:
        print(refused.code, file=sys.stderr)
        raise SystemExit(refused.exit_code) from None
    if code is not None:
        raise SystemExit(code)
