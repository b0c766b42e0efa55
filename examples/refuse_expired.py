"""Mint an expired token whose key is published, and see it refused for its time alone.

Usage: python examples/refuse_expired.py [http://localhost:8080]
"""

import sys
from datetime import UTC, datetime

import treq
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT, JWTExpired
from twisted.internet.defer import Deferred
from twisted.internet.task import react


async def refuse_expired(base: str = "http://localhost:8080") -> None:
    """Print why a verifier refuses the token. Raises if it accepts it, or does not find its key."""
    answer = await treq.post(f"{base}/auth?expired=token", headers={"Accept": "application/json"})
    minted = await answer.json()
    print("expired at:", datetime.fromtimestamp(minted["exp"], UTC))

    document = await treq.get(f"{base}/.well-known/jwks.json")
    keys = JWKSet.from_json(await document.text())
    try:
        JWT(jwt=minted["token"], key=keys, algs=["RS256"], expected_type="JWS")
    except JWTExpired as refusal:
        print("refused:", refusal)
    else:
        raise AssertionError("an expired token was accepted")


if __name__ == "__main__":
    react(lambda _: Deferred.fromCoroutine(refuse_expired(*sys.argv[1:])))
