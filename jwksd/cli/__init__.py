"""The ``jwksd`` command."""
