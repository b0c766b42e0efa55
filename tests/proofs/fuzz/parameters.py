"""Parameters: right ones, near misses, unknown ones and wrong values, and what comes of each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from jwksd.dev.defects import DEFECTS
from tests.proofs.fuzz import framing, jsontexts
from tests.proofs.fuzz.case import (
    BAD,
    DEV,
    FULL,
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
from tests.proofs.fuzz.spelling import UNKNOWN, misspell

AUTH = ("expired", "alg", "lifetime", "claims", "header", "defect")
DEVELOPER = (
    *("action", "alg", "kid", "time", "seconds", "fault", "count", "status", "retry_after"),
    *("delay", "location"),
)
LOGIN = ("username", "password")

CLAIMS_WRONG: Sequence[Any] = (
    {"iss": 5},
    {"sub": None},
    {"aud": [1]},
    {"aud": []},
    {"exp": "x"},
    {"exp": True},
    {"iat": 1.5},
    {"nbf": -1},
    {"exp": 253_402_300_799},
    {"EXP": 99_999_999_999},
    {"ISS": "https://other.example"},
    {"i\u017fs": "https://other.example"},
    {"Sub": "x"},
    {"AUD": "x"},
    {"Client_ID": "x"},
    {"SCOPE": "x"},
    {"azP": "x"},
    {"ACT": {}},
    {"Cnf": {}},
    {"JTI": "x"},
    {"nBf": 0},
    {"IAT": 1},
)
_HEADER_WRONG: Sequence[Any] = (
    *({name: "x"} for name in ("alg", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c")),
    *({name: "x"} for name in ("x5t", "x5t#S256", "enc", "zip", "epk", "p2s", "p2c")),
    *(
        {name: "x"}
        for name in ("ALG", "Crit", "KID", "\u212aid", "Jwk", "X5U", "Enc", "TYP", "B64")
    ),
    *({name: 5} for name in ("typ", "cty")),
)
_TEXT_WRONG: dict[str, Sequence[str]] = {
    "expired": (
        "1",
        "yes",
        "",
        "True",
        "TRUE",
        "maybe",
        "0",
        "on",
        " true",
        "true;",
        "null",
        '"true"',
    ),
    "alg": ("none", "HS256", "rs256", "", "ES256 ", "ES256,ES256", "null"),
    "lifetime": ("0", "-1", "1.5", "1e1", "", "999999999", "x", "1s", "1h", "٣", "9" * 500),
    "claims": ("[]", "{", "1", '"x"', "", "{} {}", "{'sub':'x'}", "{sub:1}", '{"x":1e400}'),
    "header": ("{}", '{"typ":"x"}', "x"),
    "defect": ("", "no-such", "ALG-NONE"),
}
_JSON_WRONG: dict[str, Sequence[Any]] = {
    "expired": (1, 0, "yes", [], {}, "TRUE", [True], ""),
    "alg": ("none", 5, [], {}, True, "", ["ES256"]),
    "lifetime": (0, -1, 1.5, True, False, [], {}, "x", "", 999_999_999, 10**60),
    "claims": ([], "x", 5, True, [{}]),
    "header": ([], "x", 5, False),
    "defect": ("no-such", 5, [], True, ""),
}

Spice = Callable[["Asking"], None]


@dataclass
class Asking:
    """A request for ``/auth`` or ``/dev`` that is being put together."""

    random: Random
    server: Server
    place: str
    known: Sequence[str]
    query: list[tuple[str, Any]] = field(default_factory=list)
    body: list[tuple[str, Any]] = field(default_factory=list)
    expect: Expect = field(default_factory=Expect)
    what: str = "right"
    asked: Asked = field(default_factory=Asked)
    behind: str = ""

    def put(self, name: str, value: Any, where: list[tuple[str, Any]] | None = None) -> None:
        """Give a parameter somewhere, at the end or at the beginning."""
        if where is None:
            in_body = self.place != "query" and chance(self.random, 0.8)
            where = self.body if in_body else self.query
        where.insert(self.random.choice((0, len(where))), (name, value))

    def refuse(self, what: str, says: str = "") -> None:
        """From here on 400 is right, whatever else there is."""
        self.what, self.expect = what, Expect(BAD, says)

    @property
    def as_json(self) -> bool:
        """Whether the body is JSON."""
        return self.place == "json"

    def anywhere(self) -> tuple[list[tuple[str, Any]], bool]:
        """The query or the body, and whether it is JSON."""
        in_body = self.place != "query" and chance(self.random, 0.7)
        return (self.body, self.as_json) if in_body else (self.query, False)

    def names(self) -> set[str]:
        """What is given."""
        return {name for name, _ in (*self.query, *self.body)}

    def octets(self, path: str, fields: Sequence[bytes] = ()) -> bytes:
        """The request."""
        query = [(name, as_text(self.random, value)) for name, value in self.query]
        text = "&".join(filter(None, (framing.urlencoded(self.random, query), self.behind)))
        target = f"{path}?{text}" if text else path
        if self.place == "query" or (self.place == "multipart" and not self.body):
            empty = random_choice(self.random, (None, b""))
            return framing.request(self.random, target, empty, None, fields)
        body, media_type = self._body()
        return framing.request(self.random, target, body, media_type, fields)

    def _body(self) -> tuple[bytes, str]:
        if self.as_json:
            text = _json_object(self.random, self.body)
            bom = "\ufeff" if chance(self.random, 0.03) else ""
            charset = "; charset=utf-8" if chance(self.random, 0.1) else ""
            return (bom + text).encode("utf-8"), framing.JSON + charset
        pairs = [(name, as_text(self.random, value)) for name, value in self.body]
        if self.place == "form":
            return framing.urlencoded(self.random, pairs).encode("ascii"), framing.FORM
        return framing.multipart(self.random, pairs)


def random_choice(random: Random, of: Sequence[Any]) -> Any:
    """One of them, of whatever types."""
    return random.choice(of)


def _json_object(random: Random, members: Sequence[tuple[str, Any]]) -> str:
    """An object in this order, in which a name may stand twice."""
    parts = [f"{json.dumps(name)}: {jsontexts.spell(random, value)}" for name, value in members]
    return "{" + ", ".join(parts) + "}"


def as_text(random: Random, value: Any) -> str:
    """A value as query and form have it."""
    if isinstance(value, str):
        return value
    return jsontexts.spell(random, value) if isinstance(value, dict) else json.dumps(value)


# What is right.


def right_claims(random: Random) -> dict[str, Any]:
    """Claims that stand in the token as they are given."""
    claims: dict[str, Any] = {}
    if chance(random, 0.5):
        claims["sub"] = random.choice(("alice", "", "ünï"))
    if chance(random, 0.3):
        claims["aud"] = random.choice(("x", ["a", "b"]))
    if chance(random, 0.1):
        claims["iss"] = "https://wrong.example"
    for _ in range(random.randint(0, 2)):
        claims[jsontexts.name(random)] = jsontexts.value(random)
    return claims


def _ask_rightly(asking: Asking) -> None:
    random, server = asking.random, asking.server
    chosen: dict[str, Any] = {}
    if chance(random, 0.3):
        chosen["expired"] = random.choice(("false", "true", "token"))
    if chance(random, 0.3):
        slow = chosen.get("expired") == "true"  # its key is made for it alone
        chosen["alg"] = random.choice(server.algorithms[: 2 if slow else None])
    if chance(random, 0.4):
        chosen["lifetime"] = random.randint(1, server.max_lifetime)
    if chance(random, 0.35):
        chosen["claims"] = right_claims(random)
    if asking.as_json and chance(random, 0.2):
        chosen["header"] = random.choice(({"typ": "at+jwt"}, {"cty": "x"}, {}, {"x-y": [1, None]}))
    asking.asked = Asked(**chosen)
    asking.expect = Expect(OK, token=asking.asked)
    for name, value in chosen.items():
        where = asking.body if name == "header" else None
        asking.put(name, value, where)
    _vary_types(asking)


def _vary_types(asking: Asking) -> None:
    """In JSON a value has a type, or is the text that a form has; null is none."""
    if not asking.as_json:
        return
    spelt: dict[str, Any] = {"true": True, "false": False}
    for index, (name, value) in enumerate(asking.body):
        if name == "expired" and chance(asking.random, 0.8):
            asking.body[index] = (name, spelt.get(value, value))
        if name == "lifetime" and chance(asking.random, 0.2):
            asking.body[index] = (name, str(value))
    free = [name for name in AUTH if name not in asking.names()]
    if free and chance(asking.random, 0.1):
        asking.put(asking.random.choice(free), None, asking.body)


# What is added to it.


def misspelt(asking: Asking) -> None:
    """Add a near miss, which must be refused."""
    where, as_json = asking.anywhere()
    given = asking.names()
    names = [name for name in asking.known if name not in given] or list(asking.known)
    right = asking.random.choice(names)
    missed, how = misspell(asking.random, right, (*asking.known, *LOGIN))
    value = asking.random.choice(("true", "1", "x", "", "{}", "false"))
    asking.put(missed, value, where)
    # In a part, a line feed in the name ends the line.
    asking.refuse(f"misspelt by {how}", says="" if asking.place == "multipart" else right)
    if as_json:
        asking.what = "misspelt in JSON"


def unknown(asking: Asking) -> None:
    """Add a name that is none of ours, which is ignored but in JSON."""
    where, as_json = asking.anywhere()
    name = asking.random.choice(UNKNOWN)
    asking.put(name, asking.random.choice(("", "x", "1", "true")), where)
    if as_json:
        asking.refuse("unknown in JSON")
    else:
        asking.what = "unknown, ignored"


def _behind(asking: Asking) -> None:
    """A parameter that another separator puts into the value of the one before."""
    right = asking.random.choice(asking.known)
    text = f"x{asking.random.choice(';?')}{right}=true"
    asking.behind = f"{asking.random.choice(UNKNOWN[:6])}={text}"
    asking.refuse("behind another", says=right)


def _login(asking: Asking) -> None:
    for name in LOGIN:
        where, as_json = asking.anywhere()
        value: Any = asking.random.choice(("u", "", "true", "ß"))
        if as_json and chance(asking.random, 0.3):
            value = asking.random.choice((None, 5, True, [], {"a": 1}))
        asking.put(name, value, where)
    asking.what = "with username and password"


def _conflict(asking: Asking) -> None:
    name, values = asking.random.choice(
        (
            ("lifetime", ("1", "2")),
            ("expired", ("true", "false")),
            ("alg", asking.server.algorithms[:2]),
            ("claims", ('{"x":1}', '{"x":2}')),
            ("claims", ('{"x":1}', '{"x":true}')),
        )
    )
    if name in asking.names() or len(values) < 2:
        return
    for value in asking.random.sample(values, 2):
        where, as_json = asking.anywhere()
        structured = as_json and name in ("claims", "expired", "lifetime")
        asking.put(name, json.loads(value) if structured else value, where)
    asking.refuse(f"conflict of {name}", says=name)


def _same_twice(asking: Asking) -> None:
    name, text, value = asking.random.choice(
        (("lifetime", "2", 2), ("expired", "true", True), ("expired", "false", False))
    )
    if asking.names() & {"lifetime", "expired"} or asking.server.max_lifetime < 2:
        return
    for _ in range(2):
        where, as_json = asking.anywhere()
        asking.put(name, value if as_json else text, where)
    changed: dict[str, Any] = {name: value if name == "lifetime" else text}
    asked = replace(asking.asked, **changed)
    asking.what, asking.asked = "twice, the same", asked
    asking.expect = Expect(OK, token=asked)


def _wrong_value(asking: Asking) -> None:
    where, as_json = asking.anywhere()
    name = asking.random.choice([name for name in AUTH if name not in asking.names()] or ["alg"])
    if name in asking.names():
        return
    if name == "header" and not as_json:
        asking.put(name, asking.random.choice(_TEXT_WRONG[name]), where)
    elif as_json:
        asking.put(name, random_choice(asking.random, _JSON_WRONG[name]), where)
    else:
        asking.put(name, random_choice(asking.random, _TEXT_WRONG[name]), where)
    asking.refuse(f"wrong {name}", says=name)


def _wrong_object(asking: Asking) -> None:
    """A claim or header parameter that the server does not sign."""
    if asking.as_json and "header" not in asking.names() and chance(asking.random, 0.4):
        asking.put("header", random_choice(asking.random, _HEADER_WRONG), asking.body)
        asking.refuse("wrong header parameter", says="header")
    elif "claims" not in asking.names():
        asking.put("claims", random_choice(asking.random, CLAIMS_WRONG))
        asking.refuse("wrong claim", says="claim")


def _flooded(asking: Asking) -> None:
    if asking.place in ("query", "form"):
        where = asking.query if asking.place == "query" else asking.body
        where.extend([(f"n{i}", "x") for i in range(asking.random.choice((120, 400)))])
        asking.refuse("too many fields")


def _defect(asking: Asking) -> None:
    """A wrong token made of whatever else is asked for, or a right one where that is not open."""
    if "defect" in asking.names():
        return
    names = [row.name for row in DEFECTS.values() if {"EC", "OKP"} <= row.kinds]
    if asking.server.dev and chance(asking.random, 0.3):
        asking.put("defect", asking.random.choice(tuple(DEFECTS)))
        statuses = frozenset({200, 400})  # not every defect goes with everything else
        asking.what, asking.expect = "a defect beside all else", Expect(statuses, token=_DEFECT)
        return
    asking.query, asking.body = [], []
    asking.put("defect", asking.random.choice(names))
    if asking.server.dev:
        asking.what, asking.expect = "a defect", Expect(OK, token=_DEFECT)
    else:
        asking.refuse("a defect without --dev", says="--dev")


_DEFECT = Asked(defect=True)


_SPICES: tuple[tuple[Spice | None, int], ...] = (
    (None, 30),
    (misspelt, 28),
    (_behind, 2),
    (unknown, 9),
    (_login, 6),
    (_conflict, 5),
    (_same_twice, 4),
    (_wrong_value, 12),
    (_wrong_object, 7),
    (_flooded, 1),
    (_defect, 2),
)


def auth(random: Random, known: Known) -> Case:
    """``POST /auth``."""
    server = random.choices((PER_TOKEN, ROTATING, DEV, FULL), (35, 45, 15, 5))[0]
    place = random.choices(("query", "form", "multipart", "json"), (30, 30, 10, 30))[0]
    asking = Asking(random, server, place, AUTH)
    _ask_rightly(asking)
    spice = random.choices([row[0] for row in _SPICES], [row[1] for row in _SPICES])[0]
    if server.dev and chance(random, 0.5):  # there are many
        spice = _defect
    if spice is not None:
        spice(asking)
    return Case(
        "parameters",
        f"/auth {place}: {asking.what}",
        server,
        asking.octets("/auth"),
        expect=asking.expect,
    )
