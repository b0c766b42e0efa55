"""Bad input to POST /auth: each is a 400 that names the member and says what is allowed."""

import json
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.app import make_app
from tests.support.effort import pick
from tests.support.http import HttpTestCase
from tests.support.keys import PRIVATE_MEMBERS
from tests.support.primitives import octets

DATE = "must be a NumericDate in whole seconds"
TEXT = "must be a string (RFC 7519"
SERVER = "is set by the server; leave it out"

# What is posted as JSON (or, as bytes, sent as it is), the member at fault, what is said of it.
BODIES: list[tuple[object, str, str]] = [
    (b"", "", ""),
    (b"{", "body", "is not JSON"),
    (b"{}}", "body", "is not JSON"),
    (b"expired=token", "body", "it looks like a form: send Content-Type: application/x-www-form"),
    (b"{'expired': true}", "body", "is not JSON"),
    (b'{"expired": true,}', "body", "is not JSON"),
    (b'{"expired": True}', "body", "is not JSON"),
    (b'{"lifetime": 01}', "body", "is not JSON"),
    (b'{"lifetime": NaN}', "body", "NaN is no JSON number"),
    (b'{"lifetime": Infinity}', "body", "Infinity is no JSON number"),
    (b'{"claims": {"x": -Infinity}}', "body", "-Infinity is no JSON number"),
    (b'{"alg": "RS256\xff"}', "body", "not UTF-8"),
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", "body", "is not JSON"),
    (b'{"lifetime": 1e400}', "body", "1e400 is larger than any number"),
    (b'{"claims": {"n": [-1e999]}}', "body", "-1e999 is larger than any number"),
    (b'{"header": {"n": 1E+310}}', "body", "1E+310 is larger than any number"),
    (b'{"claims": {"n": ' + b"1" * 101 + b"}}", "body", "at most 100"),
    (b'{"claims": {"x": ' + b"[" * 63 + b"]" * 63 + b"}}", "body", "nested too deeply"),
    (b'{"claims": ' + b'{"a":' * 964 + b"1" + b"}" * 965, "body", "nested too deeply"),
    (rb'{"claims": {"sub": "\ud800"}}', "body", "surrogate"),
    ('{"expired": true}'.encode("utf-16"), "body", "not UTF-8"),
    (b"[" * 50_000, "body", "nested too deeply"),
    (b'{"claims":' * 6_000, "body", "nested too deeply"),
    (b'{"lifetime": ' + b"9" * 5000 + b"}", "body", "is not JSON"),
    (b'{"alg": "RS256", "alg": "ES256"}', "alg", "given twice with different values"),
    (b'{"claims": {"sub": "a", "sub": "b"}}', "sub", "given twice with different values"),
    (b'{"claims": {"x": {"y": 1, "y": 2}}}', "y", "given twice with different values"),
    ([], "body", "must be an object"),
    (["expired"], "body", "must be an object"),
    (None, "body", "must be an object"),
    (True, "body", "must be an object"),
    (0, "body", "must be an object"),
    ("expired=true", "body", "must be an object"),
    ({"Expired": True}, '"Expired"', "it may have"),
    ({"Expired": True}, '"Expired"', "did you mean expired?"),
    ({"expires": True, "x": 1}, '"expires"', "did you mean expired?"),
    ({"Username": "u", "login": "p"}, '"Username", "login"', "it may have"),
    ({"exp": 1}, '"exp"', '"claims"'),
    ({"": 1}, '""', "it may have"),
    ({"x" * 1000: 1}, '"xxx', "it may have"),
    ({"expired": "yes"}, "expired", "must be true, false or token"),
    ({"expired": "Token"}, "expired", "must be true, false or token"),
    ({"expired": 1}, "expired", "must be true, false or token"),
    ({"expired": 0.0}, "expired", "must be true, false or token"),
    ({"expired": "yes"}, "expired", 'not "yes"'),
    ({"expired": [None]}, "expired", "not [null]"),
    ({"expired": [True]}, "expired", "must be true, false or token"),
    ({"alg": True}, "alg", "must be a string, not true"),
    ({"alg": 256}, "alg", "must be a string"),
    ({"alg": ["RS256"]}, "alg", "must be a string"),
    ({"alg": ""}, "alg", "must be one of RS256"),
    ({"alg": "rs256"}, "alg", "must be one of RS256"),
    ({"alg": "none"}, "alg", "must be one of RS256"),
    ({"alg": "HS256"}, "alg", "must be one of RS256"),
    ({"alg": "ES256"}, "alg", "--alg adds others"),
    ({"lifetime": 0}, "lifetime", "1 to 86400 seconds"),
    ({"lifetime": -1}, "lifetime", "1 to 86400 seconds"),
    ({"lifetime": 86_401}, "lifetime", "1 to 86400 seconds"),
    ({"lifetime": 10**40}, "lifetime", "1 to 86400 seconds"),
    ({"lifetime": 1.5}, "lifetime", "whole number of seconds"),
    ({"lifetime": "1h"}, "lifetime", "whole number of seconds"),
    ({"lifetime": ""}, "lifetime", "whole number of seconds"),
    ({"lifetime": True}, "lifetime", "whole number of seconds"),
    ({"claims": [None, True]}, "claims", "must be a JSON object, not [null, true]"),
    ({"claims": "{}"}, "claims", "must be a JSON object"),
    ({"claims": []}, "claims", "must be a JSON object"),
    ({"claims": "sub=me"}, "claims", "must be a JSON object"),
    ({"claims": {"iss": None}}, "claims.iss", TEXT),
    ({"claims": {"iss": ["a"]}}, "claims.iss", TEXT),
    ({"claims": {"sub": 7}}, "claims.sub", TEXT),
    ({"claims": {"jti": {}}}, "claims.jti", TEXT),
    ({"claims": {"aud": None}}, "claims.aud", "a string or a list of strings"),
    ({"claims": {"aud": []}}, "claims.aud", "a string or a list of strings"),
    ({"claims": {"aud": ["a", 1]}}, "claims.aud", "a string or a list of strings"),
    ({"claims": {"aud": {"a": 1}}}, "claims.aud", "a string or a list of strings"),
    ({"claims": {"exp": None}}, "claims.exp", DATE),
    ({"claims": {"exp": "1800000000"}}, "claims.exp", DATE),
    ({"claims": {"exp": 1.8e9}}, "claims.exp", DATE),
    ({"claims": {"exp": -1}}, "claims.exp", DATE),
    ({"claims": {"exp": 10**15}}, "claims.exp", DATE),
    ({"claims": {"exp": 1_900_000_000}}, "claims.exp", "must be at most 1800086400"),
    ({"claims": {"exp": 1_800_000_009}, "lifetime": 9}, "claims.exp", "give one"),
    ({"claims": {"exp": 1}, "expired": True}, "claims.exp", "give one"),
    ({"claims": {"exp": 1}, "expired": "token"}, "claims.exp", "give one"),
    ({"claims": {"nbf": "now"}}, "claims.nbf", DATE),
    ({"claims": {"nbf": False}}, "claims.nbf", DATE),
    ({"claims": {"iat": [1]}}, "claims.iat", DATE),
    ({"claims": {"iat": 0.5}}, "claims.iat", DATE),
    ({"claims": {"EXP": 99_999_999_999, "exp": 1}}, "claims.EXP", "did you mean exp?"),
    ({"claims": {"i\u017f\u017f": "x"}}, "claims.i\u017f\u017f", "did you mean iss?"),
    ({"claims": {"act": {"Sub": "x"}}}, "claims.act.Sub", "did you mean sub?"),
    ({"claims": {"cnf": {"JKT": "x"}}}, "claims.cnf.JKT", "did you mean jkt?"),
    ({"header": {"ALG": "none"}}, "header.ALG", "did you mean alg?"),
    ({"header": {"\u212aid": "x"}}, "header.\u212aid", "did you mean kid?"),
    ({"header": {"Typ": "at+jwt"}}, "header.Typ", "did you mean typ?"),
    ({"header": "{}"}, "header", "must be a JSON object"),
    ({"header": ["typ"]}, "header", "must be a JSON object"),
    *(({"header": {name: "x"}}, f"header.{name}", SERVER) for name in
      ("alg", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "enc", "zip",
       "epk", "apu", "apv", "iv", "tag", "p2s", "p2c")),
    ({"header": {"typ": 1}}, "header.typ", "must be a string"),
    ({"header": {"cty": None}}, "header.cty", "must be a string"),
    ({"defect": "no-such"}, "defect", "GET /dev/defects"),
    ({"defect": "exp_past"}, "defect", "did you mean exp-past?"),
    ({"defect": ["control"]}, "defect", "GET /dev/defects"),
]  # fmt: skip

