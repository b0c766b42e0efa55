"""Realm: one issuer and its verifiers, their traffic, the moments that matter, and trouble."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from twisted.internet.task import Clock

from jwksd.lifecycle.schedule import Schedule
from tests.proofs.simulation.cdn import Cdn
from tests.proofs.simulation.documents import Origin, Sample
from tests.proofs.simulation.ledger import Ledger
from tests.proofs.simulation.server import Rotation, Server
from tests.proofs.simulation.verifiers import (
    Hourly,
    Jose,
    Keyfunc,
    Longest,
    MaxAge,
    OldPyJwt,
    PyJwt,
    Uncached,
    Verifier,
)

_KINDS: Sequence[type[Verifier]] = (
    Uncached, MaxAge, MaxAge, Longest, Longest, PyJwt, OldPyJwt, Jose, Jose, Keyfunc, Hourly,
)  # fmt: skip


@dataclass(frozen=True)
class Weather:
    """What befalls a realm.

    Args:
        calm: no trouble at all; clocks are right, and keys are made in whole seconds, so that
            nothing is gained by rounding.
        revocations: keys are revoked.
        hours_behind: the issuer's clock is often wrong by so much. A token of such a time has
            expired for everybody else; then the clock is set right.
        set_while_down: a clock is moved within its share while its process is down, too.
    """

    calm: bool = False
    revocations: bool = False
    hours_behind: int = 0
    set_while_down: bool = False


class Realm:
    """One issuer with those that verify its tokens, and the traffic between them.

    Of the clock skew the issuer has a share, within which its clock is moved; each verifier has the
    rest, for its clock and its leeway together.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        ledger: Ledger,
        schedule: Schedule,
        name: str,
        weather: Weather,
        rotation: Rotation,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._ledger = ledger
        self._weather = weather
        self.schedule = schedule
        self._share = 0.0
        if not weather.calm:
            self._share = schedule.clock_skew * rng.choice([-0.5, -0.25, 0, 0.25, 0.5])
        self.others: list[Realm] = []
        self.samples: list[Sample] = []
        self._aimed_at: float | None = None
        self.verifiers: list[Verifier] = []
        self.server = Server(
            clock,
            rng,
            ledger,
            schedule,
            name=name,
            longest=None if weather.calm else schedule.propagation,
            offset=self._some_offset(),
            rotation=rotation,
            before_delivery=self._before_publication,
        )
        self.server.changed = self._aim
        self._traffic()
        if not weather.calm:
            self._trouble()

    # Moments.

    def _traffic(self) -> None:
        if not self.server.down:
            self._mint()
        self._verify()
        self._clock.callLater(self._gap(8), self._traffic)

    def _trouble(self) -> None:
        """One of the things that go wrong."""
        troubles: list[Callable[[], object]] = [self._sleep, self._restart, self._step]
        troubles += [self.server.rotate]
        if self._weather.revocations:
            troubles.append(self._revoke)
        if self.verifiers and not self.server.down:
            self._rng.choice(troubles)()
        self._clock.callLater(self._gap(3), self._trouble)

    def _aim(self) -> None:
        """Come back just before, at and just after the next change."""
        at = self.server.next_change()
        if at is None or at == self._aimed_at:
            return
        self._aimed_at = at
        for shift in (-0.25, 0.0, 0.5):
            self._clock.callLater(max(0.0, at + shift - self._clock.seconds()), self._at_change)

    def _at_change(self) -> None:
        if not self.server.down:
            self._mint()
            self._verify()

    def _mint(self) -> None:
        longest = self.schedule.max_lifetime
        lifetime = self._rng.choice([longest, longest, self._rng.randint(1, longest)])
        sample = self.server.mint(lifetime)
        if sample is None:
            return
        self.samples.append(sample)
        if not self.verifiers:
            self._open()
        judge = self._rng.choice([self.verifiers[0], self._rng.choice(self.verifiers)])
        last = sample.exp + judge.leeway - judge.offset - 0.001
        self._clock.callLater(max(0.0, last - self._clock.seconds()), self._verify_once, sample)
        # Nobody may accept it from here on.
        dead = max(0.0, sample.deadline - self._clock.seconds())
        self._clock.callLater(dead, self._verify_once, sample)

    def _verify(self) -> None:
        """Everybody is given some tokens: the newest, the oldest, and others."""
        now = self._clock.seconds()
        self.samples = [sample for sample in self.samples if now < sample.deadline]
        if not self.samples:
            return
        chosen = self.samples[-2:] + self._rng.choices(self.samples, k=3) + self.samples[:1]
        self._judge(chosen)
        if self.others and self._rng.random() < 0.2:
            self._judge_foreign()

    def _verify_once(self, sample: Sample) -> None:
        if sample.kid not in self.server.revoked:
            self._judge([sample, *self.samples[-2:]])

    def _judge(self, samples: Sequence[Sample]) -> None:
        now = self._clock.seconds()
        for verifier in self.verifiers:
            verifier.verify(samples, now, self._ledger)

    def _judge_foreign(self) -> None:
        foreign = self._rng.choice(self.others).samples[-1:]
        for sample in foreign:
            for verifier in self.verifiers:
                verifier.verify_foreign(sample, self._clock.seconds(), self._ledger)

    def _judge_revoked(self, sample: Sample) -> None:
        for verifier in self.verifiers:
            verifier.verify_revoked(sample, self._clock.seconds(), self._ledger)

    def _before_publication(self) -> None:
        """The worst time to fetch, for what is coming is not there yet."""
        now = self._clock.seconds()
        for verifier in self.verifiers:
            if isinstance(verifier, Longest):
                verifier.fetch(now + verifier.offset)

    # Trouble.

    def _sleep(self) -> None:
        self.server.sleep(self._rng.uniform(0, 1.5 * self.schedule.propagation))

    def _restart(self) -> None:
        may = self.schedule.stale_if_error or 60
        downs = [0, 0, self._rng.uniform(0, may), self._rng.uniform(0, self.schedule.propagation)]
        offset = self._some_offset() if self._weather.set_while_down else None
        self.server.restart(self._rng.choice(downs), offset)

    def _step(self) -> None:
        self.server.set_clock(self._some_offset())

    def _revoke(self) -> None:
        kid = self.server.revoke()
        of_it = [sample for sample in self.samples if sample.kid == kid]
        self.samples = [sample for sample in self.samples if sample.kid != kid]
        after = self.schedule.cache_lifetime + self.schedule.clock_skew
        for sample in of_it[-1:]:
            self._clock.callLater(after, self._judge_revoked, sample)

    # Setting up.

    def _open(self) -> None:
        """The verifiers come when there is a first token."""
        rest = self.schedule.clock_skew - abs(self._share)
        delay = self._rng.choice([0, 1, self.schedule.stale_while_revalidate / 2])
        cdn = Cdn(self._clock, self.server, delay, self._ledger)
        kinds: list[tuple[type[Verifier], Origin]] = [
            (kind, self.server) for kind in _KINDS if kind.suits(self.schedule)
        ]
        kinds += [(MaxAge, cdn)] * 3
        for kind, origin in kinds:
            self.verifiers.append(self._verifier(kind, origin, rest))

    def _verifier(self, kind: type[Verifier], origin: Origin, rest: float) -> Verifier:
        if kind in (Uncached, Longest):
            return kind(origin, -rest, 0.0)
        leeway = rest * self._rng.choice([0, 0, 0.5, 1])
        offset = (rest - leeway) * self._rng.choice([-1, self._rng.uniform(-1, 1), 1])
        verifier = kind(origin, offset, leeway)
        if isinstance(verifier, Hourly):
            verifier.start(self._clock)
        return verifier

    def _some_offset(self) -> float:
        """Within the share, on one side of true time; or hours behind, which is no share of any."""
        if self._rng.random() < 0.5:
            return self._share * self._rng.choice([0.0, self._rng.random(), 1.0])
        return -float(self._weather.hours_behind * 3600) or self._share

    def _gap(self, per_rotation: int) -> float:
        return self._rng.expovariate(per_rotation / self.schedule.rotation_interval)
