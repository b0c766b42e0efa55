"""jwksd: a JWKS server that makes signing keys, signs JWTs and publishes the public halves."""

__version__ = "0.1.0"
