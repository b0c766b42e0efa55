"""The proof of "acknowledged means durable": servers and databases are killed under load.

After every restart each token that was ever acknowledged, and has not expired, verifies; the
database is whole; and no private key can be read in anything that was written.
"""
