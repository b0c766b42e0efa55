"""Schedule: the numbers of a rotation, and the inequality that keeps verifiers safe.

The laws of this module:
1. The fields of ``Schedule`` are the one list of these numbers. The options, ``Schedule.of`` and
   the settings take their names from there.
2. Every number is in whole seconds.

``docs/rotation.md`` proves that the inequality of ``Schedule.check`` keeps verifiers safe.
"""

from dataclasses import dataclass, replace

ALERT_MAX_AGE = 60
"""Seconds that a document may be cached while a revocation is fresh."""

_LONGEST_STALE = 86_400
"""Seconds of stale-if-error at the most, where the options do not say: a day's outage."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The numbers of a rotation, in whole seconds.

    ``clock_skew`` bounds what a verifier's clock is off and the leeway that it grants, together.
    ``outage`` is how long a node may sign on, and publish what it knows, without hearing from a
    store that others change: for so long its documents may lack a key, and it may sign with a key
    that another node has replaced.
    """

    rotation_interval: int
    propagation: int
    max_age: int
    stale_while_revalidate: int
    stale_if_error: int
    clock_skew: int
    max_lifetime: int
    retention: int
    outage: int = 0

    @classmethod
    def of(
        cls,
        *,
        stale_while_revalidate: int | None = None,
        stale_if_error: int | None = None,
        retention: int | None = None,
        **numbers: int,
    ) -> "Schedule":
        """Make a schedule of ``numbers``, its other fields; derive what is None from them.

        Raises:
            ValueError: the inequality does not hold, with the numbers.
        """
        stale = {"stale_while_revalidate": 0, "stale_if_error": stale_if_error or 0}
        bare = cls(**numbers, **stale, retention=0)
        spare = max(0, bare.propagation - bare.cache_lifetime - bare.clock_skew - bare.outage)
        if stale_while_revalidate is None:
            stale_while_revalidate = min(bare.max_age, spare)
        if stale_if_error is None:
            stale_if_error = min(_LONGEST_STALE, max(0, spare - stale_while_revalidate))
        if retention is None:
            retention = bare.max_lifetime + bare.clock_skew + bare.outage
        schedule = replace(
            bare,
            stale_while_revalidate=stale_while_revalidate,
            stale_if_error=stale_if_error,
            retention=retention,
        )
        schedule.check()
        return schedule

    @property
    def cache_lifetime(self) -> int:
        """How long a cache that keeps to RFC 9111 and RFC 5861 may answer with one document, in
        seconds."""
        return self.max_age + self.stale_while_revalidate + self.stale_if_error

    def check(self) -> None:
        """Refuse numbers with which a verifier could refuse a valid token.

        Raises:
            ValueError: the inequality does not hold, with the numbers.
        """
        skew = self.clock_skew
        outage = f" + --outage ({self.outage} s)" if self.outage else ""
        needed = self.cache_lifetime + skew + self.outage
        if self.propagation < needed:
            raise ValueError(
                f"--propagation ({self.propagation} s) must be at least {needed} s:"
                f" --max-age ({self.max_age} s) + --stale-while-revalidate"
                f" ({self.stale_while_revalidate} s) + --stale-if-error ({self.stale_if_error} s)"
                f" + --clock-skew ({skew} s){outage};"
                " else a key would sign before caches can know it"
            )
        needed = self.max_lifetime + skew + self.outage
        if self.retention < needed:
            raise ValueError(
                f"--retention ({self.retention} s) must be at least {needed} s:"
                f" --max-lifetime ({self.max_lifetime} s) + --clock-skew ({skew} s){outage};"
                " else a token would outlive its key"
            )
        if self.rotation_interval < self.propagation:
            raise ValueError(
                f"--rotation-interval ({self.rotation_interval} s) must be at least --propagation"
                f" ({self.propagation} s); else the next key would never be known in time"
            )

    def cache_control(self, *, alert: bool) -> bytes:
        """The Cache-Control of the documents (RFC 9111 §5.2.2, RFC 5861 §3, §4)."""
        if alert:
            return b"public, max-age=%d" % min(ALERT_MAX_AGE, self.max_age)
        stale = (self.stale_while_revalidate, self.stale_if_error)
        return b"public, max-age=%d, stale-while-revalidate=%d, stale-if-error=%d" % (
            self.max_age,
            *stale,
        )
