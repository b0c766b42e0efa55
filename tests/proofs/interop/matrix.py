"""The matrix of verifiers: every algorithm and every defect, over HTTP, against each of them.

    python -m tests.proofs.interop.matrix --tools DIR            compare with docs/verifiers.md
    python -m tests.proofs.interop.matrix --tools DIR --write    write docs/verifiers.md

npm packages are installed into DIR, Debian packages where they belong.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any
from urllib.request import Request, urlopen

from jwksd.dev.defects import DEFECTS, Defect
from jwksd.jose.algorithms import ALGORITHMS
from tests.proofs.interop import inputs
from tests.proofs.interop.verifiers_python import VERIFIERS, Question
from tests.support.processes import Daemon, running

SOURCES = Path(__file__).resolve().parent / "verifiers"
DOCUMENT = inputs.page("verifiers")
DEBIAN_PACKAGES = ("ruby", "ruby-jwt", "libcrypt-jwt-perl", "libwww-perl")
AUDIENCE = "https://api.example"

PROCESSES = {
    "npm jose": ["node", "jose.mjs"],
    "npm jsonwebtoken": ["node", "jsonwebtoken.mjs"],
    "ruby-jwt": ["ruby", "ruby_jwt.rb"],
    "Crypt::JWT": ["perl", "crypt_jwt.pl"],
}
"""Verifiers that run by themselves, and answer a line of JSON with one."""

Ask = Callable[[Question], str]
"""Why a token is refused; empty when it is accepted."""

ACCEPTS, REFUSES, CANNOT = "✓", "✗", "–"  # noqa: RUF001

_NOTES: list[tuple[str, str, str]] = [
    (
        "It does not look at `typ`, or only by an option that refuses tokens without one too.",
        "PyJWT joserfc Authlib python-jose npm_jose npm_jsonwebtoken ruby-jwt Crypt::JWT",
        "typ-wrong",
    ),
    (
        "It does not look at `crit`.",
        "python-jose npm_jsonwebtoken ruby-jwt Crypt::JWT",
        "crit-unknown crit-empty crit-absent b64-false",
    ),
    (
        "It goes through the names in `crit`, and does not mind that there are none.",
        "joserfc Authlib",
        "crit-empty",
    ),
    (
        "Its Base64 decoder takes padding.",
        "PyJWT Authlib python-jose npm_jose ruby-jwt Crypt::JWT",
        "sig-padded",
    ),
    (
        "Its decoder translates the alphabet of base64url and takes the plain one as well.",
        "Authlib python-jose ruby-jwt",
        "sig-alphabet",
    ),
    (
        "It converts `exp` to a number before it compares.",
        "PyJWT python-jose ruby-jwt Crypt::JWT",
        "exp-string",
    ),
    (
        "Its JSON parser reads NaN and Infinity, which are not less than any time.",
        "Authlib",
        "exp-nan exp-infinity",
    ),
    (
        "It looks at `iat` only to compute an age, where one is asked for.",
        "npm_jsonwebtoken",
        "iat-string",
    ),
    ("It reads a text that is no number as zero.", "Crypt::JWT", "iat-string"),
    ("It has no option to require `exp`.", "npm_jsonwebtoken", "exp-missing"),
    (
        "It does not look at `kid` and tries every key of the set.",
        "python-jose",
        "kid-unknown kid-duplicated kid-path kid-sql kid-number kid-huge",
    ),
    (
        "Octets that are no UTF-8 are replaced, or left as they are, and not refused.",
        "npm_jsonwebtoken ruby-jwt",
        "claims-utf8",
    ),
    (
        "It verifies the flattened JSON serialization of RFC 7515 §7.2.2 too.",
        "Crypt::JWT",
        "jws-json",
    ),
]

FOOTNOTES = {
    (name.replace("_", " "), row): note
    for note, names, rows in _NOTES
    for name in names.split()
    for row in rows.split()
}
"""Why a verifier gives a row another verdict than a correct one would; each read in its source."""


def install(tools: Path) -> None:
    """Put what is missing into the folder; the Debian packages go where they belong."""
    shutil.copytree(SOURCES, tools, dirs_exist_ok=True)
    if not (tools / "node_modules" / "jose").is_dir():
        _quietly("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=tools)
    probe = ["perl", "-MCrypt::JWT", "-MLWP::UserAgent", "-e", "1"]
    if shutil.which("ruby") is None or subprocess.run(probe, capture_output=True).returncode:
        if os.geteuid() != 0:
            raise SystemExit(f"install these Debian packages first: {' '.join(DEBIAN_PACKAGES)}")
        _quietly("apt-get", "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES)


def _quietly(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def ask_function(verify: Callable[[Question], None]) -> Ask:
    """A verifier of this process."""

    def ask(question: Question) -> str:
        try:
            verify(question)
        except Exception as error:  # whatever it raises, it does not accept
            return f"{type(error).__name__}: {error}"
        return ""

    return ask


@contextmanager
def ask_process(command: list[str], tools: Path) -> Iterator[Ask]:
    """A verifier of its own process."""
    process = subprocess.Popen(
        command, cwd=tools, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(question: Question) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(question)) + "\n")
        process.stdin.flush()
        why: str = json.loads(process.stdout.readline())["why"]
        return why

    try:
        yield ask
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextmanager
def verifiers(tools: Path) -> Iterator[dict[str, Ask]]:
    """Every verifier, ready to be asked."""
    with ExitStack() as stack:
        asks = {name: ask_function(verify) for name, (_, verify) in VERIFIERS.items()}
        for name, command in PROCESSES.items():
            asks[name] = stack.enter_context(ask_process(command, tools))
        yield asks


def mint(daemon: Daemon, alg: str, defect: str) -> Question:
    """A token of the catalogue, and where its key is to be found."""
    wish = {"alg": alg, "defect": defect, "claims": {"aud": AUDIENCE, "sub": "user"}}
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = Request(f"{daemon.url}/auth", json.dumps(wish).encode(), headers)
    with urlopen(request, timeout=60) as answer:
        minted = json.load(answer)
    # The set, where there is only this key: an unfamiliar one makes some drop them all.
    jwks = f"{daemon.url}/.well-known/jwks.json"
    issuer = f"http://localhost:{daemon.port}"
    return Question(minted["token"], jwks, issuer, AUDIENCE, alg)


def act(daemon: Daemon, action: str) -> None:
    """An action of the dev surface."""
    urlopen(Request(f"{daemon.url}/dev?action={action}", method="POST"), timeout=60).close()


Verdicts = dict[str, str]
"""A mark by verifier."""


def ask_all(daemon: Daemon, asks: dict[str, Ask], alg: str, defect: str) -> Verdicts:
    """The verdict of each verifier on one row."""
    act(daemon, "resetkeys")
    question = mint(daemon, alg, defect)
    return {name: REFUSES if ask(question) else ACCEPTS for name, ask in asks.items()}


def algorithm_rows(daemon: Daemon, asks: dict[str, Ask]) -> dict[str, Verdicts]:
    """For each algorithm, whether a verifier accepts a token that is right: it speaks it."""
    rows = {}
    for alg in ALGORITHMS:
        verdicts = ask_all(daemon, asks, alg, "control")
        rows[alg] = {n: ACCEPTS if mark == ACCEPTS else CANNOT for n, mark in verdicts.items()}
    return rows


def mixed_rows(daemon: Daemon, asks: dict[str, Ask]) -> dict[str, Verdicts]:
    """Whether an RS256 token is still accepted when a key of another algorithm is in the set."""
    rows = {}
    for alg in ("ES256", "ES256K", "Ed25519", "Ed448", "ML-DSA-65"):
        act(daemon, "reset")
        act(daemon, f"set&time={int(time()) - 5}")  # so that the other key is always the first
        mint(daemon, alg, "control")
        act(daemon, "release")
        question = mint(daemon, "RS256", "control")
        rows[alg] = {name: REFUSES if ask(question) else ACCEPTS for name, ask in asks.items()}
    return rows


def defect_rows(
    daemon: Daemon, asks: dict[str, Ask], alg: str, speakers: Verdicts
) -> dict[str, Verdicts]:
    """Every row of the catalogue that exists for the algorithm."""
    rows = {}
    for defect in DEFECTS.values():
        if ALGORITHMS[alg].kty in defect.kinds:
            verdicts = ask_all(daemon, asks, alg, defect.name)
            rows[defect.name] = {
                name: mark if speakers[name] == ACCEPTS else CANNOT
                for name, mark in verdicts.items()
            }
    return rows


def is_odd(defect: Defect, mark: str) -> bool:
    """Whether a correct verifier would have said otherwise."""
    wrong = {"accept": REFUSES, "refuse": ACCEPTS}.get(defect.verdict)
    return mark == wrong


def versions(tools: Path) -> dict[str, str]:
    """What was asked, in which version."""
    node = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    perl = ["perl", "-MCrypt::JWT", "-e", "print $Crypt::JWT::VERSION"]
    ruby = ["ruby", "-r", "jwt", "-e", "print JWT::VERSION::STRING"]
    return {
        **{name: version(distribution) for name, (distribution, _) in VERIFIERS.items()},
        "npm jose": node["jose"],
        "npm jsonwebtoken": f"{node['jsonwebtoken']}, with jwks-rsa {node['jwks-rsa']}",
        "ruby-jwt": subprocess.run(ruby, capture_output=True, text=True, check=True).stdout,
        "Crypt::JWT": subprocess.run(perl, capture_output=True, text=True, check=True).stdout,
    }


def table(head: str, rows: dict[str, Verdicts], names: list[str], odd: bool = False) -> list[str]:
    """A table in Markdown; marks that a correct verifier would not give are bold, with a note."""
    lines = [f"| {head} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row, verdicts in rows.items():
        marks = [_mark(row, name, verdicts[name], odd) for name in names]
        lines.append(f"| `{row}` | {' | '.join(marks)} |")
    return [*lines, ""]


def _mark(row: str, name: str, mark: str, odd: bool) -> str:
    if not odd or not is_odd(DEFECTS[row], mark):
        return mark
    notes = list(dict.fromkeys(FOOTNOTES.values()))
    note = FOOTNOTES.get((name, row))
    return f"**{mark}**{f'[{notes.index(note) + 1}]' if note else '[?]'}"


@contextmanager
def server(folder: str) -> Iterator[Daemon]:
    """A jwksd that signs with everything."""
    algorithms = ",".join(ALGORITHMS)
    with running(folder, "--dev", "--alg", algorithms, "--reserve", "1") as daemon:
        yield daemon


def measure(tools: Path) -> dict[str, Any]:
    """Every verdict."""
    with TemporaryDirectory() as folder, server(folder) as daemon, verifiers(tools) as asks:
        algorithms = algorithm_rows(daemon, asks)
        return {
            "names": list(asks),
            "algorithms": algorithms,
            "mixed": mixed_rows(daemon, asks),
            "RS256": defect_rows(daemon, asks, "RS256", algorithms["RS256"]),
            "ES256": defect_rows(daemon, asks, "ES256", algorithms["ES256"]),
        }


def document(found: dict[str, Any], tools: Path) -> str:
    """The page."""
    names = found["names"]
    template = (SOURCES / "verifiers.md").read_text("utf-8")
    told = versions(tools)
    parts = {
        "versions": [f"- {name} {told[name]}" for name in names],
        "algorithms": table("algorithm", found["algorithms"], names),
        "mixed": table("also in the set", found["mixed"], names),
        "RS256": table("token", found["RS256"], names, odd=True),
        "ES256": table("token", found["ES256"], names, odd=True),
        "notes": [
            f"{number}. {note}" for number, note in enumerate(dict.fromkeys(FOOTNOTES.values()), 1)
        ],
    }
    for name, lines in parts.items():
        template = template.replace(f"<{name}>", "\n".join(lines).strip())
    return f"{template.rstrip()}\n\n{inputs.mark('verifiers')}\n"


def odd_ones(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Verifier and row, wherever a correct verifier would have said otherwise."""
    return {
        (name, row)
        for alg in ("RS256", "ES256")
        for row, verdicts in found[alg].items()
        for name, mark in verdicts.items()
        if is_odd(DEFECTS[row], mark)
    }


