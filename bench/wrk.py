"""The load: wrk with one thread, on a core of its own, and what it measured."""

from dataclasses import dataclass

from tools import Tools, output


@dataclass(frozen=True)
class Shot:
    """What wrk asks again and again.

    Args:
        arguments: what the script takes: the method, and with POST a body and its type.
        script: one of ``peers/*.lua``.
        fields: header fields.
    """

    path: str
    arguments: tuple[str, ...] = ("GET",)
    script: str = "load.lua"
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wrk:
    """wrk, pinned to a core."""

    tools: Tools
    core: int

    def command(self, port: int, shot: Shot, connections: int, seconds: int) -> list[str]:
        """The command that asks a server on so many connections for so long."""
        command = ["taskset", "-c", str(self.core), *self.tools.wrk, "-t1", f"-c{connections}"]
        command += [f"-d{seconds}s", f"-s{self.tools.folder / shot.script}"]
        command += [f"-H{field}" for field in shot.fields]
        return [*command, f"http://127.0.0.1:{port}{shot.path}", "--", *shot.arguments]

    def rate(self, port: int, shot: Shot, connections: int, seconds: int) -> float:
        """Answers a second; of a script that counts tokens, tokens.

        Raises:
            RuntimeError: when an answer was an error, a connection failed, or nothing was answered.
        """
        command = self.command(port, shot, connections, seconds)
        return rate(output(command, timeout=seconds + 60))


def rate(printed: str) -> float:
    """The rate in what ``load.lua`` printed; raises as ``Wrk.rate`` does."""
    lines = [line.split() for line in printed.splitlines()]
    told = {words[0]: float(words[1]) for words in lines if len(words) == 2 and words[0] in _NAMES}
    if told.keys() != _NAMES or told["status"] or told["socket"] or not told["requests"]:
        raise RuntimeError(f"wrk met errors:\n{printed}")
    return told["requests"] / told["seconds"]


_NAMES = {"requests", "seconds", "status", "socket"}
