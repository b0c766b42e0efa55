"""The proof for many nodes: real daemons on one database behind nginx, killed and cut off.

``python -m tests.proofs.cluster`` runs three nodes that rotate on one PostgreSQL, and then three
that make a key for every token, on PostgreSQL and on one SQLite file. Needs nginx and PostgreSQL.
"""
