"""Parameters of ``/dev`` and ``/token``."""

from base64 import b64encode
from random import Random
from typing import Any
from urllib.parse import quote_plus

from jwksd.web.faults import KINDS
from tests.proofs.fuzz import framing, jsontexts
from tests.proofs.fuzz.case import (
    BAD,
    DEV,
    ISSUER,
    OK,
    PER_TOKEN,
    ROTATING,
    Asked,
    Case,
    Expect,
    Known,
    Server,
    chance,
)
from tests.proofs.fuzz.parameters import (
    CLAIMS_WRONG,
    DEVELOPER,
    Asking,
    misspelt,
    random_choice,
    unknown,
)
from tests.proofs.fuzz.spelling import UNKNOWN

# /dev


def _dev_right(random: Random) -> list[tuple[str, Any]]:
    number = random.randint(1, 9)
    return random.choice(
        (
            [("action", "release")],
            [("action", "clearfaults")],
            [("action", "clearfaults")],
            [("action", "resetkeys")],
            [("action", "reset")],
            [("action", "freeze")],
            [("action", "advance"), ("seconds", number)],
            [("action", "set"), ("time", 1_900_000_000 + number)],
            [("action", "set"), ("time", "2031-01-01T00:00:00Z")],
            [("action", "set"), ("time", random.choice((0, 0.5, 253_402_000_000)))],
            [("action", "advance"), ("seconds", 0)],
            [("action", "release")],
            [("action", "fault"), ("fault", random.choice(KINDS)), ("count", number)],
            [
                ("action", "fault"),
                ("fault", "status"),
                ("status", 500 + number),
                ("retry_after", 1),
            ],
            [("action", "fault"), ("fault", "delay"), ("delay", 0), ("seconds", number)],
        )
    )


def dev(random: Random, known: Known) -> Case:
    """``POST /dev``: right actions, and misspelt ones, which must not act; and what there is."""
    if chance(random, 0.1):
        method = random.choice(("GET", "HEAD"))
        path = random.choice(("/dev", "/dev/keys", "/dev/defects"))
        octets = framing.request(random, path, method=method)
        return Case("parameters", f"{method} {path}", DEV, octets, path, method, Expect(OK))
    place = random.choices(("query", "form", "multipart", "json"), (50, 20, 5, 25))[0]
    asking = Asking(random, DEV, place, DEVELOPER, expect=Expect(OK))
    for name, value in _dev_right(random):
        asking.put(name, value)
    chosen = random.random()
    if chosen < 0.35:
        misspelt(asking)
    elif chosen < 0.45:
        unknown(asking)
    elif chosen < 0.55:
        where = [pair for pair in (*asking.query, *asking.body) if pair[0] != "action"]
        asking.query, asking.body, asking.place = where, [], "query"
        asking.put("action", random.choice(("", "RESET", "resetkey", "x", "true")), asking.query)
        asking.refuse("wrong action", says="action")
    octets = asking.octets("/dev")
    return Case(
        "parameters", f"/dev {place}: {asking.what}", DEV, octets, "/dev", "POST", asking.expect
    )


# /token


def token(random: Random, known: Known) -> Case:
    """``POST /token``: what it knows is judged as at ``/auth``, and nothing else is looked at."""
    server = random.choices((PER_TOKEN, ROTATING, DEV), (40, 50, 10))[0]
    client = random.choice(("me", "a b", "ü", "x:y"))
    form: list[tuple[str, str]] = [("grant_type", "client_credentials")]
    claims: dict[str, Any] = {"sub": client, "client_id": client, "aud": ISSUER}
    fields = _authenticate(random, client, form)
    lifetime = None
    if chance(random, 0.3):
        form.append(("scope", "read write"))
        claims["scope"] = "read write"
    if chance(random, 0.3):
        form.append(("audience", "api"))
        claims["aud"] = "api"
    if chance(random, 0.4):
        lifetime = random.randint(1, server.max_lifetime)
        form.append(("lifetime", str(lifetime)))
    if chance(random, 0.3):
        own = {"roles": ["a"], jsontexts.name(random): jsontexts.value(random)}
        form.append(("claims", jsontexts.spell(random, own)))
        claims |= own
    asked = Asked(lifetime=lifetime, claims=claims, header={"typ": "at+jwt"})
    what, expect = _spoil(random, server, form, Expect(OK, token=asked))
    random.shuffle(form)
    body = framing.urlencoded(random, form).encode("ascii")
    octets = framing.request(random, "/token", body, framing.FORM, fields)
    return Case("parameters", f"/token: {what}", server, octets, "/token", "POST", expect)


def _authenticate(random: Random, client: str, form: list[tuple[str, str]]) -> list[bytes]:
    if chance(random, 0.5):
        form.append(("client_id", client))
        return []
    credentials = quote_plus(client) + ":" + quote_plus("sécret")
    return [b"Authorization: Basic " + b64encode(credentials.encode("ascii"))]


def _spoil(
    random: Random, server: Server, form: list[tuple[str, str]], expect: Expect
) -> tuple[str, Expect]:
    chosen, given = random.random(), {name for name, _ in form}
    if chosen < 0.3:
        return "right", expect
    if chosen < 0.5:
        others = set(UNKNOWN) - {"scope", "grant_type"}
        names = (*sorted(others), "expired", "Lifetime", "claims[]", "username")
        form.append((random.choice(names), "true"))
        return "unknown, ignored", expect
    if chosen < 0.6:
        form[:] = [pair for pair in form if pair[0] != "grant_type"]
        form.append(("grant_type", random.choice(("password", "", "x"))))
        return "wrong grant_type", Expect(BAD)
    if chosen < 0.7 and "lifetime" not in given:
        form.append(("lifetime", random.choice(("0", "-1", "x", "1.5", "999999999"))))
        return "wrong lifetime", Expect(BAD, "lifetime")
    if chosen < 0.85 and "claims" not in given:
        wrong = [claims for claims in CLAIMS_WRONG if claims]
        own = [{"client_id": "x"}, {"scope": "x"}]
        text = jsontexts.spell(random, random_choice(random, [*wrong, *own]))
        form.append(("claims", random.choice((text, text, "[]", "{", "1", '{"x":1e400}'))))
        return "wrong claims", Expect(BAD, "claim")
    if chosen < 0.9 and not server.dev:
        form.append(("defect", "alg-none"))
        return "a defect without --dev", Expect(BAD, "dev")
    name, value = random.choice(form)
    if name == "audience":
        return "right", expect
    form.append((name, value))
    return "given twice", Expect(BAD, name)
