"""The figures, part by part; docs/benchmarks.md says what each is."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import mint
from common import process, resident, wait_until_idle
from contest import CONNECTIONS, Bench, Entry
from live import live_server
from load import paced_fetches
from results import Figure, Group
from servers import (
    NODE_PEERS,
    PEERS,
    Server,
    jwksd,
    jwksd_with_keys,
    nginx,
    options,
    peer,
    peer_command,
    pinned,
)
from start import JWKS, free_port, time_first_answer
from store import fill
from tools import Tools, output
from wrk import rate

MANY_CONNECTIONS = 256
MANY_KEYS = 1000
ONE_CORE, THREADS, PROCESSES = "one core", "two cores, signing threads", "two cores, two processes"
ROTATING = ("--policy", "rotating")
FRESH_KEYS = ("--alg", "ES256", "--reserve", "64", "--max-waiting", "1000")
SHORT = ("--lifetime", "60", "--max-keys", "10000000")
"""Tokens whose keys are gone soon, so that their number does not grow from round to round."""


def measure_jwks(bench: Bench) -> None:
    """jwks.json with one key: beside nginx and the peers; 304; <kid>.json; 256 connections."""
    core = bench.cores[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ours = stack.enter_context(jwksd("jwksd", [core]))
        ours.token()
        answer = ours.fetch()
        kid = answer.keys[0]
        file = stack.enter_context(nginx(bench.tools, core, folder / "nginx", answer))
        peers = [stack.enter_context(peer(bench.tools, core, name)) for name in PEERS]
        entries = {
            "jwksd": bench.fetching(ours, JWKS, answer),
            "jwksd, <kid>.json": bench.fetching(ours, f"/.well-known/{kid}.json", answer),
            "nginx": bench.fetching(file, JWKS, answer),
        }
        entries |= {p.name: bench.fetching(p, p.jwks, p.fetch()) for p in peers}
        _compare_jwks(bench, entries)
        _compare_conditional(bench, ours, file)
        both = {
            server.name: bench.fetching(server, JWKS, answer, connections=MANY_CONNECTIONS)
            for server in (ours, file)
        }
        group = bench.in_turn(f"GET jwks.json, one key, {MANY_CONNECTIONS} connections", "/s", both)
        what = f"jwks.json on {MANY_CONNECTIONS} connections over nginx"
        bench.results.add(group, Figure(what, "jwksd", "nginx", at_least=0.9))


def _compare_jwks(bench: Bench, entries: Mapping[str, Entry]) -> None:
    group = bench.in_turn(f"GET jwks.json, one key, {CONNECTIONS} connections", "/s", entries)
    fastest = group.highest(PEERS)
    bench.results.add(
        group,
        Figure("jwks.json over nginx's static file", "jwksd", "nginx", at_least=1.0),
        Figure(f"jwks.json over the fastest peer, {fastest}", "jwksd", fastest, at_least=7),
        Figure("<kid>.json over jwks.json", "jwksd, <kid>.json", "jwksd", at_least=0.9),
    )


def _compare_conditional(bench: Bench, *servers: Server) -> None:
    entries = {}
    for server in servers:
        tag = server.fetch().fields["etag"]
        unchanged = server.ask(JWKS, If_None_Match=tag)
        if unchanged.status != 304 or unchanged.body:
            raise RuntimeError(f"{server.name} answers {unchanged}, not 304")
        entries[server.name] = bench.fetching(server, JWKS, unchanged, condition=tag)
    group = bench.in_turn(f"304 to If-None-Match, {CONNECTIONS} connections", "/s", entries)
    bench.results.add(group, Figure("304 over nginx's 304", "jwksd", "nginx", at_least=1.0))


def measure_large(bench: Bench) -> None:
    """jwks.json with 1,000 RSA keys, beside nginx."""
    core, stored = bench.cores[0], "jwksd, SQLite, which it asks each time"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ours = stack.enter_context(jwksd_with_keys("jwksd", core, MANY_KEYS))
        answer = ours.fetch()
        store = f"sqlite:///{folder}/keys.db"
        fill(store, MANY_KEYS)
        shared = stack.enter_context(jwksd(stored, [core], "--store", store))
        file = stack.enter_context(nginx(bench.tools, core, folder / "nginx", answer))
        entries = {s.name: bench.fetching(s, JWKS, s.fetch()) for s in (ours, shared, file)}
        size = f"{len(answer.body) / 1000:.0f} kB"
        group = bench.in_turn(f"GET jwks.json, {MANY_KEYS:,} keys, {size}", "/s", entries)
    what = f"jwks.json with {MANY_KEYS:,} keys over nginx"
    bench.results.add(group, Figure(what, "jwksd", "nginx", at_least=0.7))


def measure_latency(bench: Bench) -> None:
    """jwks.json 100 times a second, while wrk has tokens signed as fast as it gets them."""
    latencies: list[float] = []
    with (
        jwksd("jwksd", bench.cores[:1], *ROTATING, "--alg", "ES256") as server,
        _on(bench.cores[1]),
    ):
        server.verify("ES256")

        def measure() -> float:
            latencies.extend(_latencies_in_storm(bench, server))
            return 1000 * quantiles(latencies[-bench.samples.fetches :], n=100)[98]

        entries = {"jwksd": Entry(measure, server.pids)}
        group = bench.in_turn("p99 of GET jwks.json in a storm of ES256 tokens", "ms", entries)
    bench.results.add(group, Figure("p99 of jwks.json in a mint storm", "jwksd", at_most=5))


def _latencies_in_storm(bench: Bench, server: Server) -> list[float]:
    per_second = mint.FETCH_RATE
    seconds = 2 + bench.samples.fetches // per_second
    storm = bench.wrk.command(server.port, server.minting, CONNECTIONS, seconds)
    with process(storm) as child:
        time.sleep(0.5)
        latencies = asyncio.run(paced_fetches(server.port, per_second, bench.samples.fetches))
        if child.poll() is not None:
            raise RuntimeError("the storm was over before the measurement")
        rate(child.communicate(timeout=60)[0])
    return latencies


@contextmanager
def _on(core: int) -> Iterator[None]:
    """Have this process run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


