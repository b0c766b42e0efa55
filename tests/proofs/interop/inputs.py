"""Whether anything that a proof looks at has changed since its page in docs/ was written.

``python -m tests.proofs.interop.inputs verifiers`` (or ``oauth-clients``) exits with 0 where the
page keeps the hash that its inputs have now: then the proof would find what is on the page.
"""

import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from tests.support.processes import CHECKOUT

_SERVER = ("jwksd/jose", "jwksd/lifecycle", "jwksd/issuing", "jwksd/web")
_INTEROP = "tests/proofs/interop"

INPUTS = {
    "verifiers": (
        *(*_SERVER, "jwksd/dev"),
        *(f"{_INTEROP}/matrix.py", f"{_INTEROP}/verifiers_python.py", f"{_INTEROP}/verifiers"),
    ),
    "oauth-clients": (
        *(*_SERVER, "jwksd/dev"),
        *(f"{_INTEROP}/{name}.py" for name in ("oauth_clients", "oauth_resource", "oauth_tools")),
        f"{_INTEROP}/oauth",
    ),
}
"""By page, the files and folders that decide what is on it."""


def page(name: str) -> Path:
    """Return the page on which the proof of this name writes what it found."""
    return CHECKOUT / "docs" / f"{name}.md"


def mark(name: str) -> str:
    """The line of the page that keeps the hash."""
    return f"<!-- inputs: {_hash(_files(INPUTS[name]))} -->"


def is_current(name: str) -> bool:
    """Whether the page keeps the hash that its inputs have now."""
    return page(name).exists() and mark(name) in page(name).read_text("utf-8").splitlines()


def _files(places: Iterable[str]) -> list[Path]:
    found: set[Path] = set()
    for place in places:
        path = CHECKOUT / place
        found |= {path} if path.is_file() else {one for one in path.rglob("*") if one.is_file()}
    return sorted(one for one in found if not _is_made(one))


def _is_made(path: Path) -> bool:
    """What tools leave behind is no input."""
    return path.suffix == ".pyc" or "node_modules" in path.parts or path.name == "package-lock.json"


def _hash(files: Iterable[Path]) -> str:
    digest = sha256()
    for path in files:
        digest.update(f"{path.relative_to(CHECKOUT)}\n".encode())
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(0 if is_current(sys.argv[1]) else 1)
