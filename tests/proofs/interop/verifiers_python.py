"""Python verifiers for the matrix: each verifies a token, or raises.

Each is set up as its documentation says a careful user would: the algorithm of the key alone, the
expected issuer and audience, exp required, and typ checked where the library has a way to.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.request import urlopen

import jwt as pyjwt
from authlib.jose import JsonWebKey, JsonWebToken
from jose import jwt as python_jose
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry


@dataclass(frozen=True)
class Question:
    """A token, and what its verifier expects."""

    token: str
    jwks: str
    issuer: str
    audience: str
    alg: str


Verify = Callable[[Question], None]


def fetch(url: str) -> dict[str, object]:
    """A JSON document."""
    with urlopen(url, timeout=20) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def with_pyjwt(question: Question) -> None:
    """PyJWT, with its own JWKS client."""
    key = pyjwt.PyJWKClient(question.jwks).get_signing_key_from_jwt(question.token)
    pyjwt.decode(
        question.token,
        key,
        algorithms=[question.alg],
        issuer=question.issuer,
        audience=question.audience,
        options={"require": ["exp"]},
    )


def with_joserfc(question: Question) -> None:
    """joserfc, with its claims registry."""
    keys = KeySet.import_key_set(fetch(question.jwks))  # type: ignore[arg-type]
    registry = JWSRegistry(algorithms=[question.alg], strict_check_header=False)
    token = joserfc_jwt.decode(question.token, keys, registry=registry)
    joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": question.issuer},
        aud={"essential": True, "value": question.audience},
        exp={"essential": True},
    ).validate(token.claims)


def with_authlib(question: Question) -> None:
    """Authlib, with its claims options."""
    claims = JsonWebToken([question.alg]).decode(
        question.token,
        JsonWebKey.import_key_set(fetch(question.jwks)),
        claims_options={
            "iss": {"essential": True, "value": question.issuer},
            "aud": {"essential": True, "value": question.audience},
            "exp": {"essential": True},
        },
    )
    claims.validate()


def with_python_jose(question: Question) -> None:
    """python-jose, which tries every key of the set."""
    python_jose.decode(
        question.token,
        fetch(question.jwks),
        algorithms=[question.alg],
        issuer=question.issuer,
        audience=question.audience,
        options={"require_exp": True, "require_iss": True, "require_aud": True},
    )


VERIFIERS: dict[str, tuple[str, Verify]] = {
    "PyJWT": ("pyjwt", with_pyjwt),
    "joserfc": ("joserfc", with_joserfc),
    "Authlib": ("authlib", with_authlib),
    "python-jose": ("python-jose", with_python_jose),
}
"""Each by its name, with its distribution."""