RS256, ES256, FRESH = "jwksd, RS256", "jwksd, ES256", "jwksd, ES256, a fresh key each"
BARE = "openssl speed rsa2048"


def measure_tokens(bench: Bench) -> None:
    """Tokens a second on one core, beside the peers and bare RSA signatures."""
    commands = {RS256: ROTATING, ES256: (*ROTATING, "--alg", "ES256"), FRESH: FRESH_KEYS + SHORT}
    core = bench.cores[0]
    with ExitStack() as stack:
        servers = []
        for name, arguments in commands.items():
            servers.append(stack.enter_context(jwksd(name, [core], *arguments)))
            servers[-1].verify("RS256" if name == RS256 else "ES256")
        servers += [stack.enter_context(peer(bench.tools, core, name)) for name in PEERS]
        entries = {server.name: bench.minting(server) for server in servers}
        entries[BARE] = Entry(partial(_signatures, bench))
        group = bench.in_turn(f"tokens on one core, {CONNECTIONS} connections", "/s", entries)
    fastest = group.highest(PEERS)
    bench.results.add(
        group,
        Figure(f"RS256 tokens over {fastest}'s", RS256, fastest, at_least=1.8),
        Figure("RS256 tokens over openssl's bare RSA-2048 signatures", RS256, BARE, at_least=0.85),
        Figure(f"ES256 tokens over {fastest}'s RS256", ES256, fastest, at_least=6),
        Figure(f"ES256, a fresh key each, over {fastest}'s one key", FRESH, fastest, at_least=4),
    )


def _signatures(bench: Bench) -> float:
    """RSA-2048 signatures a second by openssl alone, on the servers' core."""
    command = [*bench.tools.openssl, "speed", "-mr", "-seconds", str(bench.samples.seconds)]
    printed = output([*pinned(bench.cores[0]), *command, "rsa2048"])
    line = next(line for line in printed.splitlines() if line.startswith("+F2:"))
    return float(line.split(":")[3])


def measure_generation(bench: Bench) -> None:
    """Tokens with a fresh RSA key each, on all cores, over bare key generation."""
    samples = bench.samples.generation
    bare, minted = mint.time_throughput(bench.results.report, samples)
    values = {
        "jwksd": [samples.tokens / phase for phase in minted],
        "cryptography alone": [samples.tokens / phase for phase in bare],
    }
    group = Group("tokens with a fresh RSA-2048 key each, all cores", "/s", values)
    what = "fresh RSA-2048 keys, over bare generation"
    bench.results.add(group, Figure(what, "jwksd", "cryptography alone", at_least=0.95))


FEW_KEYS = 100


def measure_flat(bench: Bench) -> None:
    """What many live keys cost: POST /auth, <kid>.json, and the document of all keys."""
    many = bench.samples.live_keys
    names = {f"{number:,} live keys": number for number in (many, FEW_KEYS)}
    _compare_mints(bench, names)
    _compare_single_keys(bench, names)


def _compare_mints(bench: Bench, names: Mapping[str, int]) -> None:
    with ExitStack() as stack:
        servers = {n: stack.enter_context(live_server(keys)) for n, keys in names.items()}
        values: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(bench.samples.batches):
            for name, server in servers.items():
                values[name].append(1e6 * server.call("time_mints", 50))
        group = Group("POST /auth within the process", "µs", values)
        what = " over ".join(names)
        bench.results.add(group, Figure(f"POST /auth, {what}", *names, at_most=1.2))
        name, server = next(iter(servers.items()))
        size = server.call("document_size") / 1e6
        speeds = [size / server.call("time_document") for _ in range(bench.samples.batches)]
    group = Group(f"jwks.json rebuilt, {name}, {size:.1f} MB", "MB/s", {"jwksd": speeds})
    bench.results.add(group, Figure("jwks.json rebuilt after a change", "jwksd", at_least=500))


