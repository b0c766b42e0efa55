"""The first signal reaches the reactor, nobody's handlers are lost, and no request is cut off."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from time import monotonic
from types import FrameType

from twisted.trial.unittest import SynchronousTestCase

from jwksd.signals import StopSignals
from tests.support.processes import (
    CHECKOUT,
    JWKS,
    MAIN,
    WAIT,
    ProcessTestCase,
    ask,
    environment,
    port_in,
)

OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
TWISTD = [sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"]


class Reactor:
    """As much of a reactor as handles signals, and runs on demand."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.when_running: list[Callable[[], None]] = []

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        self.when_running.append(call)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.handle)
        for call in self.when_running:
            call()

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


class StopSignalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor = Reactor()
        self.service = StopSignals(self.reactor)
        self.service.startService()

    def test_only_the_first_is_let_through(self) -> None:
        """Also of those that come when the service has been stopped because of it."""
        self.reactor.run()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        self.service.stopService()
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.reactor.received, [signal.SIGTERM])

    def test_the_handlers_of_others_are_left_alone(self) -> None:
        """Such as a debugger's; and one that was put later stays when the service stops."""
        received: list[int] = []
        signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
        self.reactor.run()
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        self.assertEqual(received, [signal.SIGINT] * 2)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.service.stopService()
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)

    def test_stopped_without_a_signal_it_gives_them_back(self) -> None:
        """To a program that runs the reactor on, and also if it never ran while the service did."""
        for runs in (True, False):
            with self.subTest(runs=runs):
                reactor = Reactor()
                service = StopSignals(reactor)
                service.startService()
                if runs:
                    reactor.run()
                service.stopService()
                reactor.run()
                self.assertEqual(signal.getsignal(signal.SIGTERM), reactor.handle)


class OtherSignalTests(ProcessTestCase):
    """SIGHUP, SIGUSR1 and SIGUSR2, whose default action ends a process at once."""

    def begin(self, connection: HTTPConnection) -> None:
        """Send a request, but for its body."""
        connection.putrequest("POST", "/auth")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "2")
        connection.endheaders()

    def test_they_cut_no_request_and_end_no_server(self) -> None:
        """Standard input is no terminal; SIGHUP says in one line that nothing is read anew."""
        process, port = self.serve("--alg", "ES256")
        begun, other = self.connect(port), self.connect(port)
        self.begin(begun)
        ask(other, "GET", JWKS)  # its answer comes after that was read
        for number in OTHERS:
            process.send_signal(number)
        while "SIGHUP: " not in process.stderr.readline():
            self.assertIsNone(process.poll())
        begun.send(b"{}")
        self.assertEqual(begun.getresponse().status, 200)
        self.assertEqual(ask(other, "GET", JWKS)[0], 200)
        code, output = self.stop(process)
        self.assertEqual(code, 0)
        self.assertNotIn("SIGHUP", output)

    def test_they_are_survived_before_and_after_it_serves(self) -> None:
        """While the store is opened, and while the interpreter ends."""
        program = (
            "import os, signal, sys\n"
            "from jwksd.cli.command import serve\n"
            "from jwksd.service import Daemon\n"
            "numbers = [int(number) for number in sys.argv[1:]]\n"
            "def raise_all(kill=os.kill, process=os.getpid(), numbers=numbers):\n"
            "    for number in numbers: kill(process, number)\n"
            "class Last:\n"
            "    def __del__(self, raise_all=raise_all): raise_all()\n"
            "last = Last()\n"
            "opened = Daemon.privilegedStartService\n"
            "def interrupted(service):\n"
            "    raise_all()\n"
            "    opened(service)\n"
            "Daemon.privilegedStartService = interrupted\n"
            "serve(['--port', '0', '--alg', 'ES256'])\n"
        )
        process = self.start(sys.executable, "-c", program, *(str(int(n)) for n in OTHERS))
        port = port_in(process.stdout.readline())
        self.assertEqual(ask(self.connect(port), "GET", JWKS)[0], 200)
        self.assertEqual(self.stop(process)[0], 0)

    def test_twistd_outlives_those_that_are_unused(self) -> None:
        """Where it logs to a file it rotates that by SIGUSR1, as ever."""
        log = self.folder / "log"
        for more in ([], ["--logfile", str(log)]):
            arguments = ["-n", "--pidfile", str(self.folder / "pid"), *more]
            process = self.start(*TWISTD, *arguments, "jwksd", "--port", "0", "--alg", "ES256")
            port = port_in(
                self.line(log)
                if more
                else next(line for line in process.stdout if "serve as issuer" in line)
            )
            connection = self.connect(port)
            ask(connection, "GET", JWKS)
            for number in (signal.SIGUSR2, signal.SIGUSR1):
                process.send_signal(number)
                self.assertEqual(ask(connection, "GET", JWKS)[0], 200)
            self.stop(process)
        self.assertTrue((self.folder / "log.1").exists())

    def line(self, log: Path) -> str:
        """The line of a log that says who serves, once it is there."""
        deadline = monotonic() + WAIT
        while not log.exists() or "serve as issuer" not in log.read_text():
            self.assertLess(monotonic(), deadline)
            Event().wait(0.02)
        return next(line for line in log.read_text().splitlines() if "serve as issuer" in line)

    def test_the_handlers_of_others_stay(self) -> None:
        """Of a program that runs ``serve``; nohup has SIGHUP ignored."""
        program = (
            "import signal, sys\n"
            "for number in (signal.SIGUSR1, signal.SIGUSR2):\n"
            "    signal.signal(number, lambda number, frame: print('mine', number, flush=True))\n"
            "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "from jwksd.cli.command import serve\n"
            "serve(['--port', '0', '--alg', 'ES256'])\n"
        )
        process = self.start(sys.executable, "-c", program)
        port = port_in(process.stdout.readline())
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(number)
            self.assertEqual(ask(self.connect(port), "GET", JWKS)[0], 200)
        code, output = self.stop(process)
        self.assertEqual((code, output.count("mine")), (0, 2))
        self.assertNotIn("SIGHUP", output)


class TerminalTests(ProcessTestCase):
    def test_it_ends_with_its_terminal(self) -> None:
        """In order, and the request that has begun is answered first."""
        master, slave = pty.openpty()
        try:
            process = subprocess.Popen(
                [*MAIN, "--port", "0", "--alg", "ES256"],
                cwd=CHECKOUT,
                env=environment(),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            os.close(slave)
            said = b""
            while b"jwks.json" not in said:
                self.assertTrue(select.select([master], [], [], WAIT)[0])
                said += os.read(master, 4096)
            begun, other = (self.connect(port_in(said.decode())) for _ in range(2))
            OtherSignalTests.begin(self, begun)  # type: ignore[arg-type]
            ask(other, "GET", JWKS)
        finally:
            os.close(master)
        self.assertEqual(other.sock.recv(1), b"")
        begun.send(b"{}")
        self.assertEqual(begun.getresponse().status, 200)
        self.assertEqual(process.wait(WAIT), 0)
