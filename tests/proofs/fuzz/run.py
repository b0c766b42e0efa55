"""The run: cases to their servers over a few connections each, answers to the oracle, counts."""

import asyncio
import time
from collections import Counter
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count

from tests.proofs.fuzz.case import Case, Known
from tests.proofs.fuzz.client import Connection, answers_in, cuts_of, exchange_raw
from tests.proofs.fuzz.generate import make
from tests.proofs.fuzz.oracle import Wrong, demand, judge, judge_any
from tests.proofs.fuzz.servers import Running
from tests.proofs.fuzz.shrink import shrink
from tests.support.raw import Answer

MOST_VIOLATIONS = 10
"""After so many the run ends."""

CONNECTIONS = 4
"""To each server, that are kept alive."""

PIPELINED = 8
"""Requests at most that are sent before the first of them is answered."""

RAW_AT_ONCE = 16
WARM = 1_000
"""Cases after which the memory of the servers is taken down."""

ENOUGH = 5_000
"""Cases from which on the shares below can be demanded."""

LEAST = {
    "bodies: the token that was asked for": 0.02,
    "bodies: refused": 0.05,
    "parameters: the token that was asked for": 0.08,
    "parameters: refused": 0.1,
    "parameters: 503, documented": 0.001,
    "tokens: active: true": 0.005,
    "tokens: active: false": 0.05,
    "raw: some answers": 0.08,
}
"""The least share of all cases that must have come out so; else little would be proved."""

Numbered = tuple[int, Case]


