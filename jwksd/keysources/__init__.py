"""Where private keys come from."""
