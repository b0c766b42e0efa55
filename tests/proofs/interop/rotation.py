"""Rotations behind a real cache: no verifier refuses a valid token.

    python -m tests.proofs.interop.rotation --tools DIR

Two jwksd with the rotating policy, each behind an nginx with proxy_cache, and behind that PyJWT and
npm jose. One rotates every few seconds. The other is slow enough for them as they come, for they
wait 30 seconds between two fetches. For minutes tokens are minted, and verified as soon as they are
there and again shortly before they expire; now and then jwksd answers with errors for a moment.
What is missing is installed first, nginx and npm packages into DIR.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep, time
from typing import Any
from urllib.request import Request, urlopen

import jwt

from jwksd.jose.verifying import key_id
from tests.proofs.interop import oauth_tools
from tests.support.processes import free_port, running

SOURCES = Path(__file__).resolve().parent / "rotation"
ISSUER = "https://issuer.example"
ALG = "ES256"
JWKS = "/.well-known/jwks.json"

DURATION = 165.0
PERIOD = 0.2
"""Seconds between two tokens."""

OUTAGE_EVERY = 4.7
"""Seconds from one outage to the next.

nginx fetches every two or three seconds, on the second: outages on the second too could all fall
between two fetches.
"""

OUTAGES = ("fault=reset&seconds=2.5", "fault=status&status=503&seconds=0.8")
"""They take turns. The first nginx bridges by stale-if-error. The second is an answer too, which it
passes on when stale-while-revalidate is over, RFC 5861 or not; so the second is shorter.
"""

LOGGED = ("HIT -", "STALE -", "STALE 502", "EXPIRED 503")
"""What nginx must have met: fresh, stale while it fetches, stale in an outage of either kind."""

COMMON = ("--dev", "--policy", "rotating", "--alg", ALG, "--issuer", ISSUER)

Verify = Callable[[str], Mapping[str, str]]
"""By the name of each verifier, why it refuses a token; empty when it accepts it."""


@dataclass(frozen=True)
class Plan:
    """How a jwksd rotates, what its verifiers are told, and how many rotations there must be."""

    name: str
    options: str
    pyjwt: Mapping[str, float]
    jose: Mapping[str, int]
    at_least: int


PLANS = (
    Plan(
        "fast",
        "--rotation-interval 6s --propagation 6s --clock-skew 1s"
        " --max-age 1s --stale-while-revalidate 1s --stale-if-error 3s"
        " --lifetime 4s --max-lifetime 4s",
        {"cooldown_duration": 0.5},
        {"cooldownDuration": 500, "cacheMaxAge": 1000},
        20,
    ),
    # propagation is what nginx holds, and the 30 seconds of PyJWT and jose besides.
    Plan(
        "slow",
        "--rotation-interval 40s --propagation 40s --clock-skew 2s"
        " --max-age 2s --stale-while-revalidate 1s --stale-if-error 5s"
        " --lifetime 4s --max-lifetime 4s",
        {},
        {},
        3,
    ),
)


def install(tools: Path) -> str:
    """Put what is missing into the folder; the path of nginx.

    Installed, Debian's package would start a service; all that is wanted is the program in it.
    """
    tools.mkdir(parents=True, exist_ok=True)
    oauth_tools.install_npm(SOURCES, tools)
    program = oauth_tools.system_program("nginx")
    unpacked = tools / "nginx"
    if program is None and not unpacked.is_dir():
        with TemporaryDirectory(dir=tools) as folder:
            oauth_tools.quietly("apt-get", "download", "nginx", cwd=Path(folder))
            (package,) = Path(folder).glob("nginx_*.deb")
            oauth_tools.quietly("dpkg-deb", "--extract", str(package), str(unpacked))
    return program or str(unpacked / "usr" / "sbin" / "nginx")


@contextmanager
def nginx(program: str, folder: Path, upstream: int) -> Iterator[str]:
    """The URL of an nginx of its own process, whose files are in the folder."""
    port = free_port()
    text = (SOURCES / "nginx.conf").read_text()
    text = text.replace("@PORT@", str(port)).replace("@UPSTREAM@", str(upstream))
    folder.chmod(0o755)  # its workers are nobody
    (folder / "nginx.conf").write_text(text)
    command = [program, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"]
    process = subprocess.Popen(command)
    try:
        oauth_tools.await_port(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        oauth_tools.stop(process)


def refusal(token: str, client: jwt.PyJWKClient) -> str:
    """Why PyJWT refuses a token; empty when it accepts it."""
    try:
        key = client.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=[ALG], issuer=ISSUER, options={"require": ["exp"]})
    except jwt.PyJWTError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def pyjwt(url: str, options: Mapping[str, Any]) -> Verify:
    """PyJWT: a client with these options for all tokens, and a new one with none for each."""
    kept = jwt.PyJWKClient(url, **options)
    return lambda token: {
        "PyJWT": refusal(token, kept),
        "PyJWT, just started": refusal(token, jwt.PyJWKClient(url)),
    }


@contextmanager
def jose(tools: Path, url: str, options: Mapping[str, int]) -> Iterator[Verify]:
    """npm jose: a key set with these options for all tokens, and a new one with none for each."""
    process = subprocess.Popen(
        ["node", "jose.mjs", url, ISSUER, ALG, json.dumps(options)],
        cwd=tools,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def verify(token: str) -> Mapping[str, str]:
        stdin.write(token + "\n")
        stdin.flush()
        kept, fresh = json.loads(stdout.readline())
        return {"jose": kept, "jose, just started": fresh}

    try:
        yield verify
    finally:
        oauth_tools.stop(process)


@dataclass(frozen=True)
class Token:
    """A token, and when it is no longer valid."""

    text: str
    exp: float


@dataclass
class Tally:
    """What came of a run."""

    tokens: int = 0
    kids: list[str] = field(default_factory=list)
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    late: int = 0
    outages: int = 0

    @property
    def rotations(self) -> int:
        """How often another key has begun to sign."""
        return max(0, len(self.kids) - 1)


class RotationRun:
    """A jwksd at work, and all who verify its tokens."""

    def __init__(self, server: str, verifiers: Sequence[Verify]) -> None:
        self.tally = Tally()
        self._server = server
        self._verifiers = verifiers
        self._old: deque[Token] = deque()

    def run(self) -> Tally:
        """Until the time is over."""
        began = time()
        outage = began + OUTAGE_EVERY
        for number in range(int(DURATION / PERIOD)):
            sleep(max(0.0, began + number * PERIOD - time()))
            if time() >= outage:
                outage += OUTAGE_EVERY
                self._begin_outage()
            token = self._mint()
            self._judge(token, "new")
            self._old.append(token)
            self._judge_old()
        return self.tally

    def _post(self, path: str) -> Any:
        request = Request(
            self._server + path, method="POST", headers={"Accept": "application/json"}
        )
        with urlopen(request, timeout=20) as response:
            return json.load(response)

    def _begin_outage(self) -> None:
        self._post(f"/dev?action=fault&{OUTAGES[self.tally.outages % len(OUTAGES)]}")
        self.tally.outages += 1

    def _mint(self) -> Token:
        answer = self._post("/auth")
        kid = key_id(answer["token"])
        self.tally.tokens += 1
        if self.tally.kids[-1:] != [kid]:
            self.tally.kids.append(str(kid))
        return Token(answer["token"], answer["exp"])

    def _judge_old(self) -> None:
        """Those that expire within a second."""
        while self._old and self._old[0].exp <= time() + 1:
            self._judge(self._old.popleft(), "old")

    def _judge(self, token: Token, age: str) -> None:
        for verify in self._verifiers:
            for name, why in verify(token.text).items():
                self._note(token, f"{age} token, {name}", why)

    def _note(self, token: Token, what: str, why: str) -> None:
        if not why:
            self.tally.accepted += 1
        elif time() >= token.exp:
            self.tally.late += 1  # this machine was too slow: the token had expired
        else:
            self.tally.refused[f"{what}: {why}"] += 1


def failures(plan: Plan, tally: Tally, log: Sequence[str]) -> Iterator[str]:
    """All that is not as it must be; the log is that of nginx."""
    for what, times in tally.refused.items():
        yield f"refused {times} times: {what}"
    if tally.rotations < plan.at_least:
        yield f"{tally.rotations} rotations, at least {plan.at_least} are wanted"
    if len(set(tally.kids)) != len(tally.kids):
        yield "a key has signed again after another had taken over"
    if tally.late > tally.tokens // 10:
        yield f"{tally.late} verdicts were too late to tell anything: this machine is too slow"
    for wanted in LOGGED:
        if not any(line.startswith(wanted) for line in log):
            yield f"nginx has logged no {wanted}"


def figures(tally: Tally, log: Sequence[str]) -> str:
    """Return the figures of a run."""
    return (
        f"{tally.rotations} rotations, {tally.tokens} tokens, {tally.accepted} times accepted,"
        f" {sum(tally.refused.values())} times refused, {tally.late} times too late to tell;"
        f" {tally.outages} outages; nginx: "
        + ", ".join(f"{times} {line}" for line, times in sorted(Counter(log).items()))
    )


def states(server: str) -> Counter[str]:
    """How many keys of each state the server has."""
    with urlopen(f"{server}/dev/keys", timeout=20) as response:
        return Counter(key["state"] for key in json.load(response)["keys"])


def drive(plan: Plan, program: str, tools: Path) -> bool:
    """Make one run and report it; return whether all was well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        daemon = stack.enter_context(running(str(folder), *COMMON, *plan.options.split()))
        url = stack.enter_context(nginx(program, folder, daemon.port)) + JWKS
        verifiers = [pyjwt(url, plan.pyjwt), stack.enter_context(jose(tools, url, plan.jose))]
        tally = RotationRun(daemon.url, verifiers).run()
        keys = states(daemon.url)
        log = (folder / "access.log").read_text().splitlines()
    found = list(failures(plan, tally, log))
    if keys["active"] != 1:
        found.append(f"there are {dict(keys)} keys at the end")
    print(f"{plan.name}: {figures(tally, log)}")
    for what in found:
        print(f"FAILED: {plan.name}: {what}", flush=True)
    return not found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tools", type=Path, required=True, help="where nginx and jose go")
    tools = parser.parse_args().tools.resolve()
    program = install(tools)
    with ThreadPoolExecutor(len(PLANS)) as pool:
        passed = list(pool.map(lambda plan: drive(plan, program, tools), PLANS))
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
