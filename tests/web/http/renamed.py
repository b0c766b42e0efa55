"""``python -m tests.web.http.renamed NAME…``: a site on a Twisted that has other private names.

The names are replaced in Twisted's own source as it is imported, so that Twisted works as before,
and whoever relies on one of them fails. Prints what was answered and logged, as JSON.
"""

import json
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any


class Renaming(SourceFileLoader):
    """Loads a module with some of its names replaced."""

    names: re.Pattern[str]

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode("utf-8")
        return compile(self.names.sub(r"\g<0>_renamed", source), self.path, "exec")


class Finder(MetaPathFinder):
    """Has all of Twisted loaded by ``Renaming``."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname.split(".")[0] != "twisted":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = Renaming(fullname, spec.loader.path)
        return spec


def rename(names: Sequence[str]) -> None:
    """Replace these names in every module of Twisted that is imported from now on.

    A module may be called ``_buffer`` too, and keeps its name.
    """
    assert not any(module.split(".")[0] == "twisted" for module in sys.modules)
    unmangled = [re.sub(r"^_[A-Z]\w*?(?=__)", "", name) for name in names]
    Renaming.names = re.compile(rf"(?<!from \.)\b({'|'.join(map(re.escape, unmangled))})\b")
    sys.meta_path.insert(0, Finder())


def serve() -> dict[str, object]:
    """Ask a site for a token and for the key set, each twice."""
    from twisted.internet.task import Clock
    from twisted.logger import LogLevel, eventAsText, globalLogPublisher

    from jwksd.web.http.site import Site
    from jwksd.web.root import make_root
    from tests.support.app import make_issuer
    from tests.support.http import JWKS, Connection, get
    from tests.support.keys import NOW

    warnings: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            warnings.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    globalLogPublisher.addObserver(observe)
    clock = Clock()
    clock.advance(NOW)
    site = Site(make_root(make_issuer(clock)), clock)
    connection = Connection(site)
    requests = [get("/auth", method="POST"), get("/auth", method="POST"), get(JWKS), get(JWKS)]
    answers = [connection.send(request).decode("ascii") for request in requests]
    return {"answers": answers, "warnings": warnings, "channel": site.protocol.__name__}


if __name__ == "__main__":
    rename(sys.argv[1:])
    json.dump(serve(), sys.stdout)
