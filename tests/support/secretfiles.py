"""A folder for secrets, and refusals that show none of them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from jwcrypto.jwk import JWK

from jwksd.errors import StartUpRefused

SECRET = "hunter2-hunter2"


class SecretsTestCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(patch.dict("os.environ", clear=True))
        self.keks = [JWK.generate(kty="oct", size=256) for _ in range(4)]

    def file(self, name: str, text: str | bytes, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    def refusal(self, *arguments: Any, **named: Any) -> str:
        """Why the call is refused: one line, in which nothing is secret."""
        with self.assertRaises(StartUpRefused) as caught:
            arguments[0](*arguments[1:], **named)
        line = str(caught.exception.code)
        self.assertNotIn("\n", line)
        for secret in (SECRET, *(kek["k"] for kek in self.keks)):
            self.assertNotIn(secret, line)
        return line
