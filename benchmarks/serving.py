"""This project's service beside others, on the same texts, in one run.

    python benchmarks/serving.py [--checkpoint FOLDER] [--json PATH]

The texts are rated tweets of an installed package. Peers are the usual
FastAPI handler around `pipeline()`, LitServe with batching (if it is
installed), and `predict` without HTTP as the ceiling. Each server is a process
of its own, asked by 1, 8 and 32 clients that keep their connections; all take
turns, and the best of three rounds counts. Set NLP_HELPERS_FLOAT32=1 to have
all of them compute in float32: the peers know nothing else on a processor.
"""

import asyncio
import importlib.util
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import psutil

from nlp_helpers import session
from nlp_helpers.classification import predicting
from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import run_command
from nlp_helpers.data import rated_texts
from nlp_helpers.serving.process import start_server

CLIENTS = (1, 8, 32)
ROUNDS = 3
SECONDS = 4.0  # of one measurement
IDLE_SECONDS = 10.0
GROWTH_REQUESTS = 10_000
CHECKPOINT = "outputs/offline/05_bert_fine_tuning/checkpoint"


@dataclass
class Load:
    """What some clients saw of a server."""

    rate: float  # requests a second
    latencies: list[float]  # seconds
    idle: float  # share of all processors that did nothing

    def quantile(self, fraction: float) -> float:
        """Return a quantile of the latencies in milliseconds."""
        return float(np.quantile(self.latencies, fraction)) * 1000


class Connection:
    """HTTP/1.1 by hand: a library's client would cost more than a server."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    async def open(self) -> None:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection(*self.address)

    async def post(self, path: str, content: object) -> bytes:
        """Send JSON and return the body of the answer."""
        body = json.dumps(content).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        return await self._answer()

    async def get(self, path: str) -> bytes:
        """Return the body at an address."""
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.writer.write(head.encode())
        return await self._answer()

    async def _answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        [length] = [
            line.split(b":")[1]
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        return await self.reader.readexactly(int(length))


async def measure(url: str, texts: list[str], clients: int) -> Load:
    """Have clients ask for SECONDS, each for one text after the other."""
    latencies: list[float] = []
    end = time.perf_counter() + SECONDS

    async def ask(first: int) -> None:
        connection = Connection(url)
        await connection.open()
        for n in range(first, 10**9, clients):
            started = time.perf_counter()
            if started > end:
                break
            content = {"inputs": texts[n % len(texts)]}
            await connection.post("/text-classification", content)
            latencies.append(time.perf_counter() - started)
        connection.writer.close()

    psutil.cpu_percent()
    started = time.perf_counter()
    await asyncio.gather(*(ask(n) for n in range(clients)))
    rate = len(latencies) / (time.perf_counter() - started)
    return Load(rate, latencies, 1 - psutil.cpu_percent() / 100)


async def measure_health(url: str) -> float:
    """Return the longest answer of /health during the largest batch, in ms."""
    large, small = Connection(url), Connection(url)
    await large.open()
    await small.open()
    content = {"inputs": ["word " * 600] * 256}
    batch = asyncio.ensure_future(large.post("/text-classification", content))
    waits = []
    while not batch.done():
        started = time.perf_counter()
        await small.get("/health")
        waits.append(time.perf_counter() - started)
        await asyncio.sleep(0.01)
    await batch
    return max(waits) * 1000


async def ask_many(url: str, texts: list[str], number: int) -> None:
    """Send a number of requests from 32 clients."""

    async def ask(first: int) -> None:
        connection = Connection(url)
        await connection.open()
        for n in range(first, number, 32):
            content = {"inputs": texts[n % len(texts)]}
            await connection.post("/text-classification", content)
        connection.writer.close()

    await asyncio.gather(*(ask(n) for n in range(32)))


@contextmanager
def peer(name: str, checkpoint: str) -> Iterator[str]:
    """Run a peer as a process as long as a block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    script = Path(__file__).with_name(f"serving_{name}.py")
    command = [sys.executable, str(script), checkpoint, str(port)]
    process = psutil.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{url}/health"):
                break
            assert process.poll() is None, f"{name} did not start"
            time.sleep(0.2)
        yield url
    finally:
        with suppress(psutil.NoSuchProcess):
            for member in [*process.children(recursive=True), process]:
                member.terminate()
        process.wait()


def processes_at(url: str) -> list[psutil.Process]:
    """Return the process that listens at an address, and its children."""
    port = int(url.rpartition(":")[2])
    me = psutil.Process()
    found = []
    for child in me.children(recursive=True):
        ports = {c.laddr.port for c in child.net_connections("inet")}
        if port in ports:
            found += [child, *child.children(recursive=True)]
    return list(dict.fromkeys(found))


