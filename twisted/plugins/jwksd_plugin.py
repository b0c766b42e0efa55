"""Lets ``twistd`` know the command ``jwksd``. It names jwksd by string and imports none of it."""

from twisted.application.service import ServiceMaker

jwksd = ServiceMaker("jwksd", "jwksd.tap", "A JWKS server that also signs the tokens.", "jwksd")
