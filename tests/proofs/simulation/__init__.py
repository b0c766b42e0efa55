"""A deterministic simulation of the rotating policy: issuers, verifiers that cache, and trouble.

The issuers are the real ones, on a ``task.Clock``; the verifiers are models of those in the field.
Every decision and every time of a run follows from its seed; only the bytes of keys do not.
"""
