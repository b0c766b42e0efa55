"""The tests: each says in one sentence what it proves. ``tests.support`` has what they share."""

from hypothesis import settings

# A busy machine is no reason to fail: speed is measured in bench/, never in a test.
settings.register_profile("jwksd", deadline=None)
settings.load_profile("jwksd")
