"""Raw requests: heads, chunks, trailers, pipelines; right ones, wrong ones, and cut ones."""

from collections.abc import Callable, Sequence
from random import Random

from tests.proofs.fuzz import framing
from tests.proofs.fuzz.case import (
    ANY,
    FULL,
    PER_TOKEN,
    ROTATING,
    Case,
    Expect,
    Known,
    Server,
    chance,
)
from tests.proofs.fuzz.mutator import mutate
from tests.support.raw import chunked

_JWKS = b"/.well-known/jwks.json"
_HOST = b"Host: localhost\r\n"

_RIGHT: Sequence[tuple[bytes, bytes, int]] = (
    *((method, path, 200) for method in (b"GET", b"HEAD") for path in (_JWKS, b"/healthz")),
    (b"GET", b"/.well-known/openid-configuration", 200),
    (b"HEAD", b"/.well-known/oauth-authorization-server", 200),
    (b"GET", b"http://localhost/healthz", 200),
    (b"GET", b"/.well-known/" + b"A" * 43 + b".json", 404),
    (b"GET", b"/nothing?x=%00%ff", 404),
    (b"HEAD", b"/%2e%2e/auth", 404),
    (b"GET", b"/auth/x", 404),
    (b"OPTIONS", _JWKS, 204),
    (b"OPTIONS", b"/auth", 204),
    (b"POST", b"/auth", 200),
    (b"POST", b"/auth?lifetime=2", 200),
    (b"POST", b"/auth?expired=maybe", 400),
    (b"POST", b"/token", 401),
    (b"GET", b"/auth", 405),
    (b"HEAD", b"/token", 405),
    (b"BREW", b"/auth", 405),
    (b"DELETE", _JWKS, 405),
)
"""Method, target and status of requests that need no body."""

