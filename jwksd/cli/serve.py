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
    """Run the server until SIGINT or SIGTERM: log on stderr, greeting on stdout.

    Raises:
        StartUpRefused: it cannot start.
    """
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner, textFileLogObserver

    from jwksd.signals import ignore_signals
    from jwksd.tap import make_daemon

    try:
        service = make_daemon(settings, reactor)
        service.privilegedStartService()
        log = textFileLogObserver(sys.stderr)
        globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
        # Not before it runs: until then a signal would end the process out of order.
        reactor.callWhenRunning(start, service, reactor)
        reactor.run()
        ignore_signals()
    except KeyboardInterrupt:  # before the reactor runs, which has a handler of its own
        raise SystemExit(128 + signal.SIGINT) from None


def start(service: "Daemon", reactor: "IReactorCore") -> None:
    """Start the service, have the reactor stop it, and greet."""
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    try:
        print(greeting(service), flush=True)
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
