"""The tests: each says in one sentence what it proves. ``tests.support`` has what they share."""

from hypothesis import settings

from tests.support.effort import pick

# A busy machine is no reason to fail: speed is measured in bench/, never in a test.
settings.register_profile("jwksd", deadline=None, max_examples=pick(30, 100))
settings.load_profile("jwksd")
