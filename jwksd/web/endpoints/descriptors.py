"""File descriptors: how many connections this process may have open."""

from twisted.logger import Logger

from jwksd.errors import StartUpRefused

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

BESIDE = 256
"""Descriptors for all else: the log, files, databases, ports, connections about to close."""

_log = Logger()


def make_room(wanted: int | None, default: int) -> int:
    """Raise the soft limit of open files as far as is needed; return how many connections fit.

    Args:
        wanted: the connections that an option asks for; None takes ``default``, or what fits.

    Raises:
        StartUpRefused: what was asked for does not fit, or nothing does.
    """
    connections = default if wanted is None else wanted
    if resource is None:
        return connections
    allowed = _raise_limit(connections + BESIDE)
    fitting = connections if allowed is None else min(connections, allowed - BESIDE)
    if fitting == connections:
        return connections
    lack = (
        f"{connections} connections need {connections + BESIDE} file descriptors, and this process"
        f" may have {allowed} (ulimit -Hn)"
    )
    if wanted is not None or fitting < 1:
        raise StartUpRefused(f"--max-connections: {lack}, which is enough for {max(fitting, 0)}")
    _log.warn("{lack}: {fitting} at most are taken", lack=lack, fitting=fitting)
    return fitting


def _raise_limit(needed: int) -> int | None:
    """Raise the soft limit to what is needed or as near as may be; return it, or None for none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    goal = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    while goal > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        except (OSError, ValueError):  # macOS has a lower limit of its own, and tells nobody
            goal = (goal + soft) // 2
        else:
            return goal
    return soft
