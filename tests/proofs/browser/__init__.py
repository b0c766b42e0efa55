"""A real browser on pages of every origin: what they can do to a server on this machine.

``python -m tests.proofs.browser`` needs Chromium, and playwright from PyPI to drive it.
"""
