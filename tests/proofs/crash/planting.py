"""Planting: the proof that the search would find something, on a copy with a private key in it."""

import json
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwk import JWK

from tests.proofs.crash.leaks import Leaks, forms
from tests.proofs.crash.violation import demand

_ENOUGH = 2**20
"""Bytes of the copy."""


def prove(leaks: Leaks, clean: Path, folder: Path) -> int:
    """Plant private keys into a copy of a file's beginning, in many forms; how many were found.

    Raises:
        Violation: one was missed, or something is found where nothing was planted.
    """
    copy = folder / "planted"
    octets = clean.read_bytes()[:_ENOUGH]
    demand(leaks.find(octets) is None, f"{clean} is not clean")
    found = 0
    for name, planted in _private_forms(leaks):
        middle = len(octets) // 2
        copy.write_bytes(octets[:middle] + b"\x00" + planted + b"\x00" + octets[middle:])
        demand(leaks.find(copy.read_bytes()) is not None, f"the search misses {name}")
        found += 1
    copy.unlink()
    return found


def _private_forms(leaks: Leaks) -> Iterator[tuple[str, bytes]]:
    for secret, name in list(leaks.secrets.items())[:3]:
        for form in forms(secret):
            yield f"{name} as {len(form)} bytes", form
    unknown = JWK.generate(kty="EC", crv="P-256")
    leaks.publish([unknown["x"]])
    yield "a private half that nobody told it", unknown["d"].encode()
    yield "one after the length that PostgreSQL puts before a text", b"Y" + unknown["d"].encode()
    for kind in ({"kty": "EC", "crv": "P-256"}, {"kty": "RSA", "size": 2048}):
        stranger = JWK.generate(**kind)
        yield "a JWK", stranger.export_private().encode()
        yield "a JWK in a text", json.dumps(stranger.export_private()).encode()
        yield "PEM", stranger.export_to_pem(private_key=True, password=None)
        yield from _der_forms(stranger)


def _der_forms(key: JWK) -> Iterator[tuple[str, bytes]]:
    private = key.get_op_key("sign")
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        yield f"DER, {form}", private.private_bytes(Encoding.DER, form, NoEncryption())