def compare(found: dict[str, Any], page: str) -> int:
    """Check the verdicts against the page as it is kept; the number of failures."""
    kept = set(DOCUMENT.read_text("utf-8").splitlines()) if DOCUMENT.exists() else set()
    checks = {f"as kept: {line}": line in kept for line in page.splitlines() if "|" in line}
    unexplained = odd_ones(found) - set(FOOTNOTES)
    checks[f"every odd verdict has a note: {sorted(unexplained)}"] = not unexplained
    stale = set(FOOTNOTES) - odd_ones(found)
    checks[f"every note has a verdict: {sorted(stale)}"] = not stale
    failures = [name for name, passed in checks.items() if not passed]
    for name in failures:
        print(f"FAILED: {name}")
    print(f"{len(checks) - len(failures)} passed, {len(failures)} failed")
    return len(failures)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tools", type=Path, required=True, help="where npm packages go")
    parser.add_argument("--write", action="store_true", help="write docs/verifiers.md")
    arguments = parser.parse_args()
    tools = arguments.tools.resolve()
    install(tools)
    found = measure(tools)
    page = document(found, tools)
    if arguments.write:
        DOCUMENT.write_text(page, "utf-8")
    sys.exit(1 if compare(found, page) else 0)


if __name__ == "__main__":
    main()
