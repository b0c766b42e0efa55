"""Streams that never block, on everything that standard error can be; and servers whose log nobody
reads."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic
from typing import Any, TextIO
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jwksd.logs import Stream, unblocked
from tests.support.processes import (
    CHECKOUT,
    JWKS,
    MAIN,
    WAIT,
    ProcessTestCase,
    ask,
    environment,
    free_port,
)

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

LINE = "x" * 99 + "\n"


class Reactor(Clock):
    """A clock that can be called from threads."""

    def callFromThread(self, call: Callable[..., object], *arguments: Any) -> None:
        call(*arguments)


class StreamTestCase(SynchronousTestCase):
    """A test that would block is interrupted."""

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, interrupt))
        self.addCleanup(signal.alarm, 0)
        signal.alarm(WAIT)
        self.reactor = Reactor()

    def open(self, descriptor: int) -> TextIO:
        return self.enterContext(os.fdopen(descriptor, "w", errors="backslashreplace"))

    def pipe(self) -> tuple[int, Stream]:
        """A reading end, and a stream to the writing end."""
        reader, writer = os.pipe()
        self.addCleanup(close, reader)
        return reader, self.stream(writer)

    def stream(self, descriptor: int) -> Stream:
        stream = unblocked(self.open(descriptor), self.reactor)
        assert isinstance(stream, Stream)
        return stream

    def assert_drops(self, stream: Stream, read: Callable[[], bytes]) -> None:
        """What is not taken is counted, told first when it flows again, and no line is torn."""
        for _ in range(5000):
            stream.write(LINE)
        stream.flush()
        before = read()
        self.assertLess(len(before), 5000 * len(LINE))
        self.reactor.advance(60)
        stream.write("next\n")
        lines = (before + read()).decode().splitlines()
        self.assertEqual(set(lines[:-2]), {LINE[:-1]})
        self.assertRegex(lines[-2], r"\A\S+ \[jwksd\.logs#warn\] log lines dropped, .*: [0-9]+\Z")
        self.assertEqual(len(lines) - 2 + int(lines[-2].split()[-1]), 5000)
        self.assertEqual(lines[-1], "next")


def interrupt(number: int, frame: object) -> None:
    raise TimeoutError("the stream waits")


def close(descriptor: int) -> None:
    """Close it, unless it is closed."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def drained(descriptor: int) -> bytes:
    """All that there is to be read now."""
    octets = b""
    os.set_blocking(descriptor, False)
    try:
        while some := os.read(descriptor, 65_536):
            octets += some
    except BlockingIOError:
        pass
    return octets


