"""The tests: each says in one sentence what it proves. ``tests.support`` has what they share."""
