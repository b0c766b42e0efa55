"""Verifiers in Python, with their defaults. Arguments and lines are those of ``start.mjs``."""

import asyncio
import json
import re
import socket
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import jwt

Fetch = Callable[[], object]
Verify = Callable[[str], object]


def pyjwt(issuer: str, audience: str, alg: str) -> tuple[Fetch, Verify]:
    """PyJWT's own client."""
    client = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")

    def verify(token: str) -> object:
        key = client.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, algorithms=[alg], audience=audience, issuer=issuer)

    return client.get_jwk_set, verify


def once(issuer: str, audience: str, alg: str) -> tuple[Fetch, Verify]:
    """What many a service has: ten lines, that fetch when it starts and never again."""
    keys: dict[str, jwt.PyJWK] = {}

    def fetch() -> None:
        with urlopen(f"{issuer}/.well-known/jwks.json", timeout=30) as answer:
            keys.update({key["kid"]: jwt.PyJWK(key) for key in json.load(answer)["keys"]})

    def verify(token: str) -> object:
        key = keys[jwt.get_unverified_header(token)["kid"]]
        return jwt.decode(token, key, algorithms=[alg], audience=audience, issuer=issuer)

    return fetch, verify


def guardpost(issuer: str, audience: str, alg: str) -> tuple[Fetch, Verify]:
    """Guardpost, told the issuer."""
    from guardpost.jwts import AsymmetricJWTValidator

    validator = AsymmetricJWTValidator(
        authority=issuer, valid_issuers=[issuer], valid_audiences=[audience], algorithms=[alg]
    )
    loop = asyncio.new_event_loop()
    return (
        lambda: loop.run_until_complete(validator.get_jwks()),
        lambda token: loop.run_until_complete(validator.validate_jwt(token)),
    )


def fastapi_jwks(issuer: str, audience: str, alg: str) -> tuple[Fetch, Verify]:
    """fastapi-jwks, told the key set."""
    from fastapi import HTTPException
    from fastapi_jwks.models.types import JWKSConfig, JWTDecodeConfig
    from fastapi_jwks.validators import JWKSValidator
    from pydantic import BaseModel

    class Payload(BaseModel):
        iss: str

    validator = JWKSValidator[Payload](
        JWTDecodeConfig(audience=[audience], issuer=issuer),
        JWKSConfig(url=f"{issuer}/.well-known/jwks.json"),
    )

    def fetch() -> None:
        try:
            validator.jwks_data()
        except HTTPException as error:  # which is 503, whatever its cause
            raise error.__cause__ or error from None

    return fetch, validator.validate_token


def reason(action: Callable[..., object], *arguments: Any) -> str:
    """Do it; return why it fails, or an empty text."""
    try:
        action(*arguments)
    except Exception as error:  # whatever it raises, it does not accept
        return f"{type(error).__name__}: {error} {getattr(error, 'detail', '')}".strip()
    return ""


def main(name: str, issuer: str, audience: str, alg: str) -> None:
    """Fetch as soon as the port is open, then verify the tokens on standard input."""
    makers = {"pyjwt": pyjwt, "once": once, "guardpost": guardpost, "fastapi-jwks": fastapi_jwks}
    fetch, verify = makers[name](issuer, audience, alg)
    print("ready", flush=True)
    port = urlsplit(issuer).port
    assert port is not None
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.01)
    while re.search("503|timed out", why := reason(fetch)):
        pass  # no key yet: who cannot start is started again
    print(json.dumps(why), flush=True)
    for line in sys.stdin:
        print(json.dumps(reason(verify, line.strip())), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