# The same over a query, where all values are text.
QUERIES: list[tuple[str, str, str]] = [
    ("expired", "expired", "must be true, false or token"),
    ("expired=", "expired", "must be true, false or token"),
    ("expired=True", "expired", "must be true, false or token"),
    ("expired=true&expired=false", "expired", "given twice with different values"),
    ("alg=", "alg", "must be one of RS256"),
    ("alg=RS256%00", "alg", "must be one of RS256"),
    ("alg=none", "alg", "must be one of RS256"),
    ("lifetime=", "lifetime", "whole number of seconds"),
    ("lifetime=-5", "lifetime", "whole number of seconds"),
    ("lifetime=1e3", "lifetime", "whole number of seconds"),
    ("lifetime=%D9%A3", "lifetime", "whole number of seconds"),
    ("lifetime=0", "lifetime", "1 to 86400 seconds"),
    ("claims=", "claims", "is not JSON"),
    ("claims=sub", "claims", "send the text of a JSON object, such as {}"),
    ("claims=null", "claims", "must be a JSON object such as {}, not null"),
    ("claims=[]", "claims", "must be a JSON object such as {}, not []"),
    ("claims={'sub':'x'}", "claims", "is not JSON"),
    ('claims={"sub":"a","sub":"b"}', "sub", "given twice with different values"),
    ('claims={"n":1e400}', "claims", "1e400 is larger"),
    ('claims={"sub":1}', "claims.sub", TEXT),
    ('claims={"SUB":"x"}', "claims.SUB", "did you mean sub?"),
    ("claims={}&claims={%22x%22:1}", "claims", "given twice with different values"),
    ("claims[sub]=x", '"claims[sub]"', "did you mean claims?"),
    ("expired=1", "expired", 'must be true, false or token, not "1"'),
    ("expired=true;alg=ES256", "expired", "must be true, false or token"),
    ("a=1;expired=true", "expired", "& separates parameters"),
    ("a=1?expired=true", "expired", "& separates parameters"),
    ("a=1&amp;expired=true", "expired", "& separates parameters"),
    ("Expired=true", '"Expired"', "did you mean expired?"),
    ("expired[]=true", '"expired[]"', "did you mean expired?"),
    ("%65xpired%20=true", '"expired "', "did you mean expired?"),
    ("expried=true", '"expried"', "did you mean expired?"),
    ("expired%FF=true", "expired", "did you mean expired?"),
    ('{"expired":true}', "expired", "did you mean expired?"),
    ("header={}", "header", "must be a JSON object, in a JSON body"),
    ("defect=none", "defect", "GET /dev/defects"),
    ("alg=%FF", "alg", "not UTF-8"),
]

