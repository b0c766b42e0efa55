"""What only ``--dev`` opens: wrong tokens made on purpose, a clock to set, faults of the JWKS."""
