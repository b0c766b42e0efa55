"""The long proofs: real processes, databases, caches and clients."""
