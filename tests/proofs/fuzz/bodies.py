"""Bodies of every shape: JSON, forms and parts, right and broken, under right and wrong types."""

import gzip
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.proofs.fuzz import framing, jsontexts, parameters
from tests.proofs.fuzz.case import (
    BAD,
    DEV,
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
from tests.proofs.fuzz.mutator import mutate

_LARGEST = 65_536
_LOOSE = Expect(frozenset({200, 400, 401, 404, 413, 415}))
_TYPE = Expect(frozenset({415}))
_REFUSED = Expect(frozenset({400, 415}))

_FORMS = (
    b"grant_type=client_credentials&client_id=me&scope=read",
    b"client_id=me&token=a.b.c&token_type_hint=access_token",
    b"lifetime=2&expired=false&username=u&password=p",
    b"claims=%7B%22sub%22%3A%22x%22%7D",
    b"action=release",
)
_OTHER_TYPES = (
    *("text/plain", "application/xml", "application/x-json", "text/json", "image/png", "*/*"),
    *("application/jwt", "application/octet-stream", "json", "application/json-seq"),
)


def _json_text(random: Random) -> tuple[str, dict[str, Any]]:
    """The text of a right body, and its claims."""
    claims = parameters.right_claims(random)
    for _ in range(random.randint(0, 6)):
        claims[jsontexts.name(random)] = jsontexts.value(random, depth=5)
    if chance(random, 0.05):
        claims["deep"] = json.loads(jsontexts.deep(jsontexts.DEEPEST, random))
    return jsontexts.spell(random, {"claims": claims}), claims


def _auth(
    random: Random, what: str, body: bytes, media_type: str | None, expect: Expect, *fields: bytes
) -> Case:
    server = random.choice((PER_TOKEN, ROTATING))
    octets = framing.request(random, "/auth", body, media_type, fields)
    return Case("bodies", what, server, octets, expect=expect)


def _right(random: Random) -> Case:
    text, claims = _json_text(random)
    bom = "\ufeff" if chance(random, 0.1) else ""
    expect = Expect(OK, token=Asked(claims=claims))
    return _auth(random, "right JSON", (bom + text).encode("utf-8"), framing.JSON, expect)


def _bad_json(random: Random) -> Case:
    name = random.choice(tuple(jsontexts.BAD_TEXTS))
    text, _ = _json_text(random)
    body = jsontexts.BAD_TEXTS[name](random, text)
    return _auth(random, f"JSON, {name}", body, framing.JSON, Expect(BAD))


def _wrong_type(random: Random) -> Case:
    body = _json_text(random)[0].encode("utf-8")
    media_type = random.choice((*_OTHER_TYPES, None))
    return _auth(random, "another type, or none", body, media_type, _TYPE)


def _charset(random: Random) -> Case:
    """Another encoding, or two types: read as the client meant it, it would say something else."""
    text, claims = _json_text(random)
    charset = random.choice(
        ("utf-16", "utf-16le", "utf-32", "utf-7", "shift_jis", "ebcdic-us", "x")
    )
    if chance(random, 0.3):
        field = b"Content-Type: text/plain"
        return _auth(random, "two types", text.encode("utf-8"), framing.JSON, _REFUSED, field)
    if chance(random, 0.3):
        charset = random.choice(("utf-8", "UTF-8", '"utf-8"'))
        expect = Expect(OK, token=Asked(claims=claims))
    else:
        expect = _REFUSED
    media_type = f"{framing.JSON}; charset={charset}"
    return _auth(random, "a charset", text.encode("utf-8"), media_type, expect)


def _compressed(random: Random) -> Case:
    body = gzip.compress(_json_text(random)[0].encode("utf-8"), 1)
    coding = random.choice((b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"GZIP"))
    if chance(random, 0.3):
        body = b"{}"
    field = b"Content-Encoding: " + coding
    return _auth(random, "compressed", body, framing.JSON, _TYPE, field)


def _json_as_form(random: Random) -> Case:
    """What curl sends with -d alone."""
    text = random.choice(
        (
            '{"expired": true}',
            "{}",
            "{expired: true}",
            '  {"lifetime":5}',
            '\ufeff{"lifetime":1}',
            '{"a',
        )
    )
    path = random.choice(("/auth", "/auth", "/dev", "/token", "/introspect"))
    octets = framing.request(random, path, text.encode("utf-8"), framing.FORM)
    oauth = path in ("/token", "/introspect")
    expect = Expect(BAD, "Content-Type" if oauth else "application/json")
    return Case("bodies", "JSON as a form", DEV, octets, path, expect=expect)


def _large(random: Random) -> Case:
    length = _LARGEST + random.choice((1, 2, 1000, 200_000))
    filler = random.choice((b" ", b"x", b"[", b'{"a":', b"a=b&", b"\0"))
    body = (filler * (length // len(filler) + 1))[:length]
    path = random.choice(("/auth", "/auth", "/token"))
    media_type = framing.FORM if path == "/token" else random.choice((framing.JSON, framing.FORM))
    octets = framing.request(random, path, body, media_type)
    return Case("bodies", "too large", ROTATING, octets, path, expect=Expect(frozenset({413})))


def _broken_parts(random: Random) -> Case:
    pairs = [("lifetime", "2"), ("claims", '{"sub":"x"}'), ("x", "y" * random.randrange(100))]
    body, media_type = framing.multipart(random, pairs)
    chosen = random.random()
    if chosen < 0.3:
        body, _ = mutate(random, body)
    elif chosen < 0.5:
        media_type = random.choice(
            (
                framing.MULTIPART,
                f"{framing.MULTIPART}; boundary=",
                f"{framing.MULTIPART}; boundary={'b' * 300}",
                f'{framing.MULTIPART}; boundary="x',
                f"{framing.MULTIPART}; boundary=x; boundary=y",
                framing.MULTIPART + '; a="' + "\\" * random.choice((17, 400)) + "x",
                "multipart/mixed; boundary=x",
                f"{framing.MULTIPART}; boundary=\xe9",
            )
        )
    elif chosen < 0.7:
        inner, _ = framing.multipart(random, pairs)
        text = inner.decode("utf-8")
        body, media_type = framing.multipart(random, [("claims", text), *[("x", text)] * 3])
    else:
        body, media_type = framing.multipart(random, pairs * random.choice((1, 40, 200)))
    return _auth(random, "parts, broken or many", body, media_type, _LOOSE)


def _mutated(random: Random) -> Case:
    """At every path that reads a body."""
    path, media_type, body = random.choice(
        (
            ("/auth", framing.JSON, _json_text(random)[0].encode("utf-8")),
            ("/auth", framing.JSON, _json_text(random)[0].encode("utf-8")),
            ("/auth", framing.FORM, _FORMS[2]),
            ("/dev", framing.JSON, b'{"action":"fault","fault":"empty","count":2}'),
            *((random.choice(("/token", "/introspect")), framing.FORM, form) for form in _FORMS),
        )
    )
    mutated, how = mutate(random, body, _FORMS)
    if chance(random, 0.05):
        media_type = mutate(random, media_type.encode("ascii"))[0].decode("latin-1")
        media_type = "".join(c for c in media_type if " " <= c <= "~")
    server = DEV if path == "/dev" else random.choice((PER_TOKEN, ROTATING))
    octets = framing.request(random, path, mutated, media_type)
    return Case("bodies", f"{path} mutated, {how}", server, octets, path, expect=_LOOSE)


def _noise(random: Random) -> Case:
    body = random.randbytes(random.choice((1, 2, 30, 1000)))
    path = random.choice(("/auth", "/token", "/introspect", "/dev"))
    media_type = random.choice((framing.JSON, framing.FORM, f"{framing.MULTIPART}; boundary=x"))
    octets = framing.request(random, path, body, media_type)
    return Case("bodies", "noise", DEV, octets, path, expect=_LOOSE)


def _other_paths(random: Random) -> Case:
    """A body where none is read, and methods that read none."""
    method, path = random.choice(
        (
            ("GET", "/healthz"),
            ("GET", "/.well-known/jwks.json"),
            ("HEAD", "/.well-known/openid-configuration"),
            ("PUT", "/auth"),
            ("DELETE", "/token"),
            ("POST", "/.well-known/jwks.json"),
            ("GET", "/auth"),
            ("POST", "/nothing"),
        )
    )
    status = {"GET": 200, "HEAD": 200, "POST": 405}.get(method, 405)
    status = {"/auth": 405, "/nothing": 404}.get(path, status)
    body = random.choice((b"{}", b"x", b"[" * 500))
    octets = framing.request(random, path, body, framing.JSON, method=method)
    expect = Expect(frozenset({status}))
    server: Server = ROTATING
    return Case("bodies", "where none is read", server, octets, path, method, expect)


_KINDS: tuple[tuple[Callable[[Random], Case], int], ...] = (
    (_right, 25),
    (_bad_json, 25),
    (_wrong_type, 4),
    (_charset, 3),
    (_compressed, 3),
    (_json_as_form, 4),
    (_large, 1),
    (_broken_parts, 8),
    (_mutated, 22),
    (_noise, 4),
    (_other_paths, 4),
)


def body(random: Random, known: Known) -> Case:
    """A body."""
    makers, weights = [row[0] for row in _KINDS], [row[1] for row in _KINDS]
    return random.choices(makers, weights)[0](random)
