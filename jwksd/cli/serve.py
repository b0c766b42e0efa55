"""``jwksd serve``: the server in the foreground."""

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from jwksd.cli.parsing import CONTEXT, Command, config_option, flags_of, table_option
from jwksd.config.options import OPTION_GROUPS
from jwksd.config.settings import Settings, read_settings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

    from jwksd.service import Daemon
    from jwksd.signals import HangUp


@click.command(
    cls=Command, context_settings=CONTEXT, short_help="Run the server until it is stopped."
)
@config_option("a TOML file with any of these options")
def serve(*, config: str | None, **given: Any) -> None:
    """Sign JWTs and publish the keys that verify them as a JWKS.

    Each option is also an environment variable (JWKSD_MAX_KEYS) and a key of the configuration file
    (max-keys).
    """
    run(read_settings(flags_of(given), config))


for _heading, _options in OPTION_GROUPS.items():
    for _option in _options:
        serve = table_option(_option, heading=_heading)(serve)


def run(settings: Settings) -> None:
    """Run the server until SIGINT or SIGTERM, or its terminal is closed.

    The log is on stderr, the greeting on stdout.

    Raises:
        StartUpRefused: it cannot start.
    """
    from twisted.internet import reactor

    from jwksd.logs import begin_logging
    from jwksd.signals import HangUp, ignore_signals, ignore_unhandled
    from jwksd.tap import make_daemon

    ignore_unhandled()
    hang_up = HangUp(reactor, reload)
    try:
        service = make_daemon(settings, reactor)
        service.privilegedStartService()
        begin_logging(reactor)
        # Not before it runs: until then a signal would end the process out of order.
        reactor.callWhenRunning(start, service, reactor, hang_up)
        reactor.run()
        ignore_signals()
    except KeyboardInterrupt:  # before the reactor runs, which has a handler of its own
        raise SystemExit(128 + signal.SIGINT) from None


def reload() -> None:
    """Say that there is nothing to read anew."""
    from twisted.logger import Logger

    Logger("jwksd").info("SIGHUP: the log is standard error and no option is read anew; going on")


def start(service: "Daemon", reactor: "IReactorCore", hang_up: "HangUp") -> None:
    """Start the service, have the reactor stop it, and greet."""
    service.startService()
    hang_up.take_over()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    try:
        print(f"{greeting(service)}\n", end="", flush=True)
    except OSError:  # nobody reads it; nor is it tried again when the process ends
        sys.stdout = None


def greeting(service: "Daemon") -> str:
    """Return where it listens, and two lines to try."""
    from jwksd.web.endpoints.listener import base_url

    urls = [url for url in map(base_url, service.listener.addresses) if url is not None]
    if not urls:
        return f"jwksd is ready: {', '.join(map(str, service.listener.addresses))}"
    return (
        f"jwksd listens on {', '.join(urls)}; try\n"
        f"  curl -X POST {urls[0]}/auth\n"
        f"  curl {urls[0]}/.well-known/jwks.json"
    )
