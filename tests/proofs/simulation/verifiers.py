"""The verifiers of the field, by how they cache: what each does before it refuses a kid.

``local`` is always the verifier's own clock. A verifier is safe here when the schedule of its
issuer allows for it: see ``suits``.
"""

from collections.abc import Sequence
from typing import ClassVar

from twisted.internet.task import Clock

from jwksd.lifecycle.schedule import Schedule
from tests.proofs.simulation.documents import Answer, Keys, Origin, PublishedKey, Sample
from tests.proofs.simulation.ledger import Ledger


class Verifier:
    """Holds one document, and judges tokens with it.

    Args:
        origin: where it fetches.
        offset: what its clock is ahead of true time, in seconds.
        leeway: what it grants after ``exp``, in seconds.
    """

    stays_ignorant: ClassVar[int] = 0
    """Seconds that it may go without asking for a kid that it does not know, whatever the headers
    say."""

    forgets: ClassVar[bool] = True
    """Whether it keeps no document longer than the headers of these schedules allow."""

    def __init__(self, origin: Origin, offset: float, leeway: float) -> None:
        self.origin = origin
        self.offset = offset
        self.leeway = leeway
        self.failed = False
        self.fetched = float("-inf")
        self._keys: Keys = {}

    @classmethod
    def suits(cls, schedule: Schedule) -> bool:
        """Whether this schedule keeps it safe."""
        return schedule.cache_lifetime >= cls.stays_ignorant

    def find(self, kid: str, local: float) -> PublishedKey | None:
        """The key with this kid, after whatever this verifier does to get it."""
        raise NotImplementedError

    def fetch(self, local: float) -> bool:
        """Ask the origin. A verifier whose last try failed may refuse for want of an answer."""
        answer = self.origin.fetch()
        self.failed = answer is None
        if answer is None:
            return False
        self._keys, self.fetched = answer.keys, local
        self.keep(answer, local)
        return True

    def keep(self, answer: Answer, local: float) -> None:
        """Note how long this answer may be used."""

    def verify(self, samples: Sequence[Sample], now: float, ledger: Ledger) -> None:
        """Judge genuine tokens at a true time, and be judged."""
        local = now + self.offset
        expired_by = local - self.leeway
        for sample in samples:
            key = self.find(sample.kid, local)
            in_time = expired_by < sample.exp
            if in_time and key is not None and sample.verified_by(key):
                if now >= sample.deadline:
                    ledger.violation(now, self.name, "accepts a token past exp and clock skew")
            elif in_time:
                self._refused(sample, now, ledger)
            else:
                ledger.counts["refused as expired"] += 1
        ledger.counts["verifications"] += len(samples)

    def verify_foreign(self, sample: Sample, now: float, ledger: Ledger) -> None:
        """Judge a token that another issuer has signed."""
        key = self.find(sample.kid, now + self.offset)
        ledger.counts["foreign"] += 1
        if key is not None and sample.verified_by(key):
            ledger.violation(now, self.name, "accepts a token of another issuer")

    def verify_revoked(self, sample: Sample, now: float, ledger: Ledger) -> None:
        """Judge a token whose key was revoked so long ago that every cache must know."""
        key = self.find(sample.kid, now + self.offset)
        ledger.counts["of a revoked key"] += 1
        if self.forgets and key is not None and sample.verified_by(key):
            ledger.violation(now, self.name, "accepts a token whose key was revoked long ago")

    @property
    def name(self) -> str:
        return type(self).__name__

    def _refused(self, sample: Sample, now: float, ledger: Ledger) -> None:
        if self.failed:
            ledger.counts["refused while unreachable"] += 1
        elif now < sample.excused_until:
            ledger.counts["refused after a revocation"] += 1
        else:
            why = f"refuses a valid token of key {sample.key_number}"
            ledger.violation(now, self.name, why)


class Uncached(Verifier):
    """Fetches each time: the first to miss a key that is gone too early."""

    def find(self, kid: str, local: float) -> PublishedKey | None:
        if local != self.fetched and not self.fetch(local):
            return None
        return self._keys.get(kid)


class MaxAge(Verifier):
    """Honours max-age less Age, and fetches when that is over, for no other reason."""

    _expires = float("-inf")

    def find(self, kid: str, local: float) -> PublishedKey | None:
        if local >= self._expires and local != self.fetched and not self.fetch(local):
            return None
        return self._keys.get(kid)

    def keep(self, answer: Answer, local: float) -> None:
        self._expires = local + answer.freshness.max_age - answer.age


class Longest(MaxAge):
    """The worst that a cache may do: it holds a document as long as max-age and both stale
    directives allow together, and its clock is set back while it does."""

    def keep(self, answer: Answer, local: float) -> None:
        before_set_back = local - self.offset
        self._expires = before_set_back + answer.freshness.longest


class Jose(Verifier):
    """npm jose: ten minutes; an unknown kid has it ask, unless it did in the last 30 s."""

    stays_ignorant = 30
    forgets = False
    caches: ClassVar[int] = 600

    def find(self, kid: str, local: float) -> PublishedKey | None:
        if local >= self.fetched + self.caches and not self.fetch(local):
            return None
        key = self._keys.get(kid)
        waited = local >= self.fetched + self.stays_ignorant and local != self.fetched
        if key is None and waited and self.fetch(local):
            key = self._keys.get(kid)
        return key


class PyJwt(Jose):
    """PyJWKClient: 300 s whatever the headers say; like jose by now for an unknown kid."""

    caches = 300


class OldPyJwt(PyJwt):
    """As PyJWT was until it waited: for an unknown kid it asks at once."""

    stays_ignorant = 0


class Hourly(Verifier):
    """Refreshes once an hour, and knows nothing else; a failure leaves the old keys in place."""

    stays_ignorant = 3600
    forgets = False

    def start(self, clock: Clock) -> None:
        self.fetch(clock.seconds() + self.offset)
        clock.callLater(3600, self.start, clock)

    def find(self, kid: str, local: float) -> PublishedKey | None:
        return self._keys.get(kid)


class Keyfunc(Hourly):
    """Go keyfunc: hourly, and for an unknown kid, but for one of them per five minutes only."""

    stays_ignorant = 300
    _allowed = float("-inf")

    def find(self, kid: str, local: float) -> PublishedKey | None:
        key = self._keys.get(kid)
        if key is None and local >= self._allowed:
            self._allowed = local + 300
            self.fetch(local)
            key = self._keys.get(kid)
        return key