class Run:
    """One run.

    Args:
        running: the servers, by name.
        known: what they have told.
        seed: from which all cases follow.
        only: the one kind of cases, or None for all.
        most: violations until the end.
    """

    def __init__(
        self,
        running: dict[str, Running],
        known: Known,
        seed: int,
        only: str | None = None,
        most: int = MOST_VIOLATIONS,
    ) -> None:
        self._running, self._known, self._seed, self._only = running, known, seed, only
        self._most = most
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self._queues: dict[str, asyncio.Queue[Numbered]] = {}
        self._raw: asyncio.Queue[Numbered] = asyncio.Queue(100)
        self._began = 0.0

    async def run(self, requests: int) -> None:
        """Send so many cases."""
        self._began = time.monotonic()
        self._queues = {name: asyncio.Queue(100) for name in self._running}
        workers = [
            asyncio.create_task(self._keep_asking(name))
            for name in self._running
            for _ in range(CONNECTIONS)
        ]
        workers += [asyncio.create_task(self._keep_sending()) for _ in range(RAW_AT_ONCE)]
        feeding = asyncio.create_task(self._feed(requests))
        await asyncio.wait([feeding, *workers], return_when=asyncio.FIRST_COMPLETED)
        for task in (feeding, *workers):
            task.cancel()
        for ended in await asyncio.gather(feeding, *workers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _feed(self, requests: int) -> None:
        fed = 0
        for number in count():
            if fed == requests or len(self.violations) >= self._most:
                break
            case = make(self._seed, number, self._known, self._only)
            if case is None:
                continue
            queue = self._raw if case.kind == "raw" else self._queues[case.server.name]
            await queue.put((number, case))
            fed += 1
            if fed == min(WARM, requests):
                await self._join()
                self._weigh()
        await self._join()

    async def _join(self) -> None:
        for queue in (self._raw, *self._queues.values()):
            await queue.join()

    def _weigh(self) -> None:
        for running in self._running.values():
            running.before = running.memory()

    # Well-formed requests.

    async def _keep_asking(self, name: str) -> None:
        queue, port = self._queues[name], self._running[name].port
        connection = None
        while True:
            batch = [await queue.get()]
            while len(batch) < PIPELINED and not queue.empty():
                batch.append(queue.get_nowait())
            waiting = list(batch)
            while waiting:
                if connection is None or not connection.open:
                    connection = await Connection.connect(port)
                waiting = await self._ask(connection, waiting)
            for _ in batch:
                queue.task_done()

    async def _ask(self, connection: Connection, batch: list[Numbered]) -> list[Numbered]:
        """Send them in a pipeline; return those that the end of the connection left unanswered."""
        connection.send([case for _, case in batch])
        for index, (number, case) in enumerate(batch):
            answer = None
            try:
                answer = await connection.read(case.method)
                demand(answer is not None, "the connection ended without an answer")
                assert answer is not None
                self._count(case, judge(case, answer, self._known, _dated(answer)))
            except Wrong as wrong:
                self._violated(number, case, str(wrong), answer)
                if answer is None:
                    connection.close()
            if not connection.open:
                return batch[index + 1 :]
        return []

    # Octets that are perhaps no request.

    async def _keep_sending(self) -> None:
        while True:
            number, case = await self._raw.get()
            await self._send(number, case)
            self._raw.task_done()

    async def _send(self, number: int, case: Case) -> bytes:
        received = b""
        try:
            port = self._running[case.server.name].port
            cuts = cuts_of(case, f"{self._seed}:{number}")
            received, reset = await exchange_raw(port, case, cuts)
            answers = list(answers_in(received, case.octets, reset=reset))
            self._judge_raw(case, answers, reset=reset)
        except Wrong as wrong:
            self._violated(number, case, str(wrong), received)
        return received

    def _judge_raw(self, case: Case, answers: list[Answer], *, reset: bool) -> None:
        final = [answer for answer in answers if answer.status >= 200]
        for answer in answers:
            judge_any(case, answer)
            right = answer.status in case.expect.statuses | {100, 204, 304, 503}
            demand(right, f"a status that is none of {sorted(case.expect.statuses)}")
        if case.answers is not None and not reset:
            demand(len(final) == case.answers, f"{len(final)} answers, not {case.answers}")
        self._count(case, "reset" if reset else f"{'some' if final else 'no'} answers")

    # What came of it.

    def _count(self, case: Case, verdict: str) -> None:
        self.counts[f"{case.kind}: {case.what}"] += 1
        self.verdicts[f"{case.kind}: {verdict}"] += 1

    def _violated(self, number: int, case: Case, why: str, answer: object) -> None:
        self.counts[f"{case.kind}: {case.what}"] += 1
        text = (
            f"VIOLATION {self._seed}:{number} ({case.kind}, {case.what}, {case.server.name})\n"
            f"  {why}\n  sent {case.octets[:3000]!r}\n  answer {str(answer)[:1500]}"
        )
        self.violations.append(text)
        print(text, flush=True)

    async def repeat(self, seed: int, number: int) -> int:
        """Send one case again, show it and its answer, and return the exit code.

        Where the answer is wrong whatever was asked for, show less that gets such a one, too.
        """
        self._seed = seed
        case = make(seed, number, self._known)
        assert case is not None
        print(f"{case.kind}, {case.what}, to {case.server.name}: {case.expect}\n{case.octets!r}")
        if case.kind == "raw":
            print(await self._send(number, case))
        else:
            connection = await Connection.connect(self._running[case.server.name].port)
            await self._ask(connection, [(number, case)])
            print("\n".join(self.verdicts))
            connection.close()
        if self.violations and await self._is_wrong_anyway(case, case.octets):
            less = await shrink(case.octets, partial(self._is_wrong_anyway, case))
            print(f"less will do: {less!r}")
        return int(bool(self.violations))

    async def _is_wrong_anyway(self, case: Case, octets: bytes) -> bool:
        """Whether these octets get what no octets should get."""
        cut = Case(case.kind, case.what, case.server, octets, end="half-close", path="", method="")
        port = self._running[case.server.name].port
        try:
            received, reset = await exchange_raw(port, cut, [octets])
            for answer in answers_in(received, octets, reset=reset):
                judge_any(cut, answer)
        except Wrong:
            return True
        return False

    def end(self) -> None:
        """Look at the servers, and at what was proved, after all."""
        for name, running in self._running.items():
            for complaint in list(running.complaints())[:MOST_VIOLATIONS]:
                self._complain(f"{name}: {complaint}")
        if self._only is None and sum(self.counts.values()) >= ENOUGH:
            for verdict, share in LEAST.items():
                if self.verdicts[verdict] < share * sum(self.counts.values()):
                    self._complain(f"«{verdict}» is too seldom for a proof")

    def _complain(self, complaint: str) -> None:
        self.violations.append(f"VIOLATION seed {self._seed}, {complaint}")
        print(self.violations[-1], flush=True)

    def report(self) -> str:
        """The counts."""
        seconds = time.monotonic() - self._began
        total = sum(self.counts.values())
        lines = [f"{number:>12,}  {what}" for what, number in sorted(self.counts.items())]
        lines += ["", *(f"{number:>12,}  {what}" for what, number in sorted(self.verdicts.items()))]
        ended = f"{len(self.violations)} violations" if self.violations else "every one was right"
        lines += ["", f"{total:,} inputs in {seconds:.0f} s, seed {self._seed}: {ended}"]
        return "\n".join(lines)


def _dated(answer: Answer) -> float:
    """When an answer was made, by its own word, however late it is read; in whole seconds."""
    date = answer["Date"]
    return time.time() if date is None else parsedate_to_datetime(date).timestamp()
