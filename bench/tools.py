"""The peers and their tools: found where they are installed, else put into a folder.

nginx, wrk and openssl are Debian's; a package that is missing is downloaded and unpacked, not
installed: no service comes with it, and nobody has to be root. The Node peers and the Node that
runs them come from npm, oidc-provider-mock from PyPI, in the versions that ``peers/`` names.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import CHECKOUT
from jwcrypto.jwk import JWK

SOURCES = Path(__file__).resolve().parent / "peers"

DEBIAN_PACKAGES = {
    "nginx": ("nginx",),
    "wrk": ("wrk", "libluajit-5.1-2", "libluajit-5.1-common"),
    "openssl": ("openssl",),
}
"""By program, the packages that it needs beside those that every machine has."""


@dataclass(frozen=True)
class Tools:
    """Commands, each to be continued with arguments, and the folder with the peers' scripts."""

    folder: Path
    nginx: list[str]
    wrk: list[str]
    openssl: list[str]
    node: list[str]
    python: list[str]
    """The Python that has oidc-provider-mock."""

    @property
    def key(self) -> Path:
        """The private RSA key of the Node peers, as a JWK."""
        return self.folder / "key.json"


def install(folder: Path, node: str | None) -> Tools:
    """Find the tools, and put what is missing into the folder.

    Args:
        folder: it is made, and kept for the next time.
        node: the Node to use instead of the one that ``peers/package.json`` names.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("taskset"):
        raise SystemExit("taskset is missing: install util-linux")
    _install_npm(folder)
    tools = Tools(
        folder,
        **{program: _debian(program, folder) for program in DEBIAN_PACKAGES},
        node=[node] if node else _npm_node(folder),
        python=[_install_python(folder)],
    )
    if not tools.key.is_file():
        key = JWK.generate(kty="RSA", size=2048, alg="RS256", use="sig", kid="peer")
        tools.key.touch(mode=0o600)
        tools.key.write_text(key.export(), encoding="ascii")
    return tools


def _install_npm(folder: Path) -> None:
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    wanted = (SOURCES / "package.json").read_bytes()
    stamp = folder / "node_modules" / ".installed"
    if not stamp.is_file() or stamp.read_bytes() != wanted:
        quietly("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=folder)
        stamp.write_bytes(wanted)


def _npm_node(folder: Path) -> list[str]:
    """The Node that npm installed for this machine; else the one on the path."""
    found = sorted(folder.glob("node_modules/node-linux-*/bin/node"))
    return [str(found[0]) if found else "node"]


def _install_python(folder: Path) -> str:
    wanted = (SOURCES / "requirements.txt").read_bytes()
    environment = folder / "python"
    python, stamp = environment / "bin" / "python", environment / ".installed"
    if not stamp.is_file() or stamp.read_bytes() != wanted:
        quietly(sys.executable, "-m", "venv", "--clear", str(environment))
        quietly(str(python), "-m", "pip", "install", "-r", str(SOURCES / "requirements.txt"))
        stamp.write_bytes(wanted)
    return str(python)


def _debian(program: str, folder: Path) -> list[str]:
    """The command of a program of Debian's, downloaded if it is not installed."""
    installed = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if installed:
        return [installed]
    root = folder / "debian"
    if not (found := _unpacked(program, root)):
        packages = folder / "packages"
        packages.mkdir(exist_ok=True)
        quietly("apt-get", "download", *DEBIAN_PACKAGES[program], cwd=packages)
        for package in packages.glob("*.deb"):
            quietly("dpkg-deb", "-x", str(package), str(root))
        found = _unpacked(program, root)
    if not found:
        raise SystemExit(f"{program} is missing; its Debian package did not bring it")
    return found


def _unpacked(program: str, root: Path) -> list[str]:
    """The command of an unpacked program, which finds its unpacked libraries; else nothing."""
    found = [path for path in root.glob(f"usr/*bin/{program}") if path.is_file()]
    libraries = ":".join(map(str, root.glob("usr/lib/*-linux-*")))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(found[0])] if found else []


def quietly(*command: str, cwd: Path | None = None) -> None:
    """Run a command that is heard of only when it fails, which ends all."""
    done = subprocess.run(
        command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")


def output(command: Sequence[str], timeout: float = 60) -> str:
    """What a command prints, on stdout and then on stderr.

    Raises:
        RuntimeError: with what it printed, when it fails.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, cwd=CHECKOUT
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
