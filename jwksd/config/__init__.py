"""The options: every one once, and how its text is read."""
