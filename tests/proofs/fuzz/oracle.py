"""The oracle: what holds for every answer, and what is right for its case.

1. No status above 499 but a documented 503, and that with Retry-After.
2. Every error is a problem document; those of the OAuth resources are the JSON of RFC 6749 §5.2.
3. No HTML, no traceback, no private member of a key, in any answer.
4. Status, description, token and verdict are those that the case expects.
5. A token says what was asked for, and is JSON that every reader takes the same way.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NoReturn

from tests.proofs.fuzz.case import ISSUER, Asked, Case, Expect, Known
from tests.support.keys import PRIVATE_MEMBERS
from tests.support.raw import Answer, check, decoded, names_in

OAUTH = ("/token", "/introspect")

_OAUTH_CODES = frozenset(
    {
        *("invalid_request", "invalid_client", "unsupported_grant_type", "invalid_scope"),
        *("invalid_target", "temporarily_unavailable"),
    }
)
_PROBLEM = "application/problem+json"
_DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
_LEEWAY = 5
"""Seconds between the clocks of client and server, and between sending and answering."""

_EXPIRED_SINCE = 3600


class Wrong(Exception):
    """An answer that is not right, in one sentence."""


def demand(holds: object, why: str) -> None:
    """Go on if it holds."""
    if not holds:
        raise Wrong(why)


def judge(case: Case, answer: Answer, known: Known, now: float) -> str:
    """What became of a case, in a word for the counts. ``now`` is when the answer came.

    Raises:
        Wrong: it is not what is right.
    """
    judge_any(case, answer)
    if answer.status == 503:
        return "503, documented"
    expect = case.expect
    demand(answer.status in expect.statuses, f"the status is none of {sorted(expect.statuses)}")
    if answer.status >= 400:
        if case.method != "HEAD":
            demand(expect.says in _description(answer), f"the error does not say {expect.says!r}")
        return "refused"
    if expect.token is not None or (case.path == "/auth" and answer.status == 200):
        judge_token(case, answer, expect.token, known, now)
        return "a token" if expect.token is None else "the token that was asked for"
    if case.path == "/token":
        Reading(answer.json["access_token"])
    if case.path == "/introspect":
        judge_introspection(answer, expect)
        return f"active: {str(answer.json['active']).lower()}"
    return "served"


def judge_any(case: Case, answer: Answer) -> None:
    """What holds for every answer of a server."""
    if answer.status < 200:
        return
    oauth = answer.status >= 400 and answer["Content-Type"] == "application/json"
    if case.expect.token is not None and case.expect.token.defect and answer.status == 200:
        demand(answer["X-Content-Type-Options"] == "nosniff", "no nosniff")
        return
    # Of raw ones it is not known which method an answer is for.
    unknown = "GET" if answer.body or b"HEAD" not in case.octets else "HEAD"
    method = case.method or unknown
    try:
        if oauth and (not case.path or case.path in OAUTH):
            _check_oauth(answer, method)
        else:
            check(answer, method)
    except (AssertionError, ValueError, TypeError, KeyError) as error:
        raise Wrong(f"it is no answer of this server: {type(error).__name__}") from error
    if answer.status == 503:
        demand(_slug(case, answer) in case.server.overloaded, "no such 503 is documented here")
    demand(b"PRIVATE KEY" not in answer.body, "a private key")


def _slug(case: Case, answer: Answer) -> str:
    """Of a 503; the OAuth resources have no slug, and one code for all of them."""
    if answer["Content-Type"] != _PROBLEM:
        return next(iter(case.server.overloaded))
    if case.method == "HEAD" or not answer.body:
        return next(iter(case.server.overloaded))
    return str(answer.json["type"]).removeprefix("urn:jwksd:problem:")


def _check_oauth(answer: Answer, method: str) -> None:
    demand(answer.status < 500 or answer.status == 503, "a server error")
    demand(answer.status != 503 or answer["Retry-After"], "no Retry-After")
    demand(answer.status != 405 or answer["Allow"], "no Allow")
    demand(answer.status != 401 or answer["WWW-Authenticate"], "no WWW-Authenticate")
    demand(answer["X-Content-Type-Options"] == "nosniff", "no nosniff")
    if method == "HEAD" or not answer.body:
        return
    members = answer.json
    demand(set(members) == {"error", "error_description"}, "not the members of RFC 6749 §5.2")
    demand(members["error"] in _OAUTH_CODES, "no code of RFC 6749 §5.2")
    demand(_DESCRIPTION.fullmatch(members["error_description"]), "not the characters of the RFC")


def _description(answer: Answer) -> str:
    members = answer.json
    return str(members.get("detail", members.get("error_description", "")))


# Tokens.


class Reading:
    """A compact token, read as strictly as JSON and base64url allow."""

    def __init__(self, token: str) -> None:
        try:
            self.header, self.claims = map(_segment, token.split(".")[:2])
            demand(len(token.split(".")) == 3, "not three segments")
            demand(isinstance(self.header, dict) and isinstance(self.claims, dict), "no objects")
        except ValueError as error:
            raise Wrong(f"the token cannot be read: {error}") from error


def _segment(text: str) -> dict[str, Any]:
    octets = decoded(text.encode("ascii"))
    if urlsafe_b64encode(octets).rstrip(b"=") != text.encode("ascii"):
        raise ValueError("not the one base64url text of its octets")
    members: dict[str, Any] = json.loads(
        octets.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once
    )
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands there twice")
    return members


def judge_token(case: Case, answer: Answer, asked: Asked | None, known: Known, now: float) -> None:
    """Whether the answer has a token, and it is the one that was asked for."""
    text = _token_in(case, answer)
    if asked is not None and asked.defect:
        demand(text, "no token")
        return
    reading = Reading(text)
    if asked is None:
        return
    _judge_header(case, reading.header, asked, known)
    _judge_claims(case, reading.claims, asked, now)
    given = {*asked.claims, *asked.header, *names_in([asked.claims, asked.header])}
    names = {*names_in(reading.header), *names_in(reading.claims)}
    demand(not PRIVATE_MEMBERS & names - given, "a private member")


def _token_in(case: Case, answer: Answer) -> str:
    """The token of an answer; what stands beside it agrees with it."""
    if answer["Content-Type"] == "application/jwt":
        return answer.body.decode("ascii", "replace")
    members = answer.json
    if case.path == "/token":
        demand(members["token_type"] == "Bearer", "no bearer token")
        token = str(members["access_token"])
        claims = Reading(token).claims
        passed = claims["exp"] - claims["iat"] - members["expires_in"]
        demand(0 <= passed <= _LEEWAY, "expires_in is another")
        return token
    demand(set(members) == {"token", "kid", "alg", "iat", "exp"}, "other members")
    return str(members["token"])


def _judge_header(case: Case, header: Mapping[str, Any], asked: Asked, known: Known) -> None:
    expected = {"alg": asked.alg or case.server.algorithms[0], "typ": "JWT", **asked.header}
    kid = header.get("kid")
    demand(_same({**expected, "kid": kid}, header), f"the header is not {expected}")
    demand(isinstance(kid, str) and len(kid) == 43, "no kid")
    if case.server.rotating:
        published = asked.expired != "true"
        demand((kid in known.kids) is published, "the key is wrongly published, or wrongly not")


def _judge_claims(case: Case, claims: Mapping[str, Any], asked: Asked, now: float) -> None:
    own = {name: claims.get(name) for name in ("iat", "exp", "jti")}
    demand(_same({"iss": ISSUER, **own, **asked.claims}, claims), "the claims are others")
    iat, exp = own["iat"], own["exp"]
    if type(iat) is not int or type(exp) is not int:
        raise Wrong("no whole seconds")
    lifetime = case.server.lifetime if asked.lifetime is None else asked.lifetime
    demand(exp - iat == lifetime, f"the lifetime is not {lifetime}")
    if not case.server.dev:
        end = now + lifetime if asked.expired == "false" else now - _EXPIRED_SINCE
        demand(abs(exp - end) <= _LEEWAY, f"exp is not near {end:.0f}")


def _same(one: object, other: object) -> bool:
    """Whether two JSON values are equal; 1 and true are in Python, and not in JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def judge_introspection(answer: Answer, expect: Expect) -> None:
    """Whether the verdict is right, and an inactive token has nothing else told of it."""
    members = answer.json
    active = members.get("active")
    demand(isinstance(active, bool), "no verdict")
    demand(active or set(members) == {"active"}, "more is told of a token that is not active")
    demand(expect.active in (None, active), f"active is {active}")
    demand(not active or members.get("token_type") == "Bearer", "token_type is the token's word")
    demand("username" not in members, "a claim is taken for a user name")
