"""Mint a token, fetch its key by its kid, and verify it.

Usage: python examples/mint_and_verify.py [http://localhost:8080]
"""

import json
import sys

import treq
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT
from twisted.internet.defer import Deferred
from twisted.internet.task import react


async def mint_and_verify(base: str = "http://localhost:8080") -> None:
    """Print a token and, once verified, its claims."""
    answer = await treq.post(f"{base}/auth", headers={"Accept": "application/json"})
    minted = await answer.json()
    print("token:", minted["token"])

    document = await treq.get(f"{base}/.well-known/{minted['kid']}.json")
    keys = JWKSet.from_json(await document.text())

    token = JWT(jwt=minted["token"], key=keys, algs=["RS256"], expected_type="JWS")
    print("verified:", json.loads(token.claims))


if __name__ == "__main__":
    react(lambda _: Deferred.fromCoroutine(mint_and_verify(*sys.argv[1:])))
