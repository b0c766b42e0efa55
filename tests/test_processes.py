"""Real processes: every way to start jwksd, what start-up refuses, and how it ends."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

from tests.support.forks import MODULE, EndTestCase
from tests.support.processes import (
    JWKS,
    MAIN,
    WAIT,
    ProcessTestCase,
    ask,
    environment,
    free_port,
    mint,
    port_in,
    running,
)

SCRIPT = Path(sys.executable).with_name("jwksd")
COMMANDS = [MAIN, [*MODULE, "serve"], *([[str(SCRIPT), "serve"]] if SCRIPT.exists() else [])]
# What the script twistd does; like it, without the current folder on the path.
TWISTD = [sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"]


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=WAIT).close()
    except ConnectionRefusedError:
        return False
    return True


class CommandTests(ProcessTestCase):
    """``main.py``, ``python -m jwksd serve`` and ``jwksd serve``."""

    def test_the_greeting_shows_what_works(self) -> None:
        """It says where the server listens, and both of its curl lines succeed."""
        for command in COMMANDS:
            with self.subTest(command=command):
                process = self.start(*command, "--port", "0")
                first, *lines = (process.stdout.readline() for _ in range(3))
                self.assertRegex(first, r"\Ajwksd listens on http://127\.0\.0\.1:[0-9]+; try\n\Z")
                for line, called in zip(lines, ("curl -X POST ", "curl "), strict=True):
                    self.assertTrue(line.startswith(f"  {called}http://127.0.0.1:"), line)
                    url = urlsplit(line.split()[-1])
                    method = "POST" if "POST" in line else "GET"
                    with closing(self.connect(url.port or 0)) as connection:
                        self.assertEqual(ask(connection, method, url.path)[0], 200)
                self.assertEqual(self.stop(process)[0], 0)

    def test_signals_end_it_with_success(self) -> None:
        """SIGTERM and SIGINT (Ctrl-C) alike: exit code 0, no traceback, and nobody listens."""
        for command in COMMANDS:
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(command=command, number=number):
                    process = self.start(*command, "--port", "0", "--alg", "ES256")
                    port = port_in(process.stdout.readline())
                    self.assertEqual(ask(self.connect(port), "GET", JWKS)[0], 200)
                    code, output = self.stop(process, number)
                    self.assertEqual(code, 0)
                    self.assertIn("Main loop terminated", output)
                    self.assertFalse(is_open(port))

    def test_after_the_greeting_a_signal_may_be_sent(self) -> None:
        """Or several: from then on the stop is in order, and happens once. Here the signals come
        while the greeting is being written."""
        program = (
            "import os, sys\n"
            "class Signalling:\n"
            "    write = sys.stdout.write\n"
            "    def flush(self):\n"
            "        for number in sys.argv[1:]: os.kill(os.getpid(), int(number))\n"
            "sys.stdout = Signalling()\n"
            "from jwksd.cli.command import serve\n"
            "serve(['--port', '0', '--alg', 'ES256'])\n"
        )
        term, interrupt = str(int(signal.SIGTERM)), str(int(signal.SIGINT))
        for numbers in ([term], [interrupt], [term, term], [term, interrupt], [interrupt, term]):
            with self.subTest(numbers=numbers):
                process = self.start(sys.executable, "-c", program, *numbers)
                output = "".join(process.communicate())
                self.assertEqual(process.returncode, 0, output)
                self.assertNotIn("Traceback", output)
                self.assertEqual(output.count("shutting down"), 1)

    def test_nobody_need_read_the_greeting(self) -> None:
        """Its reader may be gone, as in ``jwksd serve | true``: it serves, and ends as always."""
        port = free_port()
        program = (
            "import os, sys\n"
            "reader, writer = os.pipe()\n"
            "os.dup2(writer, 1)\n"
            "os.close(reader)\n"
            "from jwksd.cli.command import serve\n"
            "serve(sys.argv[1:])\n"
        )
        process = self.start(sys.executable, "-c", program, "--port", str(port), "--alg", "ES256")
        while "serve as issuer" not in process.stderr.readline():
            self.assertIsNone(process.poll())
        self.assertEqual(ask(self.connect(port), "GET", JWKS)[0], 200)
        self.assertEqual(self.stop(process)[0], 0)

    def test_further_signals_change_nothing(self) -> None:
        """Whoever runs it: what was begun is answered, and it ends as after the first."""
        twistd = [*TWISTD, "-n", "--pidfile", str(self.folder / "pid"), "jwksd"]
        for command, code in (*((command, 0) for command in COMMANDS), (twistd, -signal.SIGTERM)):
            with self.subTest(command=command):
                process = self.start(*command, "--port", "0", "--reserve", "0")
                port = port_in(next(line for line in process.stdout if "http://" in line))
                idle, begun = self.connect(port), self.connect(port)
                ask(begun, "GET", JWKS)
                begun.putrequest("POST", "/auth")
                begun.putheader("Content-Type", "application/json")
                begun.putheader("Content-Length", "2")
                begun.endheaders()
                ask(idle, "GET", JWKS)  # its answer comes after that was read
                process.send_signal(signal.SIGTERM)
                self.assertEqual(idle.sock.recv(1), b"")
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGINT)
                begun.send(b"{}")
                self.assertEqual(begun.getresponse().status, 200)
                output = "".join(process.communicate())
                self.assertEqual(process.returncode, code, output)
                self.assertNotIn("Traceback", output)
                self.assertEqual(output.count("shutting down"), 1)

    def test_nor_do_those_that_come_last(self) -> None:
        """While the interpreter ends it gives each signal its default action back."""
        program = (
            "import os, sys\n"
            "from jwksd.cli.command import serve\n"
            "class Last:\n"
            "    def __del__(self, kill=os.kill, process=os.getpid(), number=int(sys.argv[1])):\n"
            "        kill(process, number)\n"
            "last = Last()\n"
            "serve(['--port', '0', '--alg', 'ES256'])\n"
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number=number):
                process = self.start(sys.executable, "-c", program, str(int(number)))
                process.stdout.readline()
                self.assertEqual(self.stop(process)[0], 0)

    def test_a_signal_before_it_serves_ends_it_silently(self) -> None:
        """Here it comes while the store is opened; shells know the exit codes."""
        program = (
            "import os, sys\n"
            "from jwksd.cli.command import serve\n"
            "from jwksd.service import Daemon\n"
            "def interrupted(service): os.kill(os.getpid(), int(sys.argv[1]))\n"
            "Daemon.privilegedStartService = interrupted\n"
            "serve(['--port', '0'])\n"
        )
        for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)):
            with self.subTest(number=number):
                process = self.start(sys.executable, "-c", program, str(int(number)))
                self.assertEqual(process.communicate(), ("", ""))
                self.assertEqual(process.returncode, code)


class TwistdTests(ProcessTestCase):
    """``twistd jwksd``, with and without ``-n``."""

    def setUp(self) -> None:
        super().setUp()
        self.pid_file = self.folder / "pid"
        self.log = self.folder / "log"
        self.files = ["--pidfile", str(self.pid_file), "--logfile", str(self.log)]

    def test_in_the_foreground(self) -> None:
        """It signs, and stops in order; twistd then ends by the signal, as it always does."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number=number):
                arguments = ["-n", "--pidfile", str(self.pid_file), "jwksd", "--port", "0"]
                process = self.start(*TWISTD, *arguments)
                port = port_in(next(line for line in process.stdout if "serve as issuer" in line))
                self.assertEqual(ask(self.connect(port), "POST", "/auth")[0], 200)
                code, output = self.stop(process, number)
                self.assertEqual(code, -number)
                self.assertIn("Server Shut Down", output)
                self.assertFalse(self.pid_file.exists())

    def test_as_a_daemon(self) -> None:
        """Keys are made after the fork too, and SIGTERM to the pid in the file ends it all."""
        # The daemon inherits the pipe's writing end: when reading meets the end, it is gone.
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        result = subprocess.run(
            [*TWISTD, *self.files, "jwksd", "--port", "0", "--reserve", "2"],
            cwd=self.folder,
            env=environment(),
            pass_fds=[writing],
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        os.close(writing)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        pid = int(self.pid_file.read_text())
        self.addCleanup(lambda: select.select([reading], [], [], 0)[0] or os.kill(pid, 9))
        log = self.log.read_text()
        port = port_in(next(line for line in log.splitlines() if "serve as issuer" in line))
        connection = self.connect(port)
        for _ in range(5):  # more than the reserve
            status, token = ask(connection, "POST", "/auth")
            self.assertEqual((status, token.count(b".")), (200, 2))
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(select.select([reading], [], [], WAIT)[0], [reading])
        self.assertFalse(is_open(port))
        self.assertFalse(self.pid_file.exists())
        self.assertIn("Server Shut Down", self.log.read_text())
        self.assertNotIn("Traceback", self.log.read_text())

    def test_a_daemon_that_cannot_listen_says_so(self) -> None:
        """Whoever starts it gets the reason and a non-zero exit code, and no daemon stays."""
        busy = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        process = self.start(*TWISTD, *self.files, "jwksd", "--port", str(busy))
        _, error = process.communicate()
        self.assertGreater(process.returncode, 0)
        self.assertIn("Address already in use", error)
        self.assert_gone(self.pid_file)  # by the child, which ends after the parent

    def assert_gone(self, path: Path) -> None:
        """Soon."""
        deadline = monotonic() + WAIT
        while path.exists() and monotonic() < deadline:
            Event().wait(0.01)
        self.assertFalse(path.exists())


class RefusalTests(EndTestCase):
    """What cannot work is refused: one line on stderr, a non-zero exit, and nobody listens."""

    def assert_refused(self, *cases: tuple[str, list[str]]) -> None:
        """Each case is what the line says, and the command."""
        ends = self.ends([command for _, command in cases])
        for (said, command), end in zip(cases, ends, strict=True):
            with self.subTest(command=command):
                self.assert_refusal(said, *end)

    def file(self, text: str) -> list[str]:
        """The option that names a file with this text."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.toml"
        path.write_text(text)
        return ["--config", str(path)]

    def test_values_that_are_not_allowed(self) -> None:
        """The line names what was wrong, or what would be right."""
        free = ["--port", "0"]
        self.assert_refused(
            ("--prot not recognized", [*MAIN, "--prot", "1"]),
            ("Wrong number of arguments", [*MAIN, "more"]),
            ("'--port' requires an argument", [*MAIN, "--port"]),
            ("0 to 65535", [*MAIN, "--port", "99999"]),
            ("0 to 65535", [*MAIN, "--port", "abc"]),
            ("1 to 1000000", [*MAIN, "--max-connections", "0"]),
            ("HS256", [*MAIN, *free, "--alg", "HS256"]),
            ("none", [*MAIN, *free, "--alg", "none"]),
            ("--lifetime", [*MAIN, *free, "--lifetime", "0"]),
            ("--lifetime", [*MAIN, *free, "--lifetime", "1x"]),
            ("--lifetime", [*MAIN, *free, "--lifetime", ""]),
            ("2048 to 8192", [*MAIN, *free, "--rsa-bits", "1024"]),
            ("--issuer", [*MAIN, *free, "--issuer", "ftp://x"]),
            ("--issuer", [*MAIN, *free, "--issuer", ""]),
            ("must be an IP address", [*MAIN, *free, "--interface", "127.0.0.1\n"]),
            ("--listen", [*MAIN, *free, "--listen", "tcp:0:interface=127.0.0.1"]),
            ("nonsense", [*MAIN, "--listen", "nonsense"]),
            ("tcp:99999", [*MAIN, "--listen", "tcp:99999:interface=127.0.0.1"]),
        )

    def test_other_machines(self) -> None:
        """Addresses that they can reach need the options with the alarming names."""
        everywhere = [*MAIN, "--interface", "0.0.0.0", "--port", "0"]
        self.assert_refused(
            ("--allow-remote-minting", everywhere),
            ("--allow-remote-minting", [*MAIN, "--listen", "tcp:0"]),
            ("--allow-remote-dev", [*everywhere, "--allow-remote-minting", "--dev"]),
        )

    def test_files(self) -> None:
        """One that cannot be read, and what the flags would be refused for too."""
        self.assert_refused(
            ("No such file", [*MAIN, "--config", "missing.toml"]),
            ("is not TOML", [*MAIN, *self.file("port =")]),
            ("unknown key 'prot'", [*MAIN, *self.file("prot = 1")]),
            ("lifetime in the file", [*MAIN, *self.file("lifetime = 1.5")]),
            ("lifetime in the file", [*MAIN, *self.file("lifetime = 'forever'")]),
        )

    def test_variables(self) -> None:
        """The line names the variable."""
        told = {
            "JWKSD_LIFETIME='forever'": {"JWKSD_LIFETIME": "forever"},
            "JWKSD_LIFETIME=''": {"JWKSD_LIFETIME": ""},
            "missing.toml": {"JWKSD_CONFIG": "missing.toml"},
        }
        ends = self.ends([[*MAIN, "--port", "0"]] * len(told), [*told.values()])
        for said, end in zip(told, ends, strict=True):
            with self.subTest(said=said):
                self.assert_refusal(said, *end)

    def test_commands(self) -> None:
        """An unknown command, and an unknown option of those that there are."""
        self.assert_refused(
            ("Unknown command: explode", [*MODULE, "explode"]),
            ("--prot not recognized", [*MODULE, "serve", "--prot"]),
            ("--prot not recognized", [*TWISTD, "-n", "--pidfile", "pid", "jwksd", "--prot"]),
        )

    def test_a_busy_port(self) -> None:
        """Whichever way it is started."""
        busy = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        said = f"cannot listen on 127.0.0.1 port {busy}: Address already in use"
        twistd = [*TWISTD, "-n", "--pidfile", "pid", "--logfile", "log", "jwksd"]
        for command in (*COMMANDS, twistd):
            with self.subTest(command=command):
                self.assert_refusal(said, *self.end([*command, "--port", str(busy)]))
        self.assertFalse((self.folder / "pid").exists())


class LimitTests(EndTestCase):
    """How many connections there may be."""

    limited = ("sh", "-c", 'ulimit -n "$0" && exec "$@"')

    def test_the_bound_is_the_one_that_was_given(self) -> None:
        """With all of them in use a further client gets 503, and the log tells it."""
        process, port = self.serve("--max-connections", "2")
        for _ in range(2):
            busy = self.enterContext(socket.create_connection(("127.0.0.1", port), timeout=WAIT))
            fields = "Host: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            busy.sendall(f"POST /auth HTTP/1.1\r\n{fields}".encode())
            self.assertIn(b" 100 Continue", busy.recv(100))  # so the server has seen its head
        self.assertEqual(ask(self.connect(port), "GET", JWKS)[0], 503)
        code, output = self.stop(process)
        self.assertEqual(code, 0)
        self.assertIn("--max-connections allows 2", output)

    def test_it_is_what_the_limit_of_open_files_allows(self) -> None:
        """By default; a number that was given and does not fit is refused, with one that does."""
        process = self.start(*self.limited, "300", *MAIN, "--port", "0", "--reserve", "0")
        self.assertEqual(ask(self.connect(port_in(process.stdout.readline())), "GET", JWKS)[0], 200)
        self.assertIn("44 at most are taken", self.stop(process)[1])
        command = [*self.limited, "300", *MAIN, "--port", "0", "--max-connections", "45"]
        self.assert_refusal("which is enough for 44", *self.end(command))


class OptionTests(ProcessTestCase):
    def test_flag_over_environment_over_file_over_default(self) -> None:
        """The lifetime of a token shows which of them was read."""
        config = self.folder / "jwksd.toml"
        config.write_text("lifetime = '15m'\nissuer = 'https://issuer.example'\n")
        file, variable, flag = ["--config", str(config)], {"JWKSD_LIFETIME": "20m"}, "--lifetime"
        for lifetime, arguments, variables in (
            (3600, [], {}),
            (900, file, {}),
            (1200, file, variable),
            (1500, [*file, flag, "25m"], variable),
            (1200, [], variable),
        ):
            with self.subTest(arguments=arguments, variables=variables):
                process, port = self.serve(*arguments, **variables)
                minted = mint(self.connect(port))
                self.assertEqual(minted["exp"] - minted["iat"], lifetime)
                name = "https://issuer.example" if arguments else f"http://localhost:{port}"
                self.assertIn(f"serve as issuer {name}", self.stop(process)[1])

    def test_other_machines_are_let_in_on_demand(self) -> None:
        """With the alarming option every interface is bound."""
        process = self.start(
            *MAIN, "--port", "0", "--interface", "0.0.0.0", "--allow-remote-minting"
        )
        self.assertIn("listens on http://0.0.0.0:", process.stdout.readline())
        process.kill()


class RotatingTests(ProcessTestCase):
    def test_one_key_signs_until_the_next_is_known(self) -> None:
        """A real server with intervals of seconds: the order of its keys, on a real clock."""
        numbers = {"rotation-interval": 2, "propagation": 2, "max-age": 1, "clock-skew": 1}
        numbers |= {"lifetime": 1, "max-lifetime": 1}
        options = [text for name, number in numbers.items() for text in (f"--{name}", f"{number}s")]
        arguments = ["--policy", "rotating", "--alg", "ES256", *options]
        with running(str(self.folder), *arguments) as daemon:
            connection = self.connect(daemon.port)
            first = mint(connection)["kid"]
            self.assertEqual(ask(connection, "GET", "/readyz")[0], 200)
            known: list[object] = []
            while (kid := mint(connection)["kid"]) == first:
                known = [key["kid"] for key in json.loads(ask(connection, "GET", JWKS)[1])["keys"]]
        self.assertIn(kid, known)
        log = daemon.log.read_text()
        events = [(first, "active"), (kid, "pending"), (first, "retired"), (kid, "active")]
        for name, state in events:
            self.assertIn(f"key {name} (ES256) is {state}", log)


class ReusePortTests(ProcessTestCase):
    def test_processes_on_one_port_are_one_server(self) -> None:
        """Connections are shared among them; a key of one is found by the other; one may end."""
        store, port = f"sqlite:///{self.folder}/keys.db", str(free_port())
        options = ["--port", port, "--reuse-port", "--store", store, "--alg", "ES256"]
        folders = [self.enterContext(TemporaryDirectory()) for _ in range(2)]
        with running(folders[0], *options) as first, running(folders[1], *options) as second:
            for _ in range(40):
                kid = mint(self.connect(first.port))["kid"]
                path = f"/.well-known/{kid}.json"
                self.assertEqual(ask(self.connect(first.port), "GET", path)[0], 200)
            logs = [daemon.log.read_text().count("POST /auth") for daemon in (first, second)]
            self.assertEqual(sum(logs), 40)
            self.assertGreater(min(logs), 0)
            second.process.terminate()
            second.process.wait(timeout=WAIT)
            self.assertEqual(ask(self.connect(first.port), "POST", "/auth")[0], 200)

    def test_a_port_that_others_have_alone_is_refused(self) -> None:
        """Sharing takes both sides."""
        busy = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        store = f"sqlite:///{self.folder}/keys.db"
        command = [*MAIN, "--port", str(busy), "--reuse-port", "--store", store]
        process = self.start(*command)
        _, error = process.communicate()
        self.assertIn(f"cannot listen on 127.0.0.1 port {busy}: Address already in use", error)
        self.assertGreater(process.returncode, 0)


class RequestTests(ProcessTestCase):
    """Requests that are in flight when something happens."""

    def test_a_stop_answers_what_was_accepted(self) -> None:
        """All that wait for a key get it; idle connections are closed, new ones refused."""
        process, port = self.serve()
        idle, *waiting = (self.connect(port) for _ in range(13))
        for connection in (idle, *waiting):
            self.assertEqual(ask(connection, "GET", JWKS)[0], 200)
        for connection in waiting:
            connection.request("POST", "/auth")
        ask(self.connect(port), "GET", JWKS)  # its answer comes after those were all read
        process.send_signal(signal.SIGTERM)
        self.assertEqual(idle.sock.recv(1), b"")
        self.assertFalse(is_open(port))
        answers = [connection.getresponse() for connection in waiting]
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(len({answer.read() for answer in answers}), len(waiting))
        self.assertEqual(answers[-1].getheader("Connection"), "close")
        output = "".join(process.communicate())
        self.assertEqual(process.returncode, 0)
        self.assertNotIn("Traceback", output)

    def test_a_client_that_leaves_gives_up_its_turn(self) -> None:
        """Its place in the queue is free at once, and the key goes to the next in line."""
        # Large keys take longer than the few requests of this test until one is there.
        process, port = self.serve("--max-waiting", "1", "--rsa-bits", "4096")
        leaving, other = self.connect(port), self.connect(port)
        leaving.request("POST", "/auth")
        ask(other, "GET", JWKS)
        self.assertEqual(ask(other, "POST", "/auth")[0], 503)
        leaving.close()
        for _ in range(2):  # the end is read in one turn of the reactor, and acted on in the next
            ask(other, "GET", JWKS)
        minted = mint(other)
        keys = json.loads(ask(other, "GET", JWKS)[1])["keys"]
        self.assertEqual([key["kid"] for key in keys], [minted["kid"]])
        self.assertEqual(self.stop(process)[0], 0)


class SelfTestTests(ProcessTestCase):
    """``main.py --test``; always with names, for without them it would run this again."""

    def test_it_passes_and_fails_with_its_tests(self) -> None:
        """From any folder, and while somebody else has the default port."""
        with suppress(OSError):  # if it cannot be had, somebody has it
            self.enterContext(socket.create_server(("127.0.0.1", 8080)))
        (self.folder / "test_that_fails.py").write_text(
            "from unittest import TestCase\n"
            "class Tests(TestCase):\n"
            "    def test_failing(self): self.fail('as it should')\n"
        )
        for names, code, last in (
            (["-v", "tests.jose.test_tokens"], 0, "OK"),
            (["tests.jose.test_tokens", "test_that_fails"], 1, "FAILED (failures=1)"),
            (["test_that_is_missing"], 1, "FAILED (errors=1)"),
        ):
            with self.subTest(names=names):
                process = self.start(*MAIN, "--test", *names, PYTHONPATH=str(self.folder))
                _, report = process.communicate()
                self.assertEqual(process.returncode, code, report)
                self.assertEqual(report.splitlines()[-1], last)
                self.assertEqual(report.count(" ... ok\n") > 0, "-v" in names)

    def test_nothing_run_is_not_ok(self) -> None:
        """Neither by a name that no test has, nor where each is skipped; the last line says so."""
        (self.folder / "test_skipped.py").write_text(
            "from unittest import TestCase, skip\n"
            "from twisted.trial.unittest import SynchronousTestCase\n"
            "class Plain(TestCase):\n"
            "    @skip('always')\n"
            "    def test_one(self): pass\n"
            "class Trial(SynchronousTestCase):\n"
            "    def test_one(self): self.skipTest('always')\n"
        )
        for names, last in (
            (["-k", "nosuchname", "tests.web.test_dev"], "no test was found"),
            (["tests.support.http.HttpTestCase"], "no test was found"),
            (["test_skipped"], "every test was skipped"),
        ):
            with self.subTest(names=names):
                process = self.start(*MAIN, "--test", *names, PYTHONPATH=str(self.folder))
                _, report = process.communicate()
                self.assertEqual(process.returncode, 1, report)
                self.assertEqual(report.splitlines()[-1], f"NOTHING RUN: {last}")

    def test_the_count_is_that_of_tests(self) -> None:
        """A class of trial that only others are made from counts for nothing."""
        (self.folder / "test_two.py").write_text(
            "from twisted.trial.unittest import SynchronousTestCase, TestCase\n"
            "class Base(SynchronousTestCase): pass\n"
            "class Tests(Base):\n"
            "    def test_one(self): pass\n"
            "class Others(TestCase):\n"
            "    def test_two(self): pass\n"
        )
        for names, ran in ((["test_two"], "2 tests"), (["-k", "two.Tests", "test_two"], "1 test")):
            with self.subTest(names=names):
                process = self.start(*MAIN, "--test", *names, PYTHONPATH=str(self.folder))
                _, report = process.communicate()
                self.assertIn(f"\nRan {ran} in ", report)
                self.assertEqual((process.returncode, report.splitlines()[-1]), (0, "OK"))