def _compare_single_keys(bench: Bench, names: Mapping[str, int]) -> None:
    known: dict[str, Entry] = {}
    any_of: dict[str, Entry] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for name, number in names.items():
            server = stack.enter_context(
                jwksd_with_keys(name, bench.cores[0], number, "--alg", "ES256")
            )
            kids = server.fetch().keys
            path = f"/.well-known/{kids[0]}.json"
            known[name] = bench.fetching(server, path, server.ask(path))
            file = folder / f"{number}.txt"
            file.write_text("\n".join(kids), encoding="ascii")
            any_of[name] = bench.fetching_any(server, file)
        for what, entries in (("known", known), ("any", any_of)):
            group = bench.in_turn(
                f"GET <kid>.json, {what}, {CONNECTIONS} connections", "/s", entries
            )
            many, few = names
            figure = Figure(f"<kid>.json, {what}, with {few} over {many}", few, many, at_most=1.2)
            bench.results.add(group, figure)


def measure_cores(bench: Bench) -> None:
    """RS256 tokens on two cores over on one: signing threads, or two processes on one port."""
    told, two = options(), bench.cores[:2]
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        start = stack.enter_context
        servers = [start(jwksd(ONE_CORE, two[:1], *ROTATING))]
        if "--signing-threads" in told:
            servers.append(start(jwksd(THREADS, two, *ROTATING, "--signing-threads", "2")))
        if "--reuse-port" in told:
            servers.append(start(_two_processes(folder, two)))
        if not servers[1:]:
            bench.results.miss("two cores: not available (no --signing-threads, no --reuse-port)")
            return
        for server in servers:
            server.verify("RS256")
        free = min(2, len(bench.cores) - 1)
        entries = {s.name: bench.minting(s, connections=64, core=free) for s in servers}
        group = bench.in_turn("RS256 tokens, 64 connections", "/s", entries)
    best = group.highest(server.name for server in servers[1:])
    figure = Figure(f"RS256 on {best}, over one core", best, ONE_CORE, at_least=1.6)
    bench.results.add(group, figure)


@contextmanager
def _two_processes(folder: str, cores: Sequence[int]) -> Iterator[Server]:
    """Two that share port and store, each on a core of its own."""
    kek = Path(folder, "kek.txt")
    kek.touch(mode=0o600)
    kek.write_text(output([sys.executable, "-m", "jwksd", "kek", "new"]), encoding="ascii")
    arguments = [*ROTATING, "--reuse-port", "--port", str(free_port())]
    arguments += ["--store", f"sqlite:///{folder}/keys.db", "--kek-file", str(kek)]
    with (
        jwksd(PROCESSES, cores[:1], *arguments) as first,
        jwksd(PROCESSES, cores[1:], *arguments) as second,
    ):
        yield Server(PROCESSES, first.port, first.pids + second.pids)


def measure_start(bench: Bench) -> None:
    """From the start of the process to the first 200, and memory when nobody asks for anything."""
    core, values = bench.cores[0], {name: list[float]() for name in ("jwksd", *PEERS)}
    for _ in range(bench.samples.starts):
        for name, milliseconds in values.items():
            port = free_port()
            command = [*pinned(core), *_start_command(bench.tools, name, port)]
            path = JWKS if name == "jwksd" else "/jwks"
            milliseconds.append(1000 * time_first_answer(command, port, path))
    group = Group("from the start to the first 200", "ms", values)
    best = group.lowest(NODE_PEERS)
    bench.results.add(group, Figure(f"ready, over {best}", "jwksd", best, at_most=1.0))
    memory = {name: [_idle_memory(bench, name)] for name in values}
    group = Group("resident memory, idle", "MB", memory)
    best = group.lowest(NODE_PEERS)
    bench.results.add(group, Figure(f"idle memory, over {best}", "jwksd", best, at_most=1.0))


def _start_command(tools: Tools, name: str, port: int) -> list[str]:
    if name == "jwksd":
        return [sys.executable, "-m", "jwksd", "serve", "--port", str(port)]
    return peer_command(tools, name, port)


def _idle_memory(bench: Bench, name: str) -> float:
    core = bench.cores[0]
    with jwksd(name, [core]) if name == "jwksd" else peer(bench.tools, core, name) as server:
        server.fetch()
        wait_until_idle(server.pids[0])
        return resident(server.pids[0]) / 1e6


PARTS = {
    "jwks": measure_jwks,
    "large": measure_large,
    "latency": measure_latency,
    "tokens": measure_tokens,
    "generation": measure_generation,
    "flat": measure_flat,
    "cores": measure_cores,
    "start": measure_start,
}
