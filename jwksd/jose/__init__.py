"""JOSE: algorithms, keys, signatures, tokens, key sets. Pure: no Twisted, no clock, no I/O."""
