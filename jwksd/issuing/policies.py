"""The construction of a key policy, the same for the server and for tests."""

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from jwksd.interfaces import IKeySource, IStore
from jwksd.issuing.pertoken import PerToken
from jwksd.issuing.rotating import Rotating, RunSigning
from jwksd.issuing.rotator import Rotator
from jwksd.issuing.selfcheck import Check
from jwksd.lifecycle.schedule import Schedule


def make_policy(
    *,
    clock: IReactorTime,
    reactor: IReactorTime,
    steady: Callable[[], float],
    boot: str,
    source: IKeySource,
    store: IStore,
    check: Check,
    schedule: Schedule | None,
    algorithms: Sequence[str],
    lifetime: int,
    max_keys: int,
    max_waiting: int,
    run_signing: RunSigning | None,
) -> PerToken | Rotating:
    """Make the policy that rotates on a ``schedule``, or the one of a key for every token."""
    if schedule is None:
        return PerToken(
            clock=clock,
            reactor=reactor,
            source=source,
            store=store,
            lifetime=lifetime,
            max_keys=max_keys,
            check=check,
        )
    rotator = Rotator(
        clock=clock,
        reactor=reactor,
        steady=steady,
        boot=boot,
        source=source,
        store=store,
        algorithms=algorithms,
        schedule=schedule,
        max_waiting=max_waiting,
        check=check,
    )
    return Rotating(rotator, max_waiting=max_waiting, run_signing=run_signing)
