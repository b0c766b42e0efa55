"""OAuth: tokens for clients that act for themselves, introspection, discovery, and the errors."""

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from jwksd.errors import JwksdError, Overloaded
from jwksd.issuing.issuer import MAX_TOKEN
from jwksd.web.http.bodies import MAX_BODY, MAX_LONG_BODY
from jwksd.web.oauth import _code, _description
from tests.support.app import make_app
from tests.support.http import HttpTestCase
from tests.support.keys import NOW, BrokenSource, FullSource

ISSUER = "http://localhost:8080"
GRANT = [("grant_type", "client_credentials")]
CLIENT = [("client_id", "me"), ("client_secret", "s")]


def claims(token: str) -> dict[str, Any]:
    return json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))  # type: ignore[no-any-return]


class OAuthTestCase(HttpTestCase):
    def post(self, path: str, fields: list[tuple[str, str]], **arguments: Any) -> tuple[Any, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers |= arguments.pop("headers", {})
        data = urlencode(fields).encode()
        response, body = self.request("POST", path, data=data, headers=headers, **arguments)
        self.assertEqual(self.header(response, "content-type"), "application/json")
        self.assertEqual(self.header(response, "cache-control"), "no-store")
        return response, json.loads(body)

    def assert_error(self, answer: tuple[Any, Any], status: int, code: str, said: str = "") -> None:
        response, body = answer
        self.assertEqual((response.code, body["error"]), (status, code))
        self.assertEqual(set(body), {"error", "error_description"})
        self.assertIn(said, body["error_description"])


class TokenTests(OAuthTestCase):
    def test_the_token_is_that_of_rfc_9068(self) -> None:
        """typ at+jwt; iss, sub, aud, client_id, iat, exp and jti; scope as it was asked for."""
        response, body = self.post("/token", GRANT + CLIENT + [("scope", "read write")])
        self.assertEqual(response.code, 200)
        self.assertEqual(
            {**body, "access_token": ""},
            {"access_token": "", "token_type": "Bearer", "expires_in": 3600, "scope": "read write"},
        )
        header = json.loads(urlsafe_b64decode(body["access_token"].split(".")[0] + "=="))
        self.assertEqual(header["typ"], "at+jwt")
        self.assertEqual(
            claims(body["access_token"]),
            {
                "iss": ISSUER,
                "iat": NOW,
                "exp": NOW + 3600,
                "jti": "id-0",
                "sub": "me",
                "aud": ISSUER,
                "client_id": "me",
                "scope": "read write",
            },
        )

    def test_the_client_says_who_it_is_in_either_way(self) -> None:
        """By basic authentication, urldecoded as RFC 6749 §2.3.1 has it, or in the form."""
        basic = "Basic " + b64encode(b"a%3Ab+c:any%20secret").decode()
        for fields, headers, client in (
            (CLIENT, {}, "me"),
            ([("client_id", "public")], {}, "public"),
            ([], {"Authorization": basic}, "a:b c"),
            ([("client_id", "a:b c")], {"Authorization": basic}, "a:b c"),
            ([], {"Authorization": "basic " + b64encode(b"x:").decode()}, "x"),
        ):
            with self.subTest(client=client):
                _, body = self.post("/token", GRANT + fields, headers=headers)
                self.assertEqual(claims(body["access_token"])["sub"], client)

    def test_audiences_and_resources_become_the_aud(self) -> None:
        """One is a string, several are a list, each once, audiences first."""
        for fields, expected in (
            ([("audience", "api")], "api"),
            ([("resource", "https://api.example/x?y=1")], "https://api.example/x?y=1"),
            ([("resource", "urn:example:api")], "urn:example:api"),
            (
                [("resource", "https://a.example"), ("audience", "api"), ("audience", "api")],
                ["api", "https://a.example"],
            ),
        ):
            with self.subTest(fields=fields):
                _, body = self.post("/token", GRANT + CLIENT + fields)
                self.assertEqual(claims(body["access_token"])["aud"], expected)

    def test_refusals_have_the_codes_of_the_rfcs(self) -> None:
        """Each with a description that says what would be right."""
        for fields, status, code, said in (
            (CLIENT, 400, "invalid_request", "grant_type is missing"),
            ([*CLIENT, ("grant_type", "")], 400, "invalid_request", "grant_type is missing"),
            (
                [*CLIENT, ("grant_type", "password")],
                400,
                "unsupported_grant_type",
                "must be client_credentials",
            ),
            (GRANT + GRANT + CLIENT, 400, "invalid_request", "grant_type is given more than once"),
            (GRANT, 401, "invalid_client", "client_id"),
            ([*GRANT, ("client_secret", "s")], 401, "invalid_client", "client_id"),
            ([*GRANT, *CLIENT, ("scope", 'a"b')], 400, "invalid_scope", "printable ASCII"),
            ([*GRANT, *CLIENT, ("scope", "a  b")], 400, "invalid_scope", "one space"),
            ([*GRANT, *CLIENT, ("scope", "é")], 400, "invalid_scope", "ASCII"),
            ([*GRANT, *CLIENT, ("resource", "relative")], 400, "invalid_target", "absolute URI"),
            ([*GRANT, *CLIENT, ("resource", "https://x/#f")], 400, "invalid_target", "fragment"),
            ([*GRANT, *CLIENT, ("resource", "https://[")], 400, "invalid_target", "absolute URI"),
        ):
            with self.subTest(fields=fields):
                self.assert_error(self.post("/token", fields), status, code, said)

    def test_wrong_authorization_is_invalid_client(self) -> None:
        """401 with a challenge, whatever is wrong with the header."""
        for value in ("Bearer x", "Basic", "Basic !!", "Basic " + b64encode(b"none").decode(),
                      "Basic " + b64encode(b":s").decode(), "Basic " + b64encode(b"\xff:").decode(),
                      "Basic " + b64encode(b"%FF:x").decode()):  # fmt: skip
            with self.subTest(value=value):
                answer = self.post("/token", GRANT, headers={"Authorization": value})
                self.assert_error(answer, 401, "invalid_client")
                self.assertIn("Basic realm", self.header(answer[0], "www-authenticate") or "")

    def test_a_client_authenticates_once(self) -> None:
        """A secret in both places, or two different ids, are refused (RFC 6749 §2.3)."""
        headers = {"Authorization": "Basic " + b64encode(b"me:s").decode()}
        for fields in (CLIENT, [("client_id", "other")]):
            with self.subTest(fields=fields):
                answer = self.post("/token", GRANT + fields, headers=headers)
                self.assert_error(answer, 400, "invalid_request", "twice")

    def test_authorization_is_one_field(self) -> None:
        """Of two, a proxy may have looked at the other one."""
        fields = ["Basic " + b64encode(b"me:s").decode(), "Basic " + b64encode(b"you:s").decode()]
        answer = self.post("/token", GRANT, headers={"Authorization": fields})
        self.assert_error(answer, 400, "invalid_request", "more than once")

    def test_everything_else_errs_in_the_same_voice(self) -> None:
        """Wrong methods, bodies and media types have the error JSON of OAuth too."""
        for path in ("/token", "/introspect"):
            response, body = self.request("GET", path)
            self.assert_error((response, json.loads(body)), 405, "invalid_request", "POST")
            self.assertEqual(self.header(response, "allow"), "POST, OPTIONS")
            for data, content_type, status in (
                (b"{}", "application/json", 415),
                (b"a=%FF", "application/x-www-form-urlencoded", 400),
                (b"a=" + b"x" * 270_000, "application/x-www-form-urlencoded", 413),
            ):
                headers = {"Content-Type": content_type}
                response, body = self.request("POST", path, data=data, headers=headers)
                self.assert_error((response, json.loads(body)), status, "invalid_request")

    def test_the_query_does_not_count(self) -> None:
        """RFC 6749 §3.2: parameters are in the body; a secret in a URL would be logged."""
        answer = self.post("/token?client_id=me&client_secret=s", GRANT)
        self.assert_error(answer, 401, "invalid_client")

    def test_overload_and_faults_have_a_code(self) -> None:
        """503 is temporarily_unavailable with Retry-After, 500 server_error."""
        self.app = make_app(source=FullSource())
        answer = self.post("/token", GRANT + CLIENT)
        self.assert_error(answer, 503, "temporarily_unavailable")
        self.assertEqual(self.header(answer[0], "retry-after"), "7")
        self.app = make_app(source=BrokenSource())
        self.assert_error(self.post("/token", GRANT + CLIENT), 500, "server_error")
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(_code(Overloaded("", 1)), "temporarily_unavailable")
        self.assertEqual(_code(JwksdError("")), "server_error")

    @given(st.text(max_size=40))
    def test_any_description_has_the_characters_of_the_rfc(self, detail: str) -> None:
        """RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E."""
        self.assertRegex(_description(detail), r"\A[\x20-\x21\x23-\x5b\x5d-\x7e]*\Z")


class WishedTokenTests(OAuthTestCase):
    def grant(self, **fields: str) -> dict[str, Any]:
        """The answer of the token endpoint to these fields beside a right grant."""
        response, body = self.post("/token", [*GRANT, *CLIENT, *fields.items()])
        self.assertEqual(response.code, 200, body)
        return body  # type: ignore[no-any-return]

    def test_claims_are_merged_over_those_of_the_grant(self) -> None:
        """sub and aud may be others, what is not asked for stays; typ is at+jwt all the same."""
        wished = {"sub": "alice", "aud": ["a", "b"], "roles": ["é"], "iss": "https://x"}
        body = self.grant(claims=json.dumps(wished, ensure_ascii=False), scope="read")
        own = {"client_id": "me", "scope": "read", "iat": NOW, "exp": NOW + 3600, "jti": "id-0"}
        self.assertEqual(claims(body["access_token"]), {**own, **wished})
        header = json.loads(urlsafe_b64decode(body["access_token"].split(".")[0] + "=="))
        self.assertEqual(header["typ"], "at+jwt")

    def test_a_lifetime_is_that_of_the_token(self) -> None:
        """As at /auth; without a value it was not sent (RFC 6749 §3.2)."""
        body = self.grant(lifetime="90")
        self.assertEqual((body["expires_in"], claims(body["access_token"])["exp"]), (90, NOW + 90))
        self.assertEqual(self.grant(lifetime="", claims="", defect="")["expires_in"], 3600)

    def test_expires_in_is_told_from_now_on_and_never_negative(self) -> None:
        """Whatever the claims say of iat and exp (RFC 6749 §5.1)."""
        for wished, expected in (
            ({"exp": NOW + 60}, 60),
            ({"exp": NOW - 60}, 0),
            ({"exp": 0}, 0),
            ({"iat": 0}, 3600),
            ({"iat": NOW + 999_999}, 3600),
            ({"iat": 0, "exp": NOW + 5}, 5),
        ):
            with self.subTest(claims=wished):
                self.assertEqual(self.grant(claims=json.dumps(wished))["expires_in"], expected)

    def test_a_defect_is_that_of_the_catalogue(self) -> None:
        """With --dev; what it does not break is as /token writes it."""
        token = self.grant(defect="alg-none", claims='{"x":1}')["access_token"]
        head, _, signature = token.split(".")
        self.assertEqual(
            json.loads(urlsafe_b64decode(head + "==")) | {"kid": ""},
            {"alg": "none", "typ": "at+jwt", "kid": ""},
        )
        self.assertEqual((signature, claims(token)["x"]), ("", 1))
        past = claims(self.grant(defect="claims-case")["access_token"])
        self.assertLess(past["exp"], NOW)
        self.assertGreater(past["EXP"], NOW)

    def test_what_is_not_allowed_is_invalid_request(self) -> None:
        """With the words of /auth: what was wrong, and what would be right."""
        for fields, said in (
            ({"claims": "{"}, "claims is not JSON"),
            ({"claims": "null"}, "claims must be a JSON object such as {}, not null"),
            ({"claims": "sub=x"}, "claims is not JSON"),
            ({"claims": '{"n":1e400}'}, "1e400 is larger"),
            ({"claims": '{"exp":"1"}'}, "claims.exp must be a NumericDate"),
            ({"claims": '{"EXP":1}'}, "claims.EXP: did you mean exp?"),
            ({"claims": '{"client_id":"you"}'}, "claims.client_id is what the request says"),
            ({"claims": '{"scope":"all"}'}, "claims.scope is what the request says"),
            ({"claims": '{"Scope":"all"}'}, "claims.Scope: did you mean scope?"),
            ({"claims": '{"aud":"a"}', "audience": "b"}, "claims.aud stands instead of audience"),
            ({"claims": '{"aud":"a"}', "resource": "urn:b:c"}, "claims.aud stands instead of"),
            ({"claims": f'{{"exp":{NOW + 9}}}', "lifetime": "9"}, "claims.exp stands instead of"),
            ({"lifetime": "0"}, "lifetime must be 1 to 86400 seconds"),
            ({"lifetime": "1h"}, "lifetime must be a whole number of seconds, not '1h'"),
            ({"defect": "no-such"}, "no defect is called 'no-such'"),
            ({"defect": "alg_none"}, "did you mean alg-none?"),
            ({"defect": "ecdsa-zero"}, "defect ecdsa-zero exists for EC keys only"),
        ):
            with self.subTest(fields=fields):
                answer = self.post("/token", [*GRANT, *CLIENT, *fields.items()])
                self.assert_error(answer, 400, "invalid_request", said)

    def test_without_dev_there_are_no_defects(self) -> None:
        """The refusal says which option is missing."""
        self.app = make_app(dev=False)
        answer = self.post("/token", [*GRANT, *CLIENT, ("defect", "alg-none")])
        self.assert_error(answer, 400, "invalid_request", "--dev")
        answer = self.post("/token", [*GRANT, *CLIENT, ("defect", "no-such")])
        self.assert_error(answer, 400, "invalid_request", "--dev")
        self.assertEqual(self.grant(lifetime="5", claims="{}")["expires_in"], 5)

    def test_what_it_does_not_know_is_ignored(self) -> None:
        """RFC 6749 §3.2 has it so, however near a name is."""
        body = self.grant(
            Lifetime="1", claim="x", expired="true", header="{}", **{"claims[a]": "1"}
        )
        self.assertEqual(body["expires_in"], 3600)

    def test_a_form_that_is_json_is_refused(self) -> None:
        """curl -d sends JSON as a form, whose one field would have an odd name."""
        for path in ("/token", "/introspect"):
            for data in (b'{"grant_type":"client_credentials"}', b"{grant_type: x}", b" \n[{}]"):
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                response, body = self.request("POST", path, data=data, headers=headers)
                answer = (response, json.loads(body))
                self.assert_error(answer, 400, "invalid_request", "the body is JSON")
                self.assertIn("Content-Type", answer[1]["error_description"])


class IntrospectTests(OAuthTestCase):
    def introspect(self, token: str) -> Any:
        response, body = self.post("/introspect", [*CLIENT, ("token", token)])
        self.assertEqual(response.code, 200)
        return body

    def token(self) -> str:
        token: str = self.post("/token", [*GRANT, ("client_id", "me")])[1]["access_token"]
        return token

    def test_a_valid_token_is_active_with_its_claims(self) -> None:
        """RFC 7662 §2.2: active, and what the token says."""
        body = self.introspect(token := self.token())
        self.assertEqual(body, {"active": True, "token_type": "Bearer", **claims(token)})

    def test_a_token_that_is_no_longer_valid_is_not_active(self) -> None:
        """Expired, its key reset, or not ours: active is false, and there is no other member."""
        token = self.token()
        self.app.clock.advance(3599)
        self.assertTrue(self.introspect(token)["active"])
        self.app.clock.advance(1)
        reset = self.token()
        self.successResultOf(Deferred.fromCoroutine(self.app.issuer.reset_keys()))
        for text in (token, reset, "nonsense", "a.b.c", token[:-8], "é"):
            with self.subTest(text=text[:20]):
                self.assertEqual(self.introspect(text), {"active": False})

    def test_a_token_of_another_issuer_is_not_active(self) -> None:
        """Signed by us as a wish, but not in our name."""
        _, token = self.request("POST", "/auth", json={"claims": {"iss": "https://other.example"}})
        self.assertEqual(self.introspect(token.decode()), {"active": False})

    def test_a_claim_cannot_say_that_a_token_is_active(self) -> None:
        """A claim of that name does not overrule the verdict."""
        _, token = self.request("POST", "/auth", json={"claims": {"active": False}})
        self.assertIs(self.introspect(token.decode())["active"], True)

    def test_no_token_makes_it_fail(self) -> None:
        """Nested as deeply as a body allows, with numbers beyond all bounds, or no JSON at all."""
        right = {"kid": "x", "alg": "RS256"}
        for header in (
            b"[" * 1000,
            b"[" * 980 + b"]" * 980,
            b'{"kid":' * 900 + b'"x"' + b"}" * 900,
            b'{"kid":"x","a":' + b"[" * 40_000 + b"}",
            b'{"kid":1e400}',
            b'{"kid":' + b"9" * 5000 + b"}",
            b'{"kid":"\\ud800"}',
            b"\xff\xfe{\0}\0",
            b"\xef\xbb\xbf" + json.dumps(right).encode(),
            b" ",
        ):
            text = urlsafe_b64encode(header).decode().rstrip("=")
            for token in (text, f"{text}.e30.x", f"{text}.{text}.{text}"):
                with self.subTest(header=header[:20]):
                    self.assertEqual(self.introspect(token[:60_000]), {"active": False})

    def minted(self, **wish: Any) -> str:
        """A token of ``/auth``."""
        response, body = self.request("POST", "/auth", json=wish)
        self.assertEqual(response.code, 200, body)
        return body.decode()

    def test_a_token_of_another_type_is_not_active(self) -> None:
        """RFC 8725 §3.11: JWT and at+jwt are for access, in any case and by their long names."""
        for typ in ("JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"):
            with self.subTest(typ=typ):
                token = self.minted(header={"typ": typ})
                self.assertIs(self.introspect(token)["active"], True)
        for typ in ("logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", "", "x/at+jwt", "jwt ",
                    "application/application/jwt", "JWT;x"):  # fmt: skip
            with self.subTest(typ=typ):
                token = self.minted(header={"typ": typ})
                self.assertEqual(self.introspect(token), {"active": False})
        token = self.minted(defect="control-typ-missing")
        self.assertEqual(self.introspect(token), {"active": False})

    def test_a_claim_is_no_word_of_the_servers(self) -> None:
        """Its type is Bearer, there is no user, and only access tokens have clients."""
        said = {"active": "no", "token_type": "DPoP", "username": "root", "client_id": "other"}
        body = self.introspect(self.minted(claims={**said, "sub": "s"}))
        self.assertEqual(
            {name: body.get(name) for name in (*said, "sub")},
            {
                "active": True,
                "token_type": "Bearer",
                "username": None,
                "client_id": None,
                "sub": "s",
            },
        )
        body = self.introspect(self.minted(claims=said, header={"typ": "at+jwt"}))
        self.assertEqual((body["client_id"], body.get("username")), ("other", None))
        self.assertEqual(self.introspect(self.token())["client_id"], "me")

    def test_a_token_that_was_signed_can_be_introspected(self) -> None:
        """However long: it is bounded when it is made, by a 400 that says so."""
        for text, status in (
            ("x" * 65_400, 200),  # as many as fit into a body
            ("é" * 10_000, 200),
            ([1e15] * 3_000, 200),  # each is written as 1000000000000000.0
            ([1e15] * 4_000, 400),
            ([1e15] * 10_000, 400),
        ):
            with self.subTest(text=text[:3]):
                data = json.dumps({"claims": {"x": text}}, ensure_ascii=False).replace(", ", ",")
                body = data.replace("1000000000000000.0", "1e15").encode()
                headers = {"Content-Type": "application/json"}
                response, answer = self.request("POST", "/auth", data=body, headers=headers)
                self.assertEqual(response.code, status, answer[:200])
                if status == 200:
                    self.assertLessEqual(len(answer), MAX_TOKEN)
                    self.assertIs(self.introspect(answer.decode())["active"], True)
                else:
                    problem = self.assert_problem(response, answer, 400, "invalid-parameter")
                    self.assertIn("claims and header make a token of", problem["detail"])
                    self.assertIn(str(MAX_TOKEN), problem["detail"])

    def test_a_token_that_is_long_on_purpose_can_be_introspected(self) -> None:
        """The largest of the catalogue is right, and so is one with as many claims as fit."""
        for text in ("", "x" * 65_000):
            with self.subTest(length=len(text)):
                token = self.minted(defect="claims-100kb", claims={"x": text})
                self.assertGreater(len(token), MAX_TOKEN)
                self.assertIs(self.introspect(token)["active"], True)

    def test_a_body_that_is_longer_than_any_token_is_refused(self) -> None:
        """At /introspect, where the bound is that of a token; others keep theirs."""
        for path, most in (("/introspect", MAX_LONG_BODY), ("/token", MAX_BODY)):
            for length, status in ((most, 400), (most + 1, 413)):
                with self.subTest(path=path, length=length):
                    headers = {"Content-Type": "application/x-www-form-urlencoded"}
                    data = b"client_id=c&x=".ljust(length, b"y")
                    response, _ = self.request("POST", path, data=data, headers=headers)
                    self.assertEqual(response.code, status)

    def test_token_and_client_are_needed(self) -> None:
        """RFC 7662 §2.1: the client must say who it is, and which token it means."""
        self.assert_error(self.post("/introspect", CLIENT), 400, "invalid_request", "token")
        self.assert_error(self.post("/introspect", [("token", "x")]), 401, "invalid_client")


class DiscoveryTests(HttpTestCase):
    PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")

    def test_both_documents_tell_the_same(self) -> None:
        """Issuer, key set, endpoints, algorithms: every URL is the issuer's."""
        self.app = make_app(name="https://issuer.example/", algorithms=["RS256", "ES256"])
        bodies = [self.request("GET", path)[1] for path in self.PATHS]
        self.assertEqual(bodies[0], bodies[1])
        told = json.loads(bodies[0])
        self.assertEqual(told["issuer"], "https://issuer.example/")
        self.assertEqual(told["jwks_uri"], "https://issuer.example/.well-known/jwks.json")
        self.assertEqual(told["token_endpoint"], "https://issuer.example/token")
        self.assertEqual(told["id_token_signing_alg_values_supported"], ["RS256", "ES256"])

    def test_they_are_documents_like_the_others(self) -> None:
        """HEAD, 304, CORS; cached for five minutes, for they do not change."""
        response, _ = self.request("GET", self.PATHS[0])
        self.assertEqual(self.header(response, "cache-control"), "public, max-age=300")
        self.assertEqual(self.header(response, "access-control-allow-origin"), "*")
        headers = {"If-None-Match": self.header(response, "etag")}
        self.assertEqual(self.request("GET", self.PATHS[1], headers=headers)[0].code, 304)
        self.assertEqual(self.request("HEAD", self.PATHS[0])[0].code, 200)
        self.assertEqual(self.request("OPTIONS", self.PATHS[0])[0].code, 204)

    def test_a_mismatch_is_logged_once_a_host(self) -> None:
        """Asked by another name than the issuer's, the log says what to do; but once."""
        told: list[Any] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        for host in ("localhost:8080", "issuer", "issuer", *(f"h{n}" for n in range(150))):
            self.request("GET", self.PATHS[0], headers={"Host": host})
        warnings = [event for event in told if "asked" in str(event.get("log_format"))]
        self.assertEqual(len(warnings), 151)
        self.assertEqual(warnings[0]["host"], "issuer")
