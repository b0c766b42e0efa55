"""File descriptors: as many connections as are asked for, or a start that is refused."""

import resource
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jwksd.errors import StartUpRefused
from jwksd.web.endpoints import descriptors
from jwksd.web.endpoints.descriptors import BESIDE, make_room


class DescriptorTests(SynchronousTestCase):
    def limits(self, soft: int, hard: int, *, most: int | None = None) -> list[int]:
        """Have these limits; ``most`` is what the system lets be set. Return what is set."""
        now = [soft]

        def set_limit(kind: int, limits: tuple[int, int]) -> None:
            if most is not None and limits[0] > most:
                raise ValueError("not allowed")
            now.append(limits[0])

        fake: Any = type("Resource", (), {})
        fake.RLIMIT_NOFILE, fake.RLIM_INFINITY = resource.RLIMIT_NOFILE, resource.RLIM_INFINITY
        fake.getrlimit = staticmethod(lambda kind: (now[-1], hard))
        fake.setrlimit = staticmethod(set_limit)
        self.patch(descriptors, "resource", fake)
        return now

    def test_the_soft_limit_is_raised_as_far_as_is_needed(self) -> None:
        """And left alone where it is high enough."""
        for soft, hard, after in (
            (1024, 1_048_576, 10_000 + BESIDE),
            (1024, resource.RLIM_INFINITY, 10_000 + BESIDE),
            (1024, 10_000 + BESIDE, 10_000 + BESIDE),
            (20_000, 20_000, 20_000),
            (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
        ):
            with self.subTest(soft=soft, hard=hard):
                now = self.limits(soft, hard)
                self.assertEqual(make_room(None, 10_000), 10_000)
                self.assertEqual(make_room(10_000, 1), 10_000)
                self.assertEqual(now[-1], after)

    def test_the_default_becomes_what_fits(self) -> None:
        """Also where the system allows less than it says."""
        self.limits(1024, 4096)
        self.assertEqual(make_room(None, 10_000), 4096 - BESIDE)
        now = self.limits(256, resource.RLIM_INFINITY, most=10_240)
        self.assertEqual(make_room(None, 10_000), now[-1] - BESIDE)
        self.assertGreater(now[-1], 5_000)

    def test_what_was_asked_for_is_refused_where_it_does_not_fit(self) -> None:
        """With what would."""
        self.limits(1024, 4096)
        said = rf"--max-connections: 5000 connections need {5000 + BESIDE} .* for {4096 - BESIDE}"
        with self.assertRaisesRegex(StartUpRefused, said):
            make_room(5000, 10_000)
        self.limits(64, 64)
        with self.assertRaises(StartUpRefused):
            make_room(None, 10_000)

    def test_a_system_without_such_a_limit_takes_all(self) -> None:
        """As Windows does."""
        self.patch(descriptors, "resource", None)
        self.assertEqual(make_room(None, 10_000), 10_000)
        self.assertEqual(make_room(20_000, 10_000), 20_000)
