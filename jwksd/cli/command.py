"""The ``jwksd`` command."""

import signal
import sys
from collections.abc import Sequence

from twisted.internet.interfaces import IReactorCore
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python import usage

from jwksd.cli.admin import KekOptions, KeysOptions
from jwksd.config.commandline import Options, PlainOptions
from jwksd.errors import StartUpRefused
from jwksd.service import Daemon
from jwksd.tap import makeService
from jwksd.web.endpoints.listener import base_url


class CommandOptions(PlainOptions):
    """``jwksd COMMAND``."""

    synopsis = "Usage: jwksd COMMAND [options]"
    longdesc = "Each command has a --help of its own."
    subCommands = [
        ["serve", None, Options, "Run the server until it is stopped."],
        ["keys", None, KeysOptions, "List, export and import keys of a store."],
        ["kek", None, KekOptions, "Make and change the keys that encrypt private keys at rest."],
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command; ``arguments`` are by default those of the process."""
    command = CommandOptions()
    try:
        command.parseOptions(arguments)
    except usage.UsageError as error:
        raise StartUpRefused(f"{error} (--help lists the commands)") from None
    if command.subCommand is None:
        raise StartUpRefused("no command given: try jwksd serve, or jwksd --help")
    if isinstance(command.subOptions, Options):
        run(command.subOptions)
    else:
        command.subOptions.run()


def serve(arguments: Sequence[str]) -> None:
    """``jwksd serve`` without the word, for ``main.py``."""
    options = Options()
    options.parseOptions(arguments)
    run(options)


def run(options: Options) -> None:
    """Run the server in the foreground until SIGINT or SIGTERM: log on stderr, greeting on stdout.

    Raises:
        StartUpRefused: it cannot start.
    """
    from twisted.internet import reactor

    log = textFileLogObserver(sys.stderr)
    try:
        service = makeService(options)
        service.privilegedStartService()
        globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
        # Not before it runs: until then a signal would end the process out of order.
        reactor.callWhenRunning(start, service, reactor)
        reactor.run()
    except KeyboardInterrupt:  # before the reactor runs, which has a handler of its own
        raise SystemExit(128 + signal.SIGINT) from None


def start(service: Daemon, reactor: IReactorCore) -> None:
    """Start the service, have the reactor stop it, and greet."""
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    print(greeting(service), flush=True)


def greeting(service: Daemon) -> str:
    """Where it listens, and two lines to try."""
    urls = [url for url in map(base_url, service.listener.addresses) if url is not None]
    if not urls:
        return f"jwksd is ready: {', '.join(map(str, service.listener.addresses))}"
    return (
        f"jwksd listens on {', '.join(urls)}; try\n"
        f"  curl -X POST {urls[0]}/auth\n"
        f"  curl {urls[0]}/.well-known/jwks.json"
    )
