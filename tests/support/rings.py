"""A small schedule, and keys of a ring."""

from typing import Any

from jwksd.lifecycle.ring import RingKey, State
from jwksd.lifecycle.schedule import Schedule

SCHEDULE = Schedule.of(
    rotation_interval=1000, propagation=100, max_age=20, clock_skew=10, max_lifetime=200
)
"""Round numbers, without a second to spare in retention."""


def ring_key(kid: str, state: State, since: int = 0, **changes: Any) -> RingKey:
    """A key that was published when its state began."""
    whole: dict[str, Any] = {"alg": "ES256", "created": since, "published": since} | changes
    return RingKey(kid=kid, state=state, since=since, **whole)
