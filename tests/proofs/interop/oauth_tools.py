"""What the OAuth checks need beside Python: npm packages, Apache httpd, a certificate."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.processes import CHECKOUT, environment, free_port

SOURCES = Path(__file__).resolve().parent / "oauth"
MODULES = Path("/usr/lib/apache2/modules")
"""Where Debian's packages put the modules of Apache httpd."""

DEBIAN_PACKAGES = ("apache2-bin", "libapache2-mod-auth-openidc")
"""Program and module; without the package apache2, no system service comes with them."""

PYTHON_PACKAGES = ("requests",)
"""What Authlib's client imports and does not depend on."""


def install(tools: Path) -> None:
    """Put what is missing into the folder; the Debian packages go where they belong."""
    tools.mkdir(parents=True, exist_ok=True)
    install_npm(SOURCES, tools)
    _install_debian()
    _install_python(tools / "python")


def install_npm(sources: Path, tools: Path) -> None:
    """The packages that scripts need, and the scripts beside them: there node looks for imports."""
    wanted = (sources / "package.json").read_bytes()
    shutil.copytree(sources, tools, dirs_exist_ok=True)
    stamp = tools / "node_modules" / ".installed"
    if stamp.is_file() and stamp.read_bytes() == wanted:
        return
    quietly("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=tools)
    stamp.write_bytes(wanted)


def _install_debian() -> None:
    if system_program("apache2") is not None and (MODULES / "mod_auth_openidc.so").is_file():
        return
    if os.geteuid() != 0:
        raise SystemExit(f"install these Debian packages first: {' '.join(DEBIAN_PACKAGES)}")
    quietly("apt-get", "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES)


def debian_version(package: str) -> str:
    """The version of an installed Debian package."""
    query = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout


def _install_python(folder: Path) -> None:
    missing = [name for name in PYTHON_PACKAGES if find_spec(name) is None]
    if missing and not folder.is_dir():
        quietly(sys.executable, "-m", "pip", "install", "--target", str(folder), *missing)
    if missing:
        sys.path.append(str(folder))


def system_program(name: str) -> str | None:
    """The path of an installed program, also of one that is not for every user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def quietly(*command: str, cwd: Path | None = None) -> None:
    """Run a command that is heard of only when it fails, which ends all."""
    done = subprocess.run(
        command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key, as files."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert_file, key_file


def run_node(tools: Path, script: str, *arguments: str) -> str:
    """What a script prints.

    Raises:
        RuntimeError: with what it says on stderr, when it fails.
    """
    done = subprocess.run(
        ["node", script, *arguments],
        cwd=tools,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


@contextmanager
def daemon(folder: Path, port: int, *options: str) -> Iterator[None]:
    """A jwksd that the options make listen on the port; its log is kept in the folder."""
    with (folder / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jwksd", "serve", *options],
            cwd=CHECKOUT,
            env=environment(),
            stdout=log,
            stderr=log,
        )
    try:
        await_port(process, port)
        yield
    finally:
        stop(process)


@contextmanager
def node_resource(tools: Path, issuer: str, audience: str) -> Iterator[str]:
    """The URL of the protected resource in node."""
    process = subprocess.Popen(
        ["node", "resource.mjs", issuer, audience],
        cwd=tools,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("resource.mjs does not start")
        yield url
    finally:
        stop(process)


@contextmanager
def httpd(folder: Path, mode: str, defines: dict[str, str]) -> Iterator[str]:
    """The URL of an Apache httpd of its own process, that runs oauth/httpd.conf in the folder."""
    port = free_port()
    defines = {"FOLDER": str(folder), "MODULES": str(MODULES), "PORT": str(port), **defines}
    options = [f"-D{mode}", "-DFOREGROUND"]
    for name, value in defines.items():
        options += ["-C", f'Define {name} "{value}"']
    program = system_program("apache2") or "apache2"
    process = subprocess.Popen([program, *options, "-f", str(SOURCES / "httpd.conf")])
    try:
        await_port(process, port)
        yield f"http://127.0.0.1:{port}/resource"
    finally:
        stop(process)


def await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the process listens, ten seconds at most."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}; exit code {process.poll()}")


def stop(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End the process, and reap it."""
    process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
