"""Clients that are no browser: what keeps pages out does not concern them."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.proofs.browser.ledger import Ledger
from tests.support.processes import WAIT, Daemon, free_port, running

TREQ = """
import sys, treq
from twisted.internet.task import react
async def main(reactor):
    answer = await treq.post(sys.argv[1] + "/auth")
    print(answer.code, await answer.text())
react(main)
"""

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
backend plain
  option httpchk GET /healthz
  server one 127.0.0.1:{port} check inter 100ms
backend named
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
  server one 127.0.0.1:{port} check inter 100ms
frontend public
  bind 127.0.0.1:{front}
  use_backend named if {{ path_beg /named }}
  acl is_up nbsrv(plain) gt 0
  acl is_up_by_name nbsrv(named) gt 0
  http-request return status 200 if {{ path /up }} is_up is_up_by_name
  http-request return status 500 if {{ path /up }}
  default_backend plain
"""

CHECKS = (
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"HEAD /healthz HTTP/1.0\r\n\r\n",
    b"GET /readyz HTTP/1.0\r\nUser-Agent: check\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 10.1.2.3:8080\r\nConnection: close\r\n\r\n",
)
"""Health checks as load balancers send them, most without a Host."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


def ask(port: int, request: bytes) -> Answer:
    """Send octets on a connection of their own, and read to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
        sock.sendall(request)
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ")[1]), body)


def try_clients(ledger: Ledger, folder: str, daemon: Daemon) -> None:
    """Health checks, curl, treq, and a proxy that passes Host on."""
    for check in CHECKS:
        ledger.check(ask(daemon.port, check).status == 200, f"health check refused: {check!r}")
    for command in (
        ["curl", "-s", "-X", "POST", f"{daemon.url}/auth"],
        ["curl", "-s", "-d", "username=u", "-d", "password=p", f"{daemon.url}/auth"],
        ["curl", "-s", "-0", "-X", "POST", f"http://localhost:{daemon.port}/auth"],
        [sys.executable, "-c", TREQ, daemon.url],
    ):
        said = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
        ledger.check("eyJ" in said.stdout, f"{command[:3]}: {said}")
        ledger.counts["tokens of other clients"] += 1
    if shutil.which("haproxy") is None:
        ledger.check(False, "haproxy is not installed")
    else:
        try_proxy(ledger, folder)


def try_proxy(ledger: Ledger, folder: str) -> None:
    """HAProxy: its checks find the server up, and the name that it passes on is one of ours."""
    name = "tokens.example"
    with (
        running(folder, "--issuer", f"https://{name}", "--alg", "ES256") as daemon,
        proxy(Path(folder), daemon.port) as front,
    ):
        for host, status in ((name, 200), ("localhost", 200), ("evil.example", 421)):
            request = f"POST /auth HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            found = ask(front, request.encode()).status
            ledger.check(found == status, f"by the proxy as {host}: {found}")
        page = f"Host: {name}\r\nOrigin: https://{name}\r\nConnection: close\r\n\r\n"
        found = ask(front, f"POST /auth HTTP/1.1\r\n{page}".encode()).status
        ledger.check(found == 200, f"a page of the server behind the proxy: {found}")
        ledger.counts["requests by a proxy"] += 4


@contextmanager
def proxy(folder: Path, port: int) -> Iterator[int]:
    """HAProxy before a server, once its checks have found that up; its port."""
    front = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, front=front))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(config)])
    try:
        deadline = time.monotonic() + WAIT
        while not is_up(front):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("haproxy finds the server down")
            time.sleep(0.1)
        yield front
    finally:
        process.terminate()
        process.wait(WAIT)


def is_up(front: int) -> bool:
    """Whether the proxy has found the server up by both kinds of check."""
    try:
        return ask(front, b"GET /up HTTP/1.0\r\n\r\n").status == 200
    except OSError:
        return False
