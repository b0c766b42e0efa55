"""A real PostgreSQL of the tests' own: a new cluster in a temporary folder, on a loopback port."""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import psycopg

_DEBIAN = "/usr/lib/postgresql"
"""Where Debian keeps what it does not put on the path, by version."""

_names = count()


def find() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, or None where PostgreSQL is not installed."""
    folders = [path.parent for path in sorted(Path(_DEBIAN).glob("*/bin/initdb"), reverse=True)]
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).parent)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Cluster:
    """One PostgreSQL server, which can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        binaries = find()
        assert binaries is not None, "PostgreSQL is not installed"
        self._binaries = binaries
        self.folder = folder
        self._user = _unprivileged()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(folder / "data"), "-U", "jwksd", "-A", "trust", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self.folder / "log").open("ab")
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        settings |= {"unix_socket_directories": str(self.folder), "max_connections": "100"}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self.folder / "data", *options],
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
        )
        log.close()
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it at once, as a shutdown does: sessions are cut off, what is committed is kept."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Let it crash."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Let it hang: connections stay open, and nothing answers."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        """The server first, so that it makes no more while its children are looked for."""
        assert self._process is not None
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text()
        return [own, *map(int, children.split())]

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)
            self._process = None

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://jwksd@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a new, empty one."""
        name = f"test_{next(_names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            user=self._user,
            check=True,
            capture_output=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )


def _unprivileged() -> str | None:
    """PostgreSQL does not run as root: who it runs as then."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running one, and nothing of it left behind."""
    folder = Path(tempfile.mkdtemp(prefix="jwksd-postgres-"))
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder)


@cache
def shared() -> Cluster:
    """One for all tests of the process, ended with it."""
    context = cluster()
    made = context.__enter__()
    atexit.register(context.__exit__, None, None, None)
    return made
