"""The proof that the fast path answers as the ordinary path does: two sites, one without the first.

Whatever is sent to them, in whatever pieces, and whatever changes between: what comes back is the
same, octet for octet, and so is the state of every connection. Time, keys and ids follow from the
seed, so that dates and tokens are compared too.
"""
