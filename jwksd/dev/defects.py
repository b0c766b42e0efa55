"""The catalogue of deliberately wrong tokens, and of controls that are right.

Each row has a name, what is wrong, the RFC section or CVE behind it, and the verdict of a correct
verifier. That verifier requires ``exp``, the issuer's ``iss`` and the ``aud`` of the request; it
takes the algorithm from the published key and expects the ``typ`` JWT.

The laws of the catalogue:
1. A row breaks one thing. All else in its token stays right, so that a verifier which accepts it
   fails at that one thing.
2. A row never needs the verifier to reach another machine.
3. "either" stands only where the RFCs leave it open; such a row shows what a verifier does.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from jwksd.dev.draft import (
    Draft,
    Forge,
    claims,
    encoded,
    header,
    hmac_keyed_with,
    raw_claim,
    signature,
    twice,
    unsigned,
    without,
)
from jwksd.jose.encoding import base64url, compact_json
from jwksd.jose.keys import KeyPair
from jwksd.jose.localkeys import LocalKeyPair
from jwksd.jose.tokens import Members

Verdict = Literal["accept", "refuse", "either"]

FOREIGN = "https://attacker.example"
"""An issuer, an audience and a host that are somebody else's."""

_HOUR = 3600
_CURVE_ORDERS = {  # SEC 2 v2, FIPS 186-5
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
                 "581a0db248b0a77aecec196accc52973", 16),
    "P-521": int("01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
                 "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16),
    "secp256k1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Defect:
    """One row. ``kinds`` are the key types that it exists for; ``published`` says whether the key
    of its token is on the documents."""

    name: str
    summary: str
    reference: str
    verdict: Verdict
    forge: Forge
    kinds: frozenset[str] = frozenset({"RSA", "EC", "OKP", "AKP"})
    published: bool = True

    def seal(
        self, header: Members, claims: Members, pair: KeyPair, foreign: KeyPair, now: int
    ) -> bytes:
        """Make the compact token of these, with this defect.

        Args:
            pair: the key that a verifier finds under the header's kid.
            foreign: another key of the same algorithm, which no document ever holds.
            now: a NumericDate in whole seconds.
        """
        return self.forge(Draft(dict(header), dict(claims), pair, foreign, now)).encode("ascii")

    def describe(self) -> dict[str, object]:
        """Return the row as the catalogue shows it."""
        return {
            "name": self.name,
            "summary": self.summary,
            "reference": self.reference,
            "verdict": self.verdict,
            "kty": sorted(self.kinds),
            "published": self.published,
        }


# Forges of one row each.


def _right(draft: Draft) -> str:
    return draft.seal()


def _high_s(draft: Draft) -> str:
    order = _CURVE_ORDERS[draft.pair.public["crv"]]

    def heighten(signature: bytes) -> bytes:
        size = len(signature) // 2
        s = int.from_bytes(signature[size:], "big")
        return signature[:size] + max(s, order - s).to_bytes(size, "big")

    return draft.seal_changed(heighten)


def _der(signature: bytes) -> bytes:
    size = len(signature) // 2
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    octets: bytes = encode_dss_signature(r, s)
    return octets


def _changed_after_signing(place: Literal["header", "claims"]) -> Forge:
    def forge(draft: Draft) -> str:
        token = draft.seal().split(".")
        changed = getattr(draft, place) | {"sub": "administrator"}
        token[0 if place == "header" else 1] = base64url(compact_json(changed)).decode("ascii")
        return ".".join(token)

    return forge


def _standard_base64(draft: Draft) -> str:
    """The signature in the alphabet of RFC 4648 §4; sealed anew until the two alphabets differ."""
    for attempt in range(1000):
        draft.claims["attempt"] = attempt
        first, second, signature = draft.segments()
        text = b64encode(signature).decode("ascii").rstrip("=")
        if "+" in text or "/" in text:
            break
    return f"{first}.{second}.{text}"


def _trailing_bits(draft: Draft) -> str:
    """The last character of the signature has bits that belong to no octet; one of them is set.

    A signature of a multiple of three octets has none: then a claim's segment has to serve, signed
    as it stands.
    """
    first, second, signature = draft.segments()
    text = base64url(signature).decode("ascii")
    if len(text) % 4 == 0:
        while len(second) % 4 == 0:
            draft.claims["padding"] = str(draft.claims.get("padding", "")) + "x"
            first, second, _ = draft.segments()
        second = _next_character(second)
        text = base64url(draft.pair.sign(f"{first}.{second}".encode("ascii"))).decode("ascii")
        return f"{first}.{second}.{text}"
    return f"{first}.{second}.{_next_character(text)}"


def _next_character(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


_MISLABELS = {
    **{f"RS{bits}": f"PS{bits}" for bits in (256, 384, 512)},
    **{f"PS{bits}": f"RS{bits}" for bits in (256, 384, 512)},
    "ES256": "ES256K",
    "ES256K": "ES256",
    "ES384": "ES256",
    "ES512": "ES256",
    "EdDSA": "Ed448",
    "Ed25519": "Ed448",
    "Ed448": "Ed25519",
    "ML-DSA-44": "ML-DSA-65",
    "ML-DSA-65": "ML-DSA-44",
    "ML-DSA-87": "ML-DSA-44",
}


def _encrypted(draft: Draft) -> str:
    """Claims encrypted to the published key: anybody can do that, so it proves nothing."""
    public = {name: draft.pair.public[name] for name in ("kty", "n", "e", "crv", "x", "y")
              if name in draft.pair.public}  # fmt: skip
    alg = "RSA-OAEP-256" if public["kty"] == "RSA" else "ECDH-ES"
    protected = {**draft.header, "alg": alg, "enc": "A256GCM"}
    header = compact_json(protected).decode("utf-8")
    jwe = JWE(compact_json(draft.claims), protected=header, recipient=JWK(**public))
    compact: str = jwe.serialize(compact=True)
    return compact


def _json_serialization(draft: Draft) -> str:
    first, second, signature = draft.segments()
    members = {
        "payload": second,
        "protected": first,
        "signature": base64url(signature).decode("ascii"),
    }
    return compact_json(members).decode("ascii")


def _certified(draft: Draft) -> Mapping[str, object]:
    foreign = draft.foreign
    assert isinstance(foreign, LocalKeyPair)  # noqa: S101  # foreign keys are made in this process
    certificate = foreign.self_signed(FOREIGN.removeprefix("https://"), draft.now)
    return {"x5c": [b64encode(certificate).decode("ascii")]}


def _foreign_key(draft: Draft) -> Mapping[str, object]:
    return {"jwk": dict(draft.foreign.public)}


def _audience(draft: Draft) -> str:
    """The audience that was asked for, or that this row has to make up."""
    audience = draft.claims.get("aud")
    if isinstance(audience, list):
        audience = audience[0]
    return audience if isinstance(audience, str) else "https://service.example"


def _not_a_claim(payload: bytes) -> Forge:
    return lambda draft: draft.seal_octets(payload=payload)


_RSA, _EC = frozenset({"RSA"}), frozenset({"EC"})
_ENCRYPTING = frozenset({"RSA", "EC"})
_CERTIFIED = frozenset({"RSA", "EC", "OKP"})

_TABLE = (
    # Controls: nothing is wrong with these.
    Defect("control", "nothing is wrong", "RFC 7519", "accept", _right),
    Defect("control-aud-array", "aud is a list that has the right audience", "RFC 7519 §4.1.3",
           "accept", claims(lambda d: {"aud": [FOREIGN, _audience(d)]})),
    Defect("control-exp-float", "exp has a fraction, as a NumericDate may", "RFC 7519 §2",
           "accept", claims(lambda d: {"exp": float(str(d.claims["exp"])) + 0.5})),
    Defect("control-iat-missing", "iat, which is optional, is missing", "RFC 7519 §4.1.6",
           "accept", without("claims", "iat")),
    Defect("control-nbf-past", "nbf was a minute ago", "RFC 7519 §4.1.5",
           "accept", claims(lambda d: {"nbf": d.now - 60})),
    Defect("control-unknown-claim", "a claim that nobody knows, to be ignored", "RFC 7519 §4",
           "accept", claims(lambda d: {"urn:example:unknown": {"nested": [1, None]}})),
    Defect("control-unknown-header", "a header parameter that nobody knows, to be ignored",
           "RFC 7515 §4", "accept", header(lambda d: {"urn:example:unknown": True})),
    Defect("control-typ-missing", "typ, which is optional, is missing", "RFC 7519 §5.1",
           "accept", without("header", "typ")),
    Defect("control-high-s", "an ECDSA signature whose s is in the upper half, as JOSE allows",
           "RFC 7518 §3.4", "accept", _high_s, _EC),
    # Times.
    Defect("exp-past", "expired an hour ago; its key is still published", "RFC 7519 §4.1.4",
           "refuse", claims(lambda d: {"exp": d.now - _HOUR, "iat": d.now - 2 * _HOUR})),
    Defect("claims-case", "expired an hour ago; a claim EXP, another name, is in the future",
           "RFC 7519 §7.3", "refuse", claims(lambda d: {
               "exp": d.now - _HOUR, "iat": d.now - 2 * _HOUR, "EXP": d.now + _HOUR})),
    Defect("exp-missing", "no exp", "RFC 9068 §2.2", "refuse", without("claims", "exp")),
    Defect("exp-string", "exp is a string of digits", "RFC 7519 §4.1.4",
           "refuse", claims(lambda d: {"exp": str(d.claims["exp"])})),
    Defect("exp-null", "exp is null", "RFC 7519 §4.1.4",
           "refuse", claims(lambda d: {"exp": None})),
    Defect("exp-negative", "exp is before 1970", "RFC 7519 §4.1.4",
           "refuse", claims(lambda d: {"exp": -1})),
    Defect("exp-huge", "exp is a number that no clock can reach", "RFC 7519 §2",
           "either", raw_claim("exp", b"1" + b"0" * 30)),
    Defect("exp-nan", "exp is written NaN, which is no JSON, and not less than any time",
           "RFC 8259 §6", "refuse", raw_claim("exp", b"NaN")),
    Defect("exp-infinity", "exp is written Infinity, which is no JSON, and later than any time",
           "RFC 8259 §6", "refuse", raw_claim("exp", b"Infinity")),
    Defect("exp-duplicated", "exp is given twice: first in the future, last in the past",
           "RFC 7519 §4", "refuse", twice("claims", "exp", lambda d: d.now - _HOUR)),
    Defect("nbf-future", "not valid before an hour from now", "RFC 7519 §4.1.5",
           "refuse", claims(lambda d: {"nbf": d.now + _HOUR})),
    Defect("nbf-string", "nbf is a string of digits, in the future", "RFC 7519 §4.1.5",
           "refuse", claims(lambda d: {"nbf": str(d.now + _HOUR)})),
    Defect("iat-future", "issued an hour from now; what that means is left open",
           "RFC 7519 §4.1.6", "either", claims(lambda d: {"iat": d.now + _HOUR})),
    Defect("iat-string", "iat is a string", "RFC 7519 §4.1.6",
           "refuse", claims(lambda d: {"iat": "yesterday"})),
    # Issuer and audience.
    Defect("iss-wrong", "iss is somebody else", "RFC 8725 §3.8",
           "refuse", claims(lambda d: {"iss": FOREIGN})),
    Defect("iss-missing", "no iss", "RFC 8725 §3.8", "refuse", without("claims", "iss")),
    Defect("iss-array", "iss is a list that has the right issuer", "RFC 7519 §4.1.1",
           "refuse", claims(lambda d: {"iss": [FOREIGN, d.claims["iss"]]})),
    Defect("iss-slash", "iss has a slash more than the issuer", "RFC 7519 §2",
           "refuse", claims(lambda d: {"iss": f"{d.claims['iss']}/"})),
    Defect("aud-wrong", "aud is somebody else", "RFC 8725 §3.9",
           "refuse", claims(lambda d: {"aud": FOREIGN})),
    Defect("aud-missing", "no aud", "RFC 8725 §3.9", "refuse", without("claims", "aud")),
    Defect("aud-array-wrong", "aud is a list without the right audience", "RFC 7519 §4.1.3",
           "refuse", claims(lambda d: {"aud": [FOREIGN, f"{FOREIGN}/2"]})),
    Defect("aud-array-empty", "aud is an empty list", "RFC 7519 §4.1.3",
           "refuse", claims(lambda d: {"aud": []})),
    Defect("aud-prefix", "aud begins with the right audience, and goes on", "RFC 7519 §2",
           "refuse", claims(lambda d: {"aud": f"{_audience(d)}.attacker.example"})),
    # How the key is found.
    Defect("kid-unknown", "the kid of no key; signed by the published one", "RFC 7515 §4.1.4",
           "refuse", header(lambda d: {"kid": d.foreign.kid})),
    Defect("kid-missing", "no kid; a verifier may try every key", "RFC 7515 §4.1.4",
           "either", without("header", "kid")),
    Defect("kid-duplicated", "kid is given twice: first the right one, last one of no key",
           "RFC 7515 §4", "refuse", twice("header", "kid", lambda d: d.foreign.kid)),
    Defect("kid-foreign", "the kid of the published key; signed by another", "RFC 7515 §4.1.4",
           "refuse", lambda d: d.seal(d.foreign)),
    Defect("kid-path", "kid is a path to a file", "RFC 8725 §3.10",
           "refuse", header(lambda d: {"kid": "../../../../../../dev/null"})),
    Defect("kid-sql", "kid is a piece of SQL", "RFC 8725 §3.10",
           "refuse", header(lambda d: {"kid": f"x' OR kid='{d.pair.kid}' --"})),
    Defect("kid-number", "kid is a number", "RFC 7515 §4.1.4",
           "refuse", header(lambda d: {"kid": 1})),
    Defect("kid-huge", "kid has ten thousand characters", "RFC 7515 §4.1.4",
           "refuse", header(lambda d: {"kid": "k" * 10_000})),
    Defect("key-expired", "expired an hour ago, and so did its key, which is on no document",
           "RFC 7519 §4.1.4", "refuse",
           claims(lambda d: {"exp": d.now - _HOUR, "iat": d.now - 2 * _HOUR}), published=False),
    Defect("key-revoked", "right in itself, but its key was withdrawn and is on no document",
           "RFC 7517 §5", "refuse", _right, published=False),
    # Signatures.
    Defect("sig-flipped", "one bit of the signature is flipped", "RFC 7515 §5.2",
           "refuse", signature(lambda s: s[:-1] + bytes([s[-1] ^ 1]))),
    Defect("sig-truncated", "the last octet of the signature is missing", "RFC 7515 §5.2",
           "refuse", signature(lambda s: s[:-1])),
    Defect("sig-extended", "an octet follows the signature", "RFC 7515 §5.2",
           "refuse", signature(lambda s: s + b"\0")),
    Defect("sig-empty", "the signature is empty", "RFC 7515 §5.2",
           "refuse", signature(lambda s: b"")),
    Defect("sig-stripped", "the third segment is missing", "RFC 7515 §7.1",
           "refuse", lambda d: d.seal().rpartition(".")[0]),
    Defect("sig-padded", "the signature ends in padding", "RFC 7515 §2",
           "refuse", lambda d: f"{d.seal()}=="),
    Defect("sig-alphabet", "the signature is in plain base64, not base64url", "RFC 7515 §2",
           "refuse", _standard_base64),
    Defect("sig-trailing-bits", "unused bits of the last character are set",
           "RFC 4648 §3.5", "either", _trailing_bits),
    Defect("payload-changed", "a claim was added after signing", "RFC 7515 §5.2",
           "refuse", _changed_after_signing("claims")),
    Defect("header-changed", "a header parameter was added after signing", "RFC 7515 §5.2",
           "refuse", _changed_after_signing("header")),
    Defect("ecdsa-zero", "r and s are zero", "CVE-2022-21449",
           "refuse", signature(lambda s: bytes(len(s))), _EC),
    Defect("ecdsa-der", "the signature is DER, not the two numbers side by side",
           "RFC 7518 §3.4", "refuse", signature(_der), _EC),
    # Algorithms.
    *(Defect(f"alg-{spelling}", f"alg is {spelling}, and there is no signature", "RFC 8725 §3.2",
             "refuse", unsigned(spelling)) for spelling in ("none", "None", "NONE", "nOnE")),
    Defect("alg-none-signed", "alg is none, but the signature is there and right",
           "RFC 8725 §3.2", "refuse", header(lambda d: {"alg": "none"})),
    Defect("alg-missing", "no alg", "RFC 7515 §4.1.1", "refuse", without("header", "alg")),
    Defect("alg-unknown", "alg is a name that nobody registered", "RFC 7515 §4.1.1",
           "refuse", header(lambda d: {"alg": "XX256"})),
    Defect("alg-mislabelled", "alg is a relative of the one that it was signed with",
           "RFC 8725 §3.1", "refuse", header(lambda d: {"alg": _MISLABELS[d.pair.alg]})),
    Defect("alg-hs256-pem", "HS256, its secret the public key as PEM", "RFC 8725 §2.1",
           "refuse", hmac_keyed_with(encoded(Encoding.PEM))),
    Defect("alg-hs256-der", "HS256, its secret the public key as DER", "RFC 8725 §2.1",
           "refuse", hmac_keyed_with(encoded(Encoding.DER))),
    Defect("alg-hs256-jwk", "HS256, its secret the text of the published JWK", "RFC 8725 §2.1",
           "refuse", hmac_keyed_with(lambda pair: pair.member)),
    # Keys that the token brings along.
    Defect("jwk-embedded", "signed by a key that the header brings along", "CVE-2018-0114",
           "refuse", header(_foreign_key, foreign=True)),
    Defect("jku-foreign", "signed by a key that the header says where to fetch",
           "RFC 8725 §3.10", "refuse",
           header(lambda d: {"jku": f"{FOREIGN}/jwks.json"}, foreign=True)),
    Defect("x5u-foreign", "signed by a key whose certificate the header says where to fetch",
           "RFC 8725 §3.10", "refuse",
           header(lambda d: {"x5u": f"{FOREIGN}/cert.pem"}, foreign=True)),
    Defect("x5c-foreign", "signed by a key whose own certificate the header brings along",
           "RFC 7515 §4.1.6", "refuse", header(_certified, foreign=True), _CERTIFIED),
    # Extensions and types.
    Defect("crit-unknown", "an extension that nobody knows is critical", "RFC 7515 §4.1.11",
           "refuse", header(lambda d: {"crit": ["urn:example:unknown"],
                                        "urn:example:unknown": True})),
    Defect("crit-empty", "crit is an empty list", "RFC 7515 §4.1.11",
           "refuse", header(lambda d: {"crit": []})),
    Defect("crit-absent", "crit names a parameter that is not there", "RFC 7515 §4.1.11",
           "refuse", header(lambda d: {"crit": ["urn:example:unknown"]})),
    Defect("b64-false", "b64 is false, which no JWT may say", "RFC 7797 §7",
           "refuse", header(lambda d: {"b64": False, "crit": ["b64"]})),
    Defect("typ-wrong", "typ is that of another kind of token", "RFC 8725 §3.11",
           "refuse", header(lambda d: {"typ": "secevent+jwt"})),
    # Structure.
    Defect("claims-utf8", "a claim is not UTF-8", "RFC 7519 §7.2",
           "refuse", raw_claim("sub", b'"\xff\xfe"')),
    Defect("claims-not-json", "the payload is no JSON", "RFC 7519 §7.2",
           "refuse", _not_a_claim(b"claims")),
    Defect("claims-not-object", "the payload is a JSON list", "RFC 7519 §7.2",
           "refuse", _not_a_claim(b"[]")),
    Defect("claims-100kb", "a claim of 100 kB; how much to take is left open", "RFC 7519",
           "either", claims(lambda d: {"filler": "x" * 100_000})),
    Defect("header-not-json", "the header is no JSON", "RFC 7519 §7.2",
           "refuse", lambda d: d.seal_octets(header=b"header")),
    Defect("segments-four", "a fourth segment follows", "RFC 7515 §7.1",
           "refuse", lambda d: f"{d.seal()}.{base64url(b'more').decode('ascii')}"),
    Defect("jws-json", "a JWS in JSON serialization, right in itself", "RFC 7519 §1",
           "refuse", _json_serialization),
    Defect("jwe", "claims encrypted to the published key, and signed by nobody",
           "RFC 8725 §3.3", "refuse", _encrypted, _ENCRYPTING),
)  # fmt: skip

DEFECTS: Mapping[str, Defect] = MappingProxyType({row.name: row for row in _TABLE})
"""Every row of the catalogue, by its name."""
