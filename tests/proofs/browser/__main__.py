"""``python -m tests.proofs.browser``: what pages can do, and that other clients are untouched."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.proofs.browser.attacks import ATTACKS, MINT, READ
from tests.proofs.browser.clients import ask, try_clients
from tests.proofs.browser.ledger import Ledger
from tests.support.processes import Daemon, running

HTML = b"<!doctype html><title>page</title><body>"

HOSTS = ("other.example", "listed.example", "rebound.example", "unknown.example")

ARGUMENTS = [
    "--no-sandbox",
    f"--host-resolver-rules={','.join(f'MAP {host} 127.0.0.1' for host in HOSTS)}",
    # What the browser itself may keep from a server on this machine is not what is tried here.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,HttpsUpgrades",
]


class Pages(BaseHTTPRequestHandler):
    """An empty page at every path."""

    def do_GET(self) -> None:  # the name that http.server asks for
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(HTML)))
        self.end_headers()
        self.wfile.write(HTML)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def pages() -> Iterator[int]:
    """A server of empty pages, by whatever name; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


class Proof:
    """A browser beside a server with keys, and one more port with pages."""

    def __init__(self, ledger: Ledger, browser: Browser, daemon: Daemon, page_port: int) -> None:
        self.ledger, self.browser, self.daemon = ledger, browser, daemon
        self.page_port = page_port

    def page(self, url: str, *, served_here: bool = False) -> Page:
        """An empty page; ``served_here`` if nobody else serves it at this URL."""
        # So that no answer with 401 waits for a user who says who he is.
        user = {"username": "page", "password": "any"}
        page = self.browser.new_context(http_credentials=user).new_page()

        def fulfill(route: Route) -> None:
            route.fulfill(body=HTML.decode(), content_type="text/html")

        if served_here:
            page.route(url, fulfill)
        page.goto(url)
        return page

    def attack(self, what: str, page: Page, bases: list[str], *, readable: set[int]) -> None:
        """Try everything; nothing is minted or changed, and no more is read than these errors."""
        for base in bases:
            print(f"{what} at {base}", flush=True)
            before, lines = state(self.daemon), len(log_of(self.daemon))
            read = page.evaluate(ATTACKS, [base, self.daemon.port])
            page.wait_for_timeout(200)
            after = state(self.daemon)
            self.ledger.check(before == after, f"{what} at {base} changed {before} to {after}")
            for how, status, text in read:
                seen = status or json.loads(text).get("status", 200)
                self.ledger.check(
                    seen in readable, f"{what} at {base} read by {how}: {seen} {text[:80]}"
                )
            self.count(what, lines, len(read))

    def count(self, what: str, lines: int, read: int) -> None:
        """Count what came of an attack, by what the server says in its log."""
        came = Counter(line.rpartition('" ')[2][:3] for line in log_of(self.daemon)[lines:])
        self.ledger.counts[f"requests of {what}"] += sum(came.values())
        self.ledger.check(came["403"] + came["421"] > 50, f"{what}: few were refused: {came}")
        self.ledger.check(not came["500"], f"{what}: {came}")
        self.ledger.counts[f"answers read by {what}"] += read

    def mint(self, what: str, page: Page, base: str) -> None:
        """A page that is let in mints in every way, and reads what is wrong."""
        read = page.evaluate(MINT, [base])
        for name, (status, text, fields) in read.items():
            wanted = int(name) if name.isdigit() else 200
            self.ledger.check(status == wanted, f"{what}: {name} gave {status} {text[:80]}")
            self.ledger.check(wanted != 200 or "eyJ" in text, f"{what}: {name}: no token")
            self.ledger.check(wanted != 405 or "allow" in fields, f"{what}: no Allow in {fields}")
            self.ledger.check(wanted != 401 or "www-authenticate" in fields, f"{what}: {fields}")
            self.ledger.counts[f"answers read by {what}"] += 1

    def read(self, what: str, page: Page, base: str, *, let_in: bool) -> None:
        """Every page reads documents and their 404s, but for one by a wrong name."""
        for path, status in page.evaluate(READ, [base]).items():
            wanted = {404, 200} if let_in else {421, 0}
            self.ledger.check(status in wanted, f"{what} at {base}{path}: {status}")
            self.ledger.counts[f"documents asked for by {what}"] += 1


def state(daemon: Daemon) -> Any:
    """Which keys there are."""
    return json.loads(ask(daemon.port, b"GET /dev/keys HTTP/1.0\r\n\r\n").body)


def log_of(daemon: Daemon) -> list[str]:
    """The access log."""
    return [line for line in daemon.log.read_text().splitlines() if " HTTP/1." in line]


def run(ledger: Ledger) -> None:
    """All pages, and then all other clients."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        page_port = stack.enter_context(pages())
        listed = f"http://listed.example:{page_port}"
        daemon = stack.enter_context(
            running(folder, "--dev", "--alg", "ES256", "--cors-origin", listed, "--reserve", "0")
        )
        playwright = stack.enter_context(sync_playwright())
        browser = stack.enter_context(
            playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        )
        proof = Proof(ledger, browser, daemon, page_port)
        try_pages(proof, listed)
        try_clients(ledger, folder, daemon)


def try_pages(proof: Proof, listed: str) -> None:
    port, page_port = proof.daemon.port, proof.page_port
    local = [f"http://localhost:{port}", f"http://127.0.0.1:{port}"]
    at = f"http://localhost:{port}"
    own = proof.page(f"{at}/page", served_here=True)
    proof.mint("a page of its own", own, at)
    for what, url, bases in (
        ("a page of another origin", f"http://other.example:{page_port}", local),
        ("a page of another port", f"http://localhost:{page_port}", local[:1]),
        ("a page without an origin", "data:text/html,<body>", local[:1]),
    ):
        page = proof.page(url)
        proof.attack(what, page, bases, readable=set())
        proof.read(what, page, at, let_in=True)
    rebound = f"http://rebound.example:{port}"
    page = proof.page(f"{rebound}/page", served_here=True)
    what = "a page whose name has become ours"
    proof.attack(what, page, [rebound], readable={421})
    proof.attack(what, page, [at], readable=set())
    proof.read(what, page, rebound, let_in=False)
    page = proof.page(listed)
    proof.mint("a page of a listed origin", page, at)
    proof.read("a page of a listed origin", page, at, let_in=True)
    status = page.evaluate(
        "url => fetch(url, {method: 'POST'}).then(a => a.status)", rebound + "/auth"
    )
    proof.ledger.check(status == 421, f"a listed page cannot read why a host is wrong: {status}")


def main() -> int:
    """The exit code: 1 when anything was wrong."""
    argparse.ArgumentParser(prog="python -m tests.proofs.browser", description=__doc__).parse_args()
    ledger, began = Ledger(), time.monotonic()
    run(ledger)
    print(ledger.report())
    print(f"{time.monotonic() - began:8.0f}  s in all")
    for failure in ledger.failures:
        print(f"FAILED: {failure}")
    return 1 if ledger.failures else 0


if __name__ == "__main__":
    sys.exit(main())
