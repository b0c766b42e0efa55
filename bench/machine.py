"""What a benchmark ran on: the machine, and the versions of everybody who took part."""

import json
import os
import platform
import re
import ssl
from importlib.metadata import version
from pathlib import Path

from tools import Tools, output


def describe(tools: Tools) -> dict[str, str]:
    """Names and texts, to be printed in this order."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    python = f"{platform.python_version()}, Twisted {version('twisted')}"
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.1f} GiB",
        "system": f"{_system()}, Linux {platform.release()}",
        "jwksd": f"Python {python}, cryptography {version('cryptography')}",
        "OpenSSL": f"{output([*tools.openssl, 'version']).strip()}; Python's {ssl.OPENSSL_VERSION}",
        "nginx": output([*tools.nginx, "-v"]).strip().rpartition("/")[2],
        "wrk": _wrk(tools),
        "Node": output([*tools.node, "--version"]).strip(),
        "oauth2-mock-server": _npm(tools, "oauth2-mock-server"),
        "oidc-provider": _npm(tools, "oidc-provider"),
        "oidc-provider-mock": _pypi(tools, "oidc-provider-mock"),
    }


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return model[1] if model else platform.machine()


def _system() -> str:
    return platform.freedesktop_os_release()["PRETTY_NAME"]


def _wrk(tools: Tools) -> str:
    # wrk tells its version with its usage, and as if that were a failure.
    printed = output(["sh", "-c", '"$@" || true', "sh", *tools.wrk, "--version"])
    return printed.split()[1]


def _npm(tools: Tools, name: str) -> str:
    package = tools.folder / "node_modules" / name / "package.json"
    return str(json.loads(package.read_text(encoding="utf-8"))["version"])


def _pypi(tools: Tools, name: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    return output([*tools.python, "-c", code]).strip()