# A refusal quotes what was sent: members of private keys in it would look like a leak.
NAMES = st.text(max_size=5).filter(lambda name: name not in PRIVATE_MEMBERS)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["expired", "alg", "lifetime", "claims", "header", "defect", "other"])
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "x"]), JSON_VALUES
)


class BadInputTests(HttpTestCase):
    def refusal(self, path: str, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body else {}
        response, answer = self.request("POST", path, data=body, headers=headers)
        return self.assert_problem(response, answer, 400, "invalid-parameter")["detail"]

    def test_the_table_is_as_long_as_it_should_be(self) -> None:
        """Sixty ways at the least to get it wrong."""
        self.assertGreaterEqual(len(BODIES) + len(QUERIES), 100)

    def test_each_body_is_refused_with_the_member_and_what_is_allowed(self) -> None:
        """And nothing is signed for it."""
        for body, member, said in BODIES[1:]:
            with self.subTest(body=str(body)[:60]):
                octets = body if isinstance(body, bytes) else json.dumps(body).encode()
                detail = self.refusal("/auth", octets)
                self.assertIn(member, detail)
                self.assertIn(said, detail)
                self.assertLess(len(detail), 400)
        self.assertEqual(len(self.app.issuer.policy.keys), 0)

    def test_each_query_is_refused_likewise(self) -> None:
        """What comes as text is read as strictly."""
        for query, member, said in QUERIES:
            with self.subTest(query=query):
                detail = self.refusal(f"/auth?{query}")
                self.assertIn(member, detail)
                self.assertIn(said, detail)

    @settings(max_examples=pick(50, 300), deadline=None)
    @given(st.dictionaries(MEMBERS, JSON_VALUES | CLAIMS, max_size=3))
    def test_any_json_object_is_signed_or_refused(self, wish: dict[str, object]) -> None:
        """200 with a token, or 400 with a problem; never anything else."""
        self.app = make_app(dev=True)
        response, body = self.request("POST", "/auth", json=wish)
        if response.code == 200:
            self.assertGreaterEqual(body.count(b"."), 1)
        else:
            self.assert_problem(response, body, 400, "invalid-parameter")

    @settings(max_examples=pick(50, 200), deadline=None)
    @given(CLAIMS)
    def test_claims_that_are_taken_are_signed_as_they_are(self, claims: dict[str, Any]) -> None:
        """What a client asked for and got no error for stands in its token."""
        self.app = make_app()
        response, body = self.request("POST", "/auth", json={"claims": claims})
        if response.code == 200:
            signed = json.loads(decode(body.split(b".")[1]))
            self.assertEqual({name: signed[name] for name in claims}, claims)


class WishTests(HttpTestCase):
    def signed(self, **wish: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and claims of the token for a wish."""
        response, body = self.request("POST", "/auth", json=wish)
        self.assertEqual(response.code, 200, body)
        head, payload, _ = body.split(b".")
        return json.loads(decode(head)), json.loads(decode(payload))

    def test_claims_and_header_are_merged_over_the_defaults(self) -> None:
        """A wrong iss is a wish; what is not asked for stays as it is."""
        header, claims = self.signed(
            claims={"iss": "https://other.example", "aud": ["a", "b"], "roles": ["x"]},
            header={"typ": "at+jwt", "x": {"y": None}},
        )
        self.assertEqual(
            (header["typ"], header["x"], header["alg"]), ("at+jwt", {"y": None}, "RS256")
        )
        self.assertEqual(claims["iss"], "https://other.example")
        self.assertEqual((claims["aud"], claims["roles"]), (["a", "b"], ["x"]))
        self.assertEqual(claims["exp"] - claims["iat"], 3600)

    def test_claims_come_as_json_text_in_query_and_form(self) -> None:
        """What a JSON body says in its claims, a form says in one field."""
        text = '{"sub": "a&b", "n": [1, true, null], "s": "\u00e9\\u20ac"}'
        multipart = (
            '--b\r\nContent-Disposition: form-data; name="claims"; filename="claims.json"\r\n'
            f"Content-Type: application/json\r\n\r\n\ufeff{text}\r\n--b--\r\n"
        ).encode()
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        for path, arguments in (
            (f"/auth?claims={quote(text)}", {}),
            ("/auth", {"data": {"claims": text}}),
            ("/auth", {"data": multipart, "headers": headers}),
            ("/auth", {"json": {"claims": json.loads(text)}}),
            (f"/auth?claims={quote(text)}", {"json": {"claims": json.loads(text)}}),
        ):
            with self.subTest(path=path):
                response, body = self.request("POST", path, **arguments)
                self.assertEqual(response.code, 200, body)
                claims = json.loads(decode(body.split(b".")[1]))
                self.assertEqual(
                    {name: claims[name] for name in ("sub", "n", "s")}, json.loads(text)
                )

    def test_credentials_are_ignored_in_a_json_body_too(self) -> None:
        """Login clients post a username and a password, of any type."""
        for wish in (
            {"username": "u", "password": "p"},
            {"username": None, "password": ["p"], "lifetime": 60},
            {"username": {"claims": {"EXP": 1}}},
        ):
            with self.subTest(wish=wish):
                header, claims = self.signed(**wish)
                self.assertEqual(set(header), {"alg", "typ", "kid"})
                self.assertEqual(set(claims), {"iss", "iat", "exp", "jti"})

    def test_null_has_the_default(self) -> None:
        """A client that fills in a form of all parameters and leaves some empty gets a token."""
        names = ("expired", "alg", "lifetime", "claims", "header", "defect", "username")
        header, claims = self.signed(**dict.fromkeys(names))
        self.assertEqual((header["alg"], header["typ"]), ("RS256", "JWT"))
        self.assertEqual(claims["exp"] - claims["iat"], 3600)

    def test_letters_take_as_many_octets_in_a_token_as_in_the_body(self) -> None:
        """A body of 64 KiB makes no token of 256 KiB, as it would with escapes."""
        text = "\u20ac" * 21_000
        data = json.dumps({"claims": {"x": text}}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        response, body = self.request("POST", "/auth", data=data, headers=headers)
        self.assertEqual(response.code, 200)
        self.assertLess(len(body), 90_000)
        self.assertEqual(json.loads(decode(body.split(b".")[1]))["x"], text)

    def test_what_is_as_deep_as_may_be_is_signed_and_read_back(self) -> None:
        """64 levels in the body are 63 in the token, which introspection follows."""
        deep = json.loads("[" * 62 + "]" * 62)
        response, body = self.request("POST", "/auth", json={"claims": {"x": deep}})
        self.assertEqual(response.code, 200, body)
        self.assertIsNotNone(self.app.issuer.introspect(body.decode()))

    def test_a_lifetime_is_that_of_token_and_key(self) -> None:
        """One second before its end the key is published, at its end it is gone."""
        for path, arguments in (
            ("/auth?lifetime=90", {}),
            ("/auth", {"data": {"lifetime": "90"}}),
            ("/auth", {"json": {"lifetime": 90}}),
        ):
            _, body = self.request("POST", path, **arguments)
            claims = json.loads(decode(body.split(b".")[1]))
            self.assertEqual(claims["exp"] - claims["iat"], 90)
        self.app.clock.advance(89)
        self.assertEqual(len(self.app.issuer.policy.keys), 3)
        self.app.clock.advance(1)
        self.assertEqual(len(self.app.issuer.policy.keys), 0)

    def test_an_exp_of_the_client_is_that_of_the_key_too(self) -> None:
        """Soon: the key goes with it. Past: the key is never published."""
        _, claims = self.signed(claims={"exp": 1_800_000_010})
        self.assertEqual((claims["iat"], len(self.app.issuer.policy.keys)), (1_800_000_000, 1))
        self.signed(claims={"exp": 1_799_999_999})
        self.assertEqual(len(self.app.issuer.policy.keys), 1)
        self.app.clock.advance(10)
        self.assertEqual(len(self.app.issuer.policy.keys), 0)

    def test_an_expired_token_may_have_any_lifetime(self) -> None:
        """It expired an hour ago all the same."""
        _, claims = self.signed(expired=True, lifetime=60)
        self.assertEqual((claims["iat"], claims["exp"]), (1_799_996_340, 1_799_996_400))

    def test_a_token_may_have_expired_alone(self) -> None:
        """By query, form or JSON, without --dev; its key is published for a lifetime."""
        self.app = make_app()
        kids = set()
        for path, arguments in (
            ("/auth?expired=token&lifetime=60", {}),
            ("/auth", {"data": {"expired": "token", "lifetime": "60"}}),
            ("/auth", {"json": {"expired": "token", "lifetime": 60, "claims": {"sub": "s"}}}),
        ):
            with self.subTest(path=path, arguments=arguments):
                headers = {"Accept": "application/json"}
                response, body = self.request("POST", path, headers=headers, **arguments)
                self.assertEqual(response.code, 200, body)
                minted = json.loads(body)
                self.assertEqual((minted["iat"], minted["exp"]), (1_799_996_340, 1_799_996_400))
                kids.add(minted["kid"])
        self.assertEqual({key.kid for key in self.app.issuer.policy.keys}, kids)
        self.app.clock.advance(60)
        self.assertEqual(len(self.app.issuer.policy.keys), 0)

    def test_the_algorithm_is_chosen_per_request(self) -> None:
        """Any that the server signs with; the first when none is asked for."""
        header, _ = self.signed(alg="RS256")
        self.assertEqual(header["alg"], "RS256")


def decode(segment: bytes) -> bytes:
    return octets(segment.decode("ascii"))