_FIELDS = (
    *(b"Accept: */*", b"Accept: application/jwk-set+json", b"Accept: ,;=", b"X:", b"X: \t y \t"),
    *(b'If-None-Match: "x", W/"y"', b"If-None-Match: ", b"Range: bytes=0-9", b"User-Agent: \xff"),
    *(b"Connection: keep-alive", b"Connection: TE", b"Upgrade: h2c", b"Cookie: a; =b", b"DNT: 1"),
    *(b"Authorization: Bearer x", b"Authorization: Basic dTpw", b"Content-Length: 0"),
)
_WRONG_FIELDS = (
    *(
        b"no colon",
        b": no name",
        b"A : b",
        b"A: b\rc",
        b"A: b\nc",
        b"A: b\0c",
        b"A\tb: c",
        b"A\x7f: b",
    ),
    *(b"Content-Length: x", b"Content-Length: -1", b"Content-Length: +1", b"Content-Length: 1_0"),
    *(b"Content-Length: 0x1", b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: 1, 2"),
    *(b"Content-Length: " + b"9" * 30, b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip"),
    *(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Transfer-Encoding: xchunked"),
    *(
        b"Transfer-Encoding: chunked, chunked",
        b"Host: other",
        b"A: b\r\n folded",
        b"A: b\r\n\tfolded",
    ),
)
_WRONG_CHUNKS = (
    *(
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\nx\r\n0\r\n\r\n",
        b"0x1\r\nx\r\n0\r\n\r\n",
        b"1_0\r\nx\r\n",
        b"\r\n",
    ),
    *(b"1\r\nxy\r\n0\r\n\r\n", b"1\nx\r\n0\r\n\r\n", b"f" * 40 + b"\r\n", b" 1\r\nx\r\n0\r\n\r\n"),
)
_WRONG_TRAILERS = (b"no colon", b": no name", b"A : b", b"A: b\r\n folded", b"A: b\0", b" folded")
_WRONG_LINES = (
    *(b"GET / HTTP/2.0", b"GET / HTTP/1.1 ", b"GET / http/1.1", b"GARBAGE", b"GET /", b"GET"),
    *(
        b"GET\t/\tHTTP/1.1",
        b"GET  / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET / HTTP/1.11",
    ),
    *(
        b"GET nothing HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT localhost:443 HTTP/1.1",
        b"PRI * HTTP/2.0",
    ),
    *(b"GET / HTTP/1.1\0", b"GET /\0 HTTP/1.1", b"GET / FTP/1.1"),
)
_OTHER_HOSTS = (
    *(b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example", b"xn--localhost-x"),
    *(b"evil.example:80", b"localhostx", b"a.localhost.x", b"2130706433", b"0x7f.1"),
)
_OWN_HOSTS = (
    *(b"localhost", b"LOCALHOST", b"localhost.", b"localhost:80", b"a.b.localhost", b"127.0.0.1"),
    *(b"127.0.0.1:9", b"[::1]", b"[::1]:80", b"10.0.0.1", b"issuer.example", b"Issuer.Example:443"),
)
_FOREIGN = (
    *(b"Origin: https://evil.example", b"Origin: null", b"Sec-Fetch-Site: cross-site"),
    *(
        b"Sec-Fetch-Site: same-site",
        b"Sec-Fetch-Site: cross-site\r\nOrigin: https://issuer.example",
    ),
    *(b"Origin: http://localhost:9999", b"Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site"),
)
_OWN = (
    *(b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Site: none", b"Origin: https://issuer.example"),
    *(b"Origin: http://localhost", b"Origin: https://localhost", b"User-Agent: curl/8"),
)


def _request(random: Random) -> tuple[bytes, int]:
    """One that is right and needs no body, and its status."""
    method, target, status = random.choice(_RIGHT)
    fields = [_HOST, *(random.choice(_FIELDS) + b"\r\n" for _ in range(random.randint(0, 3)))]
    once = list(dict.fromkeys(fields))
    if sum(field.startswith(b"Authorization") for field in once) > 1 or target == b"/token":
        once = [field for field in once if not field.startswith(b"Authorization")]
    random.shuffle(once)
    empty = b"\r\n" if chance(random, 0.02) else b""
    return empty + method + b" " + target + b" HTTP/1.1\r\n" + b"".join(once) + b"\r\n", status


def _with_body(random: Random) -> tuple[bytes, int]:
    """One that is right and has a body, perhaps in chunks with trailers."""
    body = random.choice((b'{"lifetime":1}', b"{}", b'{"claims":{"x":"GET / HTTP/1.1"}}'))
    head = b"POST /auth HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
    if chance(random, 0.3):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, 200
    content = chunked(*framing.pieces(random, body, 8))
    if chance(random, 0.3):
        content = content[:-2] + b"X-Trailer: y\r\n" * random.randint(1, 3) + b"\r\n"
    if chance(random, 0.2):
        content = content.replace(b"\r\n", b";a=b\r\n", 1)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + content, 200


def _server(random: Random) -> Server:
    return random.choices((ROTATING, PER_TOKEN, FULL), (70, 20, 10))[0]


def _case(random: Random, what: str, octets: bytes, statuses: set[int], answers: int) -> Case:
    """All of it is sent, in one piece; the client then closes its half."""
    expect = Expect(frozenset(statuses))
    server = _server(random)
    return Case("raw", what, server, octets, "", "", expect, answers, end="half-close")


def _pipeline(random: Random, length: int) -> tuple[bytes, set[int]]:
    requests = [
        (_with_body if chance(random, 0.2) else _request)(random)
        for _ in range(random.randint(1, length))
    ]
    return b"".join(octets for octets, _ in requests), {status for _, status in requests}


def _right(random: Random) -> Case:
    length = random.choice((1, 1, 4, 12))
    requests = [(_with_body if chance(random, 0.2) else _request)(random) for _ in range(length)]
    octets = b"".join(octets for octets, _ in requests)
    statuses = {status for _, status in requests}
    what = "right, one" if length == 1 else "right, pipelined"
    return _case(random, what, octets, statuses, length)


def _wrong(random: Random) -> Case:
    """Behind right ones or not; the wrong one gets its answer, and ends the connection."""
    before = [_request(random) for _ in range(random.choice((0, 0, 1, 5)))]
    part, octets = random.choice((_wrong_field, _wrong_chunk, _wrong_trailer, _wrong_line))(random)
    statuses = {400, *(status for _, status in before)}
    sent = b"".join(octets for octets, _ in before) + octets
    return _case(random, f"wrong {part}", sent, statuses, len(before) + 1)


def _wrong_field(random: Random) -> tuple[str, bytes]:
    field = random.choice(_WRONG_FIELDS)
    if chance(random, 0.1):
        return "field", b"GET / HTTP/1.1\r\n folded first\r\n" + _HOST + b"\r\n"
    return "field", b"POST /auth HTTP/1.1\r\n" + _HOST + field + b"\r\n\r\n"


def _chunked_head() -> bytes:
    media_type = b"Content-Type: application/json\r\n"
    return b"POST /auth HTTP/1.1\r\n" + _HOST + media_type + b"Transfer-Encoding: chunked\r\n\r\n"


def _wrong_chunk(random: Random) -> tuple[str, bytes]:
    return "chunk", _chunked_head() + random.choice(_WRONG_CHUNKS)


def _wrong_trailer(random: Random) -> tuple[str, bytes]:
    trailer = random.choice(_WRONG_TRAILERS)
    return "trailer", _chunked_head() + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\n"


def _wrong_line(random: Random) -> tuple[str, bytes]:
    return "request line", random.choice(_WRONG_LINES) + b"\r\n" + _HOST + b"\r\n"


def _hosts(random: Random) -> Case:
    own = chance(random, 0.5)
    host = random.choice(_OWN_HOSTS if own else _OTHER_HOSTS)
    method, target, status = random.choice(_RIGHT[:8])
    if target.startswith(b"http"):
        target = b"http://" + host + b"/healthz"
    octets = method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    return _case(random, "own host" if own else "another host", octets, {status if own else 421}, 1)


def _origins(random: Random) -> Case:
    own = chance(random, 0.4)
    field = random.choice(_OWN if own else _FOREIGN)
    target = random.choice((b"/auth", b"/auth?lifetime=1", b"/token", b"/nothing", b"/introspect"))
    octets = b"POST " + target + b" HTTP/1.1\r\n" + _HOST + field + b"\r\n\r\n"
    status = {b"/nothing": 404, b"/token": 401, b"/introspect": 401}.get(target, 200)
    return _case(
        random, "own page" if own else "a foreign page", octets, {status if own else 403}, 1
    )


def _long(random: Random) -> Case:
    length = random.choice((17_000, 60_000, 300_000))
    lines = random.choice(
        (
            b"X: " + b"x" * length,
            b"X" * length + b": x",
            b"\r\n".join([b"A: b"] * 600),
            b"\r\n".join([b"A: " + b"b" * 100] * 400),
        )
    )
    octets = b"GET / HTTP/1.1\r\n" + _HOST + lines + b"\r\n\r\n"
    if chance(random, 0.3):
        octets = b"GET /" + b"x" * length + b" HTTP/1.1\r\n" + _HOST + b"\r\n"
    # What is read no more resets the connection, and the answer may be lost by that.
    expect = Expect(frozenset({431}))
    return Case("raw", "too long", _server(random), octets, "", "", expect, None, end="half-close")


def _cut(random: Random) -> Case:
    """A pipeline that ends at any octet, and a client that then closes its half, or leaves."""
    octets, _ = _pipeline(random, 4)
    end = random.choice(("half-close", "half-close", "close", "reset"))
    sent = octets[: random.randrange(1, len(octets) + 1)]
    server = _server(random)
    pieces = random.choice((1, 1, 3))
    return Case("raw", f"cut, then {end}", server, sent, "", "", Expect(), None, end, pieces)


def _mutated(random: Random) -> Case:
    octets, _ = _pipeline(random, 3)
    others = [_pipeline(random, 1)[0], _wrong_field(random)[1], _wrong_trailer(random)[1]]
    sent, how = mutate(random, octets, others)
    server, pieces = _server(random), random.choice((1, 1, 4))
    expect = Expect(ANY | {100, 204, 304, 408, 417, 505})
    return Case(
        "raw", f"mutated, {how}", server, sent or b"\n", "", "", expect, None, "half-close", pieces
    )


def _other_protocols(random: Random) -> Case:
    octets, answers = random.choice(
        (
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500), 0),
            (b"\x16", 0),
            (b"SSH-2.0-OpenSSH_9.6\r\n", None),
            (b"\x80\x2e\x01\x00\x02" + random.randbytes(40), None),
            (b"EHLO x\r\n", None),
            (b"*1\r\n$4\r\nPING\r\n", None),
            (random.randbytes(random.choice((1, 50, 2000))), None),
            (b"\r\n" * random.choice((1, 2, 50)), None),
            (b"\0" * random.choice((1, 20_000)), None),
        )
    )
    expect = Expect(frozenset({400, 431, 505}))
    server = _server(random)
    return Case("raw", "other protocols", server, octets, "", "", expect, answers, "half-close")


_KINDS: tuple[tuple[Callable[[Random], Case], int], ...] = (
    (_right, 25),
    (_wrong, 20),
    (_hosts, 8),
    (_origins, 8),
    (_long, 1),
    (_cut, 12),
    (_mutated, 22),
    (_other_protocols, 4),
)


def raw(random: Random, known: Known) -> Case:
    """Octets for a connection of their own."""
    makers, weights = [row[0] for row in _KINDS], [row[1] for row in _KINDS]
    return random.choices(makers, weights)[0](random)
