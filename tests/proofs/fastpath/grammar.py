"""What clients send, by chance: plain requests over and over, and everything else now and then."""

import re
from collections.abc import Callable, Sequence
from random import Random

JWKS = b"/.well-known/jwks.json"
DISCOVERY = b"/.well-known/openid-configuration"
UNKNOWN_KID = b"A" * 43
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
HOST = b"Host: localhost:8080\r\n"

ACCEPTS = (
    b"*/*",
    JSON,
    b"application/jwt",
    b"application/jwk-set+json",
    b"application/jwk-set+json;q=0.5, application/json",
    b"application/json;q=0, */*;q=0.1",
    b"text/html",
    b"",
    b",;=,/",
)
FIELDS = (
    b"Connection: keep-alive",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: 100-Continue",
    b"Expect: 200-ok",
    b"Content-Length: 0",
    b"content-length:0",
    b"Content-Length: 00",
    b"Cookie: a; =b; c=d=e",
    b"Origin: https://a.example",
    b"Origin: https://app.example",
    b"Origin: http://localhost:8080",
    b"Sec-Fetch-Site: same-origin",
    b"Sec-Fetch-Site: cross-site",
    b"Authorization: Basic dTpw",
    b"Authorization: Bearer x.y.z",
    b"If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT",
    b"Range: bytes=0-9",
    b"Accept-Encoding: gzip, br",
    b"User-Agent: x/1",
    b"X: y\r\n  folded",
    b"X:",
    b"Date: Sat, 01 Jan 2000 00:00:00 GMT",
)
BAD_FIELDS = (
    b"Connection: close",
    b"Connection: TE, close",
    b"Content-Length: 5",
    b"Content-Length: x",
    b"Content-Length: -1",
    b"Content-Length: 0\r\nContent-Length: 0",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Host: localhost",
    b"no colon",
    b": no name",
    b"A : b",
    b"A: b\nc: d",
    b"A: b\rc",
    b"A: \x00",
    b" folded first",
)
HOSTS = (
    HOST,
    HOST,
    b"Host: a.localhost\r\n",
    b"Host: a.example\r\n",
    b"host:localhost\r\n",
    b"Host: \r\n",
    b"Host: [::1]:80\r\n",
    b"",
    b"Host: a b\r\n",
    HOST + b"Host: other\r\n",
)
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"BREW", b"get", b"DELETE")
LINES = (
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET * HTTP/1.1\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET /\r\n",
    b"GARBAGE\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"CONNECT localhost:443 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"\x16\x03\x01\x02\x00",
)
BODIES = (
    (JSON, b"{}"),
    (JSON, b'{"lifetime":5}'),
    (JSON, b'{"expired":true}'),
    (JSON, b'{"claims":{"sub":"x"}}'),
    (JSON, b'{"lifetime":'),
    (FORM, b"lifetime=7"),
    (FORM, b"expired=true&username=u"),
    (FORM, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (b"text/plain", b"x"),
)
TOKEN_FORM = b"grant_type=client_credentials&client_id=c&client_secret=s"
_MUTATIONS = (b"", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b":", b"\xff")
_KID, _ETAG = re.compile(rb'"kid":"([\w-]{43})"'), re.compile(rb'\r\nETag: ("\w+")')


def _spelt(kid: bytes) -> bytes:
    """The same path segment for a server, in other octets (RFC 3986 §2.1)."""
    return b"%%%02X" % kid[0] + kid[1:]


class Grammar:
    """Requests by chance, about keys and tags that there are, or were a moment ago.

    Where all are ``readers``, tokens are seldom asked for.
    """

    def __init__(self, random: Random, *, dev: bool, readers: bool) -> None:
        self._random = random
        self._unwanted = (b"OPTIONS", b"POST") if readers else (b"OPTIONS",)
        self._dev = dev
        self.kids: list[bytes] = [UNKNOWN_KID]
        self.etags: list[bytes] = [b'"x"']
        self._favourites: list[bytes] = []
        self._kinds: Sequence[tuple[Callable[[], bytes], int]] = (
            (self._favourite, 820),
            (self._plain, 60),
            (self._varied, 50),
            (self._with_body, 30),
            (self._odd, 10),
            (self._long, 8),
            (self._mutated, 10),
            (self._http_1_0, 4),
            (self._after_empty_line, 8),
        )

    def learn(self, answers: bytes) -> None:
        """Know the keys and tags that were answered."""
        self.kids = [*self.kids[-8:], *_KID.findall(answers)[-12:]]
        self.etags = [*self.etags[-2:], *_ETAG.findall(answers)[-4:]]

    def request(self) -> bytes:
        """One request, or what is none."""
        kinds, weights = zip(*self._kinds, strict=True)
        return self._random.choices(kinds, weights)[0]()

    def _favourite(self) -> bytes:
        """One of a few that come again and again, and change slowly."""
        if len(self._favourites) < 12 or self._random.random() < 0.04:
            self._favourites = [*self._favourites[-15:], self._repeatable()]
        return self._random.choice(self._favourites)

    def _repeatable(self) -> bytes:
        """Most often one that the fast path takes."""
        request = b""
        for _ in range(5):
            request = self._plain() if self._random.random() < 0.6 else self._varied()
            served = b" /auth" in request or b"/.well-known/" in request
            if served and not request.startswith(self._unwanted):
                break
        return request

    def _start(self) -> bytes:
        """A request line of what is served."""
        kid = UNKNOWN_KID if self._random.random() < 0.1 else self._random.choice(self.kids)
        starts = (
            b"GET " + JWKS,
            b"GET " + JWKS,
            b"GET " + JWKS,
            b"HEAD " + JWKS,
            b"GET " + JWKS + b"?x=%d" % self._random.randrange(5),
            b"GET " + JWKS + b"?kid=" + kid,
            b"HEAD " + JWKS + b"?kid=" + _spelt(kid) + b"&Kid=" + kid,
            b"GET /.well-known/" + kid + b".json",
            b"GET /.well-known/" + kid + b".json",
            b"HEAD /.well-known/" + kid + b".json",
            b"GET " + DISCOVERY,
            b"HEAD " + DISCOVERY,
            b"GET /.well-known/oauth-authorization-server",
            b"POST /auth",
            b"POST /auth",
            b"POST /auth",
            b"POST /auth?lifetime=%d" % self._random.choice((5, 60, 60, 3600, 3600, 86_401)),
            b"POST /auth?expired=" + self._random.choice((b"true", b"token", b"token")),
            b"POST /auth?alg=" + self._random.choice((b"Ed25519", b"EdDSA", b"EdDSA", b"RS256")),
            b"POST /auth?defect=" + self._random.choice((b"alg-none", b"x")),
            b"POST /token",
            b"GET /healthz",
            b"GET /readyz",
            b"GET /",
            b"GET http://localhost:8080" + JWKS,
            b"GET http://localhost:8080/.well-known/" + kid + b".json",
            b"GET http://" + kid + b".localhost/.well-known/" + _spelt(kid) + b".json",
            b"GET /.well-known/" + _spelt(kid) + b".json",
            b"OPTIONS " + JWKS,
            b"GET /dev/keys" if self._dev else b"GET /dev",
        )
        return self._random.choice(starts)

    def _plain(self) -> bytes:
        return self._start() + b" HTTP/1.1\r\n" + HOST + b"\r\n"

    def _varied(self) -> bytes:
        """With fields that change the answer, or do not."""
        lines = [self._random.choice(HOSTS) if self._random.random() < 0.05 else HOST]
        for _ in range(self._random.randint(1, 3)):
            lines.append(self._field() + b"\r\n")
        self._random.shuffle(lines)
        return self._start() + b" HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"

    def _field(self) -> bytes:
        chance = self._random.random()
        if chance < 0.3:
            return b"Accept: " + self._random.choice(ACCEPTS)
        if chance < 0.6:
            return b"If-None-Match: " + self._tags()
        if chance < 0.98:
            return self._random.choice(FIELDS)
        return self._random.choice(BAD_FIELDS)

    def _tags(self) -> bytes:
        etag = self._random.choice(self.etags)
        forms = (etag, etag, b"W/" + etag, b'"x", ' + etag, b"*", b'"x"', etag[:-1], b"")
        return self._random.choice(forms)

    def _with_body(self) -> bytes:
        """A body that has a length, or comes in chunks."""
        media_type, body = self._random.choice(BODIES)
        start = b"POST /auth"
        if self._random.random() < 0.3:
            start, media_type, body = b"POST /token", FORM, TOKEN_FORM
        elif self._random.random() < 0.2:
            start = self._start()
        head = start + b" HTTP/1.1\r\n" + HOST + b"Content-Type: " + media_type + b"\r\n"
        if self._random.random() < 0.2:
            head += b"Expect: 100-continue\r\n"
        if self._random.random() < 0.3:
            chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def _odd(self) -> bytes:
        """Other methods, lines that are none, fields that are wrong."""
        chance = self._random.random()
        if chance < 0.3:
            return self._random.choice(LINES) + HOST + b"\r\n"
        line = self._start() + b" HTTP/1.1\r\n"
        if chance < 0.6:
            _, _, rest = line.partition(b" ")
            return self._random.choice(METHODS) + b" " + rest + HOST + b"\r\n"
        return line + HOST + self._random.choice(BAD_FIELDS) + b"\r\n\r\n"

    def _long(self) -> bytes:
        """A head about as long as what is remembered, or as what is read."""
        length = self._random.choice((2_048, 2_048, 2_048, 4_000, 16_384, 17_000))
        length += self._random.randint(-3, 3)
        head = self._start() + b" HTTP/1.1\r\n" + HOST
        if self._random.random() < 0.1:
            return head + b"A:\r\n" * self._random.choice((495, 510)) + b"\r\n"
        return head + b"X: " + b"x" * (length - len(head) - 7) + b"\r\n\r\n"

    def _mutated(self) -> bytes:
        """A few octets replaced, taken out or put in."""
        octets = bytearray(self._favourite())
        for _ in range(self._random.randint(1, 3)):
            at = self._random.randrange(len(octets))
            width = self._random.randint(0, 2)
            octets[at : at + width] = self._random.choice(_MUTATIONS)
        return bytes(octets)

    def _http_1_0(self) -> bytes:
        return self._favourite().replace(b"HTTP/1.1", b"HTTP/1.0")

    def _after_empty_line(self) -> bytes:
        return b"\r\n" * self._random.choice((1, 1, 1, 2)) + self._favourite()
