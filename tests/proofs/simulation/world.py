"""World: from a seed, three issuers with a schedule, a clock and verifiers each; and one run."""

from random import Random

from twisted.internet.task import Clock

from jwksd.lifecycle.schedule import Schedule
from tests.proofs.simulation.clocks import run_until
from tests.proofs.simulation.ledger import Ledger
from tests.proofs.simulation.realm import Realm, Weather
from tests.proofs.simulation.server import WHOLE, Rotation

START = 1_800_000_000
CLEAR = Weather()


def draw_schedule(rng: Random) -> Schedule:
    """A schedule without a second to spare, most often."""
    skew = rng.choice([2, 30, 60, 120])
    max_age = rng.choice([15, 60, 300, 600, 3600] if rng.random() < 0.3 else [60, 300, 600])
    while_revalidate = rng.choice([0, 15, max_age])
    if_error = rng.choice([0, 60, 300, 900])
    spare = rng.choice([0, 0, 0, 1, 500])
    propagation = max_age + while_revalidate + if_error + skew + spare
    interval = propagation + rng.choice([0, 0, 1, propagation // 2, propagation])
    return Schedule.of(
        rotation_interval=interval,
        propagation=propagation,
        max_age=max_age,
        stale_while_revalidate=while_revalidate,
        stale_if_error=if_error,
        clock_skew=skew,
        max_lifetime=rng.choice([60, 300, interval, 2 * interval]),
    )


def run(
    seed: int,
    weather: Weather = CLEAR,
    *,
    rotations: int = 12,
    schedule: Schedule | None = None,
    rotation: Rotation = WHOLE,
) -> Ledger:
    """Three issuers, side by side, for about so many rotations of the slowest.

    Args:
        schedule: that of every issuer, instead of one that is drawn.
        rotation: the rotator and the policy of every issuer.
    """
    rng, ledger, clock = Random(seed), Ledger(seed), Clock()
    clock.advance(START)
    schedules = [schedule or draw_schedule(rng) for _ in range(3)]
    realms = [
        Realm(clock, rng, ledger, schedule, f"issuer-{number}", weather, rotation)
        for number, schedule in enumerate(schedules)
    ]
    for realm in realms:
        realm.others = [other for other in realms if other is not realm]
    longest = max(schedule.rotation_interval for schedule in schedules)
    run_until(clock, START + rotations * longest)
    return ledger
