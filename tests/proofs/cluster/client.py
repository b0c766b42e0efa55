"""Client: HTTP/1.1 with kept connections, one for each port; of one thread."""

from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException

TIMEOUT = 20
"""Seconds that any answer may take."""


class Unreachable(Exception):
    """Nobody listens, or the connection broke before the whole answer was there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Message
    body: bytes

    @property
    def etag(self) -> str:
        return self.headers.get("ETag", "")


class Client:
    """Requests to ports of the loopback interface."""

    def __init__(self) -> None:
        self._connections: dict[int, HTTPConnection] = {}

    def get(self, port: int, path: str, **headers: str) -> Answer:
        """Header names are given with underscores.

        Raises:
            Unreachable: there is no answer.
        """
        return self._request("GET", port, path, headers)

    def post(self, port: int, path: str, **headers: str) -> Answer:
        """As ``get``. What broke on a kept connection is sent once more."""
        return self._request("POST", port, path, headers)

    def _request(self, method: str, port: int, path: str, headers: dict[str, str]) -> Answer:
        if port in self._connections:
            try:
                return self._exchange(method, port, path, headers)
            except Unreachable:
                pass
        self._connections[port] = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        return self._exchange(method, port, path, headers)

    def _exchange(self, method: str, port: int, path: str, headers: dict[str, str]) -> Answer:
        connection = self._connections[port]
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        try:
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (HTTPException, OSError) as error:
            self._connections.pop(port).close()
            raise Unreachable(f"{method} {path} on port {port}: {error!r}") from None
