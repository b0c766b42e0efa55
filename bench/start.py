"""How soon jwksd answers, over how long Python takes to import what it stands on; and idle memory.

Every runner is started in turn with the bare import, and timed as a whole process: from its start
to the first answer with status 200. See README.md beside this file.
"""

import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from common import CHECKOUT, Report, environment, resident, running

IMPORTS = "import twisted.web.server, twisted.internet.reactor, jwcrypto.jwk"
TWISTD = "from twisted.scripts.twistd import run; run()"
JWKS = "/.well-known/jwks.json"
POLL = 0.002
"""Seconds between two tries to connect."""


def runners(port: int, folder: str) -> dict[str, list[str]]:
    """Each way to run the server, with its command."""
    options = ["--port", str(port)]
    pid = str(Path(folder) / "twistd.pid")
    python = sys.executable
    return {
        "python -m jwksd serve": [python, "-m", "jwksd", "serve", *options],
        "python main.py": [python, str(CHECKOUT / "main.py"), *options],
        "twistd -n jwksd": [python, "-c", TWISTD, "-n", "--pidfile", pid, "jwksd", *options],
    }


def time_imports() -> float:
    """Seconds of the bare import, as a whole process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=CHECKOUT, env=environment())
    return time.perf_counter() - begun


def time_first_answer(command: list[str], port: int, path: str = JWKS) -> float:
    """Seconds from the start of a process to its first 200."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answers(port, path):
            if process.poll() is not None or time.perf_counter() > begun + 60:
                raise RuntimeError(f"{command} does not answer: {process.returncode}")
            time.sleep(POLL)
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def answers(port: int, path: str = JWKS) -> bool:
    """Whether a GET of the path gets a 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    connection.close()
    return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def measure_start(report: Report, rounds: int) -> None:
    """First 200 over the bare import, for each runner."""
    with TemporaryDirectory() as folder:
        for name, command in runners(port := free_port(), folder).items():
            imports, answers = [], []
            for _ in range(rounds):
                imports.append(time_imports())
                answers.append(time_first_answer(command, port))
            ratio = median(answers) / median(imports)
            report.bounded(f"{name}: first 200 over the bare import", ratio, at_most=1.5)
            report.note(f"{1000 * median(answers):.0f} ms and {1000 * median(imports):.0f} ms")


def measure_memory(report: Report) -> None:
    """Resident memory of a server whose reserve is full and that nobody asks for anything."""
    with running() as daemon:
        daemon.wait_until_idle()
        megabytes = resident(daemon.process.pid) / 1e6
    report.bounded("idle memory", megabytes, unit=" MB", at_most=60)


def main() -> int:
    """Measure, print, and answer the exit code."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is enforced")
    arguments = parser.parse_args()
    report = Report(enforced=not arguments.quick)
    measure_start(report, 3 if arguments.quick else 11)
    measure_memory(report)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
