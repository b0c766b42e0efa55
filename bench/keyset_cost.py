"""What a key set of many keys costs everyone: its bytes, a verifier's time and memory, the network.

Keys are written by the server's own code. A key's length does not depend on its value, so RSA
moduli are random numbers. See ../docs/scaling.md.
"""

import gc
import json
import sys
import time
import tracemalloc
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass

from common import CHECKOUT
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as make_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as make_rsa_key
from documents import SCALING, digits, fill, markdown, plain
from fleet import requests_per_second
from jwcrypto.jwk import JWKSet
from live import SharedKey

sys.path.insert(1, str(CHECKOUT))

from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.keysets import key_set
from jwksd.jose.localkeys import LocalKeyPair

SIZES = (10, 1_000, 100_000)
COUNTED = 1_000
"""Keys at the most whose memory is counted; that of more is in proportion."""

VERIFIERS, LIFETIME = 1_000_000, 3600
"""Those that the network is reckoned for: so many, each fetching once in so many seconds."""

_SIGNER = make_rsa_key(public_exponent=65_537, key_size=2048)
MAKERS: dict[str, Callable[[], object]] = {
    "RS256": lambda: SharedKey(_SIGNER),
    "ES256": lambda: make_ec_key(SECP256R1()),
    "Ed25519": Ed25519PrivateKey.generate,
}
TOLD = {"RS256": "RS256, RSA-2048"}


@dataclass(frozen=True)
class Cost:
    """Of one key set; times in seconds, sizes in bytes."""

    keys: int
    size: int
    loading: float
    importing: float
    loaded: float
    imported: float

    @property
    def traffic(self) -> float:
        """Bytes a second that ``VERIFIERS`` are sent, where nobody is answered with 304."""
        return self.size * requests_per_second(VERIFIERS, LIFETIME)


def make_set(alg: str, keys: int) -> bytes:
    """The document of so many keys."""
    pairs = (LocalKeyPair(MAKERS[alg](), ALGORITHMS[alg]) for _ in range(keys))
    return key_set(pair.member for pair in pairs).body


def part_of(text: bytes, keys: int) -> bytes:
    """A set of the first keys of another."""
    return json.dumps({"keys": json.loads(text)["keys"][:keys]}, separators=(",", ":")).encode()


def seconds(work: Callable[[], object], keys: int) -> float:
    """The shortest of several runs; of large sets one or two have to do."""
    times = []
    for _ in range(max(1, min(50, 3000 // keys))):
        gc.collect()
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def memory(work: Callable[[], object]) -> int:
    """What Python holds of the result."""
    gc.collect()
    tracemalloc.start()
    result = work()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return held


def cost(text: bytes, keys: int) -> Cost:
    """Parse a set as verifiers do, by ``json.loads`` and by jwcrypto."""
    counted = min(keys, COUNTED)
    sample = part_of(text, counted)
    return Cost(
        keys,
        len(text),
        seconds(lambda: json.loads(text), keys),
        seconds(lambda: JWKSet.from_json(text.decode()), keys),
        memory(lambda: json.loads(sample)) * keys / counted,
        memory(lambda: JWKSet.from_json(sample.decode())) * keys / counted,
    )


HEAD = [
    "algorithm",
    "keys",
    "bytes a key",
    "the set",
    "`json.loads`",
    "jwcrypto",
    "memory, parsed",
    "memory, jwcrypto",
    f"{VERIFIERS:,} verifiers",
]


def row(alg: str, found: Cost) -> list[str]:
    """The line of a set in the table."""
    return [
        TOLD.get(alg, alg),
        f"{found.keys:,}",
        f"{found.size / found.keys:.0f}",
        size(found.size),
        duration(found.loading),
        duration(found.importing),
        size(found.loaded),
        size(found.imported),
        f"{size(found.traffic)}/s",
    ]


def size(octets: float) -> str:
    """Bytes with their unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000 or unit == "GB":
            break
        octets /= 1000
    return f"{digits(octets)} {unit}"


def duration(time: float) -> str:
    """Seconds with their unit, in two digits."""
    if time >= 1:
        return f"{digits(time, 2)} s"
    return f"{digits(1000 * time, 2)} ms" if time >= 1e-3 else f"{digits(1e6 * time, 2)} µs"


def main() -> int:
    """Measure, print, and answer the exit code."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="no set of 100,000 keys")
    parser.add_argument("--write-docs", action="store_true", help="update docs/scaling.md")
    arguments = parser.parse_args()
    sizes = SIZES[:2] if arguments.quick else SIZES
    rows = []
    for alg in MAKERS:
        text = make_set(alg, sizes[-1])
        rows += [row(alg, cost(part_of(text, keys), keys)) for keys in sizes]
    print(plain(HEAD, rows, left=1))
    if arguments.write_docs:
        fill(SCALING, "keysets", markdown(HEAD, rows, left=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