def memory(url: str) -> float:
    """Return the memory of a server's processes in MiB."""
    return sum(p.memory_info().rss for p in processes_at(url)) / 2**20


def cpu_seconds(url: str) -> float:
    """Return the processor time of a server's processes."""
    times = [process.cpu_times() for process in processes_at(url)]
    return sum(each.user + each.system for each in times)


def idle_percent(url: str) -> float:
    """Return what a server that nobody asks takes, in % of one processor."""
    before = cpu_seconds(url)
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(url) - before) / IDLE_SECONDS * 100


class Offline:
    """`predict` in this process."""

    def __init__(self, checkpoint: str) -> None:
        self.tokenizer, self.model = predicting.load_classifier(checkpoint)

    def rate(self, texts: list[str]) -> float:
        """Return texts a second."""
        started = time.perf_counter()
        done = predicting.classify(texts, self.tokenizer, self.model)
        count = sum(1 for _ in done)
        return count / (time.perf_counter() - started)

    def bare_pass(self, texts: list[str]) -> float:
        """Return the median of a forward pass of one text in ms."""
        times = []
        for ids in self.tokenizer(texts)["input_ids"]:
            started = time.perf_counter()
            self.model.predict_logits([ids])
            times.append(time.perf_counter() - started)
        return statistics.median(times) * 1000


def compare(checkpoint: str) -> dict[str, float]:
    """Measure all in turn, print the tables, return the figures."""
    texts = rated_texts.read("tweets")["text"].tolist()
    offline = Offline(checkpoint)
    names = ["this project", "naive"]
    if importlib.util.find_spec("litserve"):
        names.append("litserve")
    loads: dict[tuple[str, int], list[Load]] = {}
    rates, passes = [], []
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(
                start_server(checkpoint, "--preload=text-classification")
                if name == "this project"
                else peer(name, checkpoint)
            )
            for name in names
        }
        for url in urls.values():
            asyncio.run(ask_many(url, texts, 200))  # warm
        for _ in range(ROUNDS):
            rates.append(offline.rate(texts[:1500]))
            for clients in CLIENTS:
                for name, url in urls.items():
                    load = asyncio.run(measure(url, texts, clients))
                    loads.setdefault((name, clients), []).append(load)
                    if name == names[0] and clients == 1:
                        passes.append(offline.bare_pass(texts[:200]))
        ours = urls[names[0]]
        idle = {name: idle_percent(url) for name, url in urls.items()}
        health = asyncio.run(measure_health(ours))
        before = memory(ours)
        asyncio.run(ask_many(ours, texts, GROWTH_REQUESTS))
        growth = memory(ours) / before
        held = {name: memory(url) for name, url in urls.items()}
    best = {
        key: max(found, key=lambda load: load.rate)
        for key, found in loads.items()
    }
    show(best, idle, held, max(rates))
    lone = min(load.quantile(0.5) for load in loads[names[0], 1])
    return {
        "serve_vs_predict": best[names[0], 32].rate / max(rates),
        "serve_vs_naive": best[names[0], 32].rate / best["naive", 32].rate,
        "lone_overhead_ms": lone - min(passes),
        "idle_cpu_percent": idle[names[0]],
        "rss_growth": growth - 1,
        "health_ms_under_load": health,
    }


def show(
    best: dict[tuple[str, int], Load],
    idle: dict[str, float],
    held: dict[str, float],
    ceiling: float,
) -> None:
    """Print a row for each server and number of clients."""
    print(f"predict without HTTP: {ceiling:,.0f} texts/s")
    print(
        f"{'server':13} {'clients':>7} {'req/s':>7} {'p50 ms':>7}"
        f" {'p99 ms':>7} {'CPU idle':>8}"
    )
    for (name, clients), load in best.items():
        print(
            f"{name:13} {clients:7} {load.rate:7,.0f}"
            f" {load.quantile(0.5):7.1f} {load.quantile(0.99):7.1f}"
            f" {load.idle:8.0%}"
        )
    for name in idle:
        print(f"{name}: {idle[name]:.1f} % idle, {held[name]:,.0f} MiB")


@click.command()
@click.option("--checkpoint", default=CHECKPOINT, show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path))
def main(checkpoint: str, target: Path | None) -> None:
    """Compare services."""
    session.silence_libraries()
    session.limit_threads()
    figures = compare(str(paths.resolve(checkpoint)))
    print(json.dumps(figures, indent=1))
    if target:
        files.write_json(target, {"figures": figures})


if __name__ == "__main__":
    run_command(main)
