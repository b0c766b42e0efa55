"""The issuer: it mints tokens by a key policy and publishes the keys that verify them."""