class PipeTests(StreamTestCase):
    def test_what_a_full_pipe_does_not_take_is_counted(self) -> None:
        """And the open file that others share stays as it was handed to us."""
        reader, stream = self.pipe()
        self.assert_drops(stream, lambda: drained(reader))
        self.assertFalse(fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_nor_does_one_that_cannot_be_opened_anew_block(self) -> None:
        """As where the user was changed, or where there is no /proc."""
        with patch("os.open", side_effect=PermissionError):
            reader, stream = self.pipe()
            self.assert_drops(stream, lambda: drained(reader))

    def test_the_count_is_told_though_nothing_more_is_logged(self) -> None:
        """After a second, or later, when somebody reads."""
        reader, stream = self.pipe()
        for _ in range(1000):
            stream.write(LINE)
        for _ in range(3):
            self.reactor.advance(1)
        # It may have fitted where no other line did.
        said = drained(reader)
        self.reactor.advance(1)
        self.assertIn(b"log lines dropped", said + drained(reader))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_is_begun_is_ended_first(self) -> None:
        """A text that is longer than all that a pipe holds."""
        for opened in (os.open, None):
            reader, stream = self.pipe()
            with patch("os.open", opened) if opened else patch("os.open", side_effect=OSError):
                long = "".join(f"{number:09}\n" for number in range(30_000))
                stream.write(long)
                stream.write("lost\n")
                got = b""
                while some := drained(reader):
                    got += some
                    self.reactor.advance(1)
                stream.write("next\n")
                lines = (got + drained(reader)).decode().splitlines(keepends=True)
                self.assertEqual("".join(lines[:30_000]), long)
                self.assertTrue(lines[30_000].endswith("took them: 1\n"), lines[30_000])
                self.assertEqual(lines[30_001:], ["next\n"])

    def test_nobody_need_read(self) -> None:
        """Where the reading end is closed nothing is raised, and no signal ends the process."""
        for closed_before in (True, False):
            reader, stream = self.pipe()
            if not closed_before:
                stream.write(LINE)
            os.close(reader)
            for _ in range(3):
                stream.write(LINE)
                self.reactor.advance(1)

    def test_it_is_opened_no_sooner_than_it_is_written(self) -> None:
        """A daemon that has forked keeps no end of the pipe of whoever started it."""
        reader, stream = self.pipe()
        stream._file.close()
        self.assertEqual(os.read(reader, 1), b"")

    def test_controls_are_escaped(self) -> None:
        """All but line feed and tab, so that a client cannot forge a line or move the cursor."""
        reader, stream = self.pipe()
        stream.write("a\rb\x1b[2J\x7f\x85\u2028\x0c\x00\n\té☺\udc80\n")
        text = drained(reader).decode()
        self.assertEqual(text, "a\\x0Db\\x1B[2J\\x7F\\x85\\x2028\\x0C\\x00\n\té☺\\udc80\n")


class OtherTests(StreamTestCase):
    def test_a_socket_that_nobody_reads(self) -> None:
        """As under systemd, or inetd; its other uses stay as they were."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        stream = self.stream(ours.detach())
        self.assert_drops(stream, lambda: drained(theirs.fileno()))
        self.assertFalse(fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_a_terminal_that_is_stopped(self) -> None:
        """By Ctrl-S; Ctrl-Q lets it go on."""
        for opened in (os.open, None):
            with patch("os.open", opened) if opened else patch("os.open", side_effect=OSError):
                master, slave = pty.openpty()
                self.addCleanup(os.close, master)
                stream = self.stream(slave)
                termios.tcflow(slave, termios.TCOOFF)
                for _ in range(1000):
                    stream.write(LINE)
                self.assertEqual(drained(master), b"")
                termios.tcflow(slave, termios.TCOON)
                self.reactor.advance(1)
                stream.write("next\n")
                self.assertRegex(drained(master), rb"dropped, .*: 1000\r\nnext\r\n\Z")

    def test_a_full_disk(self) -> None:
        """Nothing is raised; what fits later is written."""
        stream = self.stream(os.open("/dev/full", os.O_WRONLY))
        for _ in range(3):
            self.assertEqual(stream.write(LINE), len(LINE))
        self.assertEqual(stream._dropped, 3)

    def test_a_file(self) -> None:
        """It is written where it is, behind what others have written."""
        path = Path(self.enterContext(TemporaryDirectory()), "log")
        stream = self.stream(os.open(path, os.O_WRONLY | os.O_CREAT))
        os.write(stream.fileno(), b"before\n")
        print("é", "line", file=stream)
        self.assertEqual(Path(path).read_text("utf-8"), "before\né line\n")

    def test_what_has_no_descriptor_stays_as_it_is(self) -> None:
        """A text in memory, none at all, and a stream of ours."""
        for file in (StringIO(), None, self.pipe()[1]):
            self.assertIs(unblocked(file, self.reactor), file)


class UnreadTests(ProcessTestCase):
    """Whole servers, nobody reads what they say."""

    COMMANDS = (
        [*MAIN],
        [sys.executable, "-m", "jwksd", "serve"],
        [*TWISTD, "-n", "--pidfile=", "jwksd"],
    )

    def full_pipe(self) -> tuple[int, int]:
        """The ends of a pipe that takes no more."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(close, writer)
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"\n" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        return reader, writer

    def start_on(self, stream: int, *command: str) -> tuple["subprocess.Popen[bytes]", int]:
        """A server that says everything to one descriptor, and its port."""
        port = free_port()
        process = subprocess.Popen(
            [*command, "--port", str(port), "--alg", "ES256"],
            cwd=CHECKOUT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, port

    def test_a_pipe_that_nobody_reads_stops_no_server(self) -> None:
        """Full from the start: it answers, ends in order, and tells the count when it is read."""
        for command in self.COMMANDS:
            with self.subTest(command=command):
                reader, writer = self.full_pipe()
                process, port = self.start_on(writer, *command)
                os.close(writer)
                connection = connect(port)
                for _ in range(20):
                    self.assertEqual(ask(connection, "GET", JWKS)[0], 200)
                drained(reader)
                self.assertEqual(ask(connection, "GET", JWKS)[0], 200)
                process.send_signal(signal.SIGTERM)
                code = -signal.SIGTERM if "-n" in command else 0
                self.assertEqual(process.wait(WAIT), code)
                said = drained(reader).decode()
                counted = re.search(r"log lines dropped, for nobody took them: ([0-9]+)\n", said)
                assert counted is not None, said
                taken = said.count('"GET /.well-known/jwks.json HTTP/1.1" 200')
                self.assertGreaterEqual(int(counted[1]) + taken, 21)
                self.assertGreaterEqual(int(counted[1]), 19)  # the last may come after its answer

    def test_more_lines_than_a_pipe_holds(self) -> None:
        """The reader is there, and does not read."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        process, port = self.start_on(writer, *MAIN)
        os.close(writer)
        connection = connect(port)
        for _ in range(1500):
            self.assertEqual(ask(connection, "GET", JWKS)[0], 200)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(WAIT), 0)

    def test_streams_that_are_closed(self) -> None:
        """Neither standard output nor error need be there at all."""
        port = free_port()
        command = f"exec {' '.join(MAIN)} --port {port} --alg ES256 >&- 2>&-"
        process = self.start("sh", "-c", command)
        self.assertEqual(ask(connect(port), "GET", JWKS)[0], 200)
        self.assertEqual(self.stop(process), (0, ""))


def connect(port: int) -> HTTPConnection:
    """A connection to a server that is about to listen."""
    deadline = monotonic() + WAIT
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT)
        try:
            connection.connect()
        except ConnectionRefusedError:
            assert monotonic() < deadline, "nobody listens"
            Event().wait(0.02)
        else:
            return connection
