"""Tokens at ``/introspect``: right ones, and right ones of which something was changed."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from random import Random

from tests.proofs.fuzz import framing, jsontexts
from tests.proofs.fuzz.case import BAD, OK, ROTATING, Case, Expect, Known
from tests.proofs.fuzz.mutator import mutate
from tests.support.raw import decoded

_INACTIVE = Expect(OK, active=False)


def _segment(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _with_header(token: str, header: bytes) -> str:
    return ".".join((_segment(header), *token.split(".")[1:]))


def _header(token: str) -> dict[str, object]:
    header: dict[str, object] = json.loads(decoded(token.split(".")[0].encode("ascii")))
    return header


def _mutated(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    octets, how = mutate(random, token.encode("ascii"), others)
    return octets.decode("latin-1"), f"mutated, {how}"


def _letters(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    """One letter for another of the same alphabet, so that it stays base64url."""
    at = random.randrange(len(token))
    letter = random.choice("AQgw-_09az")
    return token[:at] + letter + token[at + 1 :], "another letter"


def _spliced(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    parts = [random.choice(others).decode("ascii").split(".") for _ in range(3)]
    return ".".join(part[index] for index, part in enumerate(parts)), "spliced of right ones"


_CHANGES: Sequence[tuple[str, Sequence[object]]] = (
    ("alg", ("none", "HS256", "RS256", "", ["ES256"], {}, None, 5)),
    ("typ", ("JOSE", "", 5, "secevent+jwt")),
    ("kid", ("", "A" * 43, 5, None, [], "../x", "x" * 9000, "\ud800")),
    ("crit", (["exp"], [], "exp", ["b64"])),
    ("b64", (False,)),
    ("deep", (json.loads("[" * 60 + "]" * 60),)),
)


def _header_changed(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    name, values = random.choice(_CHANGES)
    header = {**_header(token), name: random.choice(values)}
    return _with_header(token, json.dumps(header).encode("utf-8")), "another header"


def _header_text(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    text = json.dumps(_header(token))
    name = random.choice(tuple(jsontexts.BAD_TEXTS))
    deep = jsontexts.deep(jsontexts.levels(random), random)
    header = random.choice(
        (
            jsontexts.BAD_TEXTS[name](random, text),
            b"\xef\xbb\xbf" + text.encode("utf-8"),
            deep.encode("ascii"),
            f'{{"x":{deep},{text[1:]}'.encode("ascii"),
            b"[" * random.choice((jsontexts.levels(random), 40_000)),
            text.replace(",", " ,").encode("utf-8"),
            text[:-1].encode("utf-8") + b',"alg":"ES256"}',
        )
    )
    return _with_header(token, header), "a header that is another text"


def _claims_text(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    head, _, signature = token.split(".")
    deep = jsontexts.deep(jsontexts.levels(random), random).encode("ascii")
    claims = random.choice((deep, b"{}", b'{"exp":1e999}', b"null", b"", b'{"nbf":false}'))
    return f"{head}.{_segment(claims)}.{signature}", "other claims"


def _around(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    head, payload, signature = token.split(".")
    changed = random.choice(
        (
            f" {token}",
            f"{token} ",
            f"{token}\n",
            f"{token}=",
            f"{head}=.{payload}.{signature}",
            f"Bearer {token}",
            f'"{token}"',
            f"{token}.",
            f".{token}",
            f"{head}.{payload}.",
            f"{head}.{payload}",
            f"{token}.{head}.{payload}",
            f"{head}..{signature}",
            token.replace("_", "/").replace("-", "+") + "\u200b",
            token.upper(),
            f"{head}.\n{payload}.{signature}",
            f"{token}\0",
            f"\ufeff{token}",
        )
    )
    return changed, "more or less around it"


def _strange(random: Random, token: str, others: list[bytes]) -> tuple[str, str]:
    head, payload, signature = token.split(".")
    as_json = {"payload": payload, "signatures": [{"protected": head, "signature": signature}]}
    changed = random.choice(
        (
            json.dumps(as_json),
            json.dumps({"protected": head, "payload": payload, "signature": signature}),
            "." * random.choice((1, 2, 5, 10_000)),
            "x",
            "\ud7ff\U0010ffff",
            random.randbytes(40).decode("latin-1"),
            _segment(random.randbytes(90)),
            "null",
            "{}",
            "0" * 9000,
        )
    )
    return changed, "no compact token"


Way = Callable[[Random, str, list[bytes]], tuple[str, str]]
_WAYS: tuple[tuple[Way, int], ...] = (
    (_mutated, 30),
    (_letters, 20),
    (_spliced, 5),
    (_header_changed, 12),
    (_header_text, 12),
    (_claims_text, 4),
    (_around, 8),
    (_strange, 5),
)


def _case(random: Random, what: str, pairs: list[tuple[str, str]], expect: Expect) -> Case:
    random.shuffle(pairs)
    body = framing.urlencoded(random, pairs).encode("ascii")
    octets = framing.request(random, "/introspect", body, framing.FORM)
    return Case("tokens", what, ROTATING, octets, "/introspect", expect=expect)


def introspected(random: Random, known: Known) -> Case:
    """A token, asked about."""
    right = random.choice(known.tokens)
    client = ("client_id", "me")
    chosen = random.random()
    if chosen < 0.1:
        extra = random.choice(([], [("token_type_hint", "x")], [("Token", "x")], [("foo", "")]))
        return _case(random, "right", [client, ("token", right), *extra], Expect(OK, active=True))
    if chosen < 0.13:
        pairs = random.choice(
            ([client], [client, ("token", "")], [client, ("token", right), ("token", right)])
        )
        return _case(random, "none, or two", pairs, Expect(BAD, "token"))
    if chosen < 0.15:
        pairs = [("token", right)]
        return _case(random, "of nobody", pairs, Expect(frozenset({401})))
    if chosen < 0.16:
        huge = right + random.choice("A.") * random.choice((66_000, 200_000))
        expect = Expect(frozenset({200, 413}), active=False)
        return _case(random, "huge", [client, ("token", huge)], expect)
    return _changed(random, right, known)


def _changed(random: Random, right: str, known: Known) -> Case:
    ways, weights = [row[0] for row in _WAYS], [row[1] for row in _WAYS]
    others = [token.encode("ascii") for token in known.tokens]
    token, what = random.choices(ways, weights)[0](random, right, others)
    pairs = [("client_id", "me"), ("token", token)]
    if token in known.tokens:
        return _case(random, "right", pairs, Expect(OK, active=True))
    if not token:
        return _case(random, "none, or two", pairs, Expect(BAD, "token"))
    return _case(random, what, pairs, _INACTIVE)
