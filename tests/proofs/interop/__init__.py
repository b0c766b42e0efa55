"""Checks with clients and verifiers that are not Python; they install what they need."""
