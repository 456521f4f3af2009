"""Measure throughput and latency of `catgan serve`, compared with the Python API.

    python benchmarks/serve.py [ARTIFACT] [--wrk PATH] [--seconds 8]     # 13 minutes
    python benchmarks/serve.py --only speed --rounds 1                   # a quick check

Starts the server on the loopback interface, without an access log, and prints:

- speed, as medians of three rounds: images a second of `Generator.sample` in this process, without
  PNG encoding and with it (on as many threads as cores), and with weights in huge pages, as the
  server has them; uncached PNGs a second over HTTP, where each seed is requested once; these take
  turns, three times a round; the response time at 70 % of that rate with Poisson arrivals; cached
  responses a second, and 304s a second;
- overload, for a minute: four times as many requests a second as the server can answer; how fast
  the rejections are, whether the accepted responses are correct, and the server's memory;
- equal: 10,000 seeds from 32 clients, compared with Python's images byte by byte.

wrk measures throughput (Debian: apt install wrk). Clients, server and comparison share the cores,
so a server alone is faster. Exits with code 1 if a response is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle
from pathlib import Path

import numpy as np

import catgan
from catgan.generation.generator import Generator
from catgan.generation.grid import encode_image
from catgan.memory import kept_memory
from catgan.parallel import ordered_map

CONNECTIONS = 32
TURNS = 3  # of the server and the comparison in a round: a machine's speed changes
OVERLOAD = 4  # times the server's throughput
OVERLOAD_SECONDS = 60
MAX_REJECTION_SECONDS = 0.05
SEEDS = 10_000
CHUNK_SIZE = 64  # images of one call in this process
NEW_SEEDS = """
local seed = {first}
request = function()
  seed = seed + 1
  return wrk.format("GET", "/cats/" .. seed .. ".png")
end
"""
NOT_MODIFIED = 'wrk.headers["If-None-Match"] = "*"\n'


@contextmanager
def server(artifact: list[str], *options: str) -> Iterator[int]:
    """Run a server for the block; yield its port."""
    command = [sys.executable, "-m", "catgan", "serve", *artifact, "--port", "0"]
    command += ["--no-access-log", "--keep-alive", "3600", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stderr or ():
            lines.append(line)
            if found := re.search(r"http://[^:]+:(\d+)/", line):
                yield int(found[1])
                return
        raise SystemExit("the server did not start: " + "".join(lines))
    finally:
        process.terminate()
        process.wait()


def wrk(command: str, port: int, path: str, seconds: float, script: str = "") -> float:
    """Return responses a second; exit if one had a status other than 2xx and 3xx."""
    with tempfile.TemporaryDirectory() as folder:
        lua = Path(folder) / "load.lua"
        lua.write_text(script)
        done = subprocess.run(
            [
                *(command, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--timeout=30s"),
                *("-s", str(lua), f"http://127.0.0.1:{port}{path}"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        raise SystemExit(done)
    (rate,) = re.findall(r"Requests/sec: +([\d.]+)", done)
    return float(rate)


def in_process(cats: Generator, as_served: Generator, seconds: float) -> tuple[float, ...]:
    """Return images a second of `sample`, PNG files a second, and images of `as_served`."""
    rates = []
    for generate in (cats.sample, partial(png_files, cats), as_served.sample):
        cats.sample(range(8))
        started, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            generate(range(done, done + CHUNK_SIZE))
            done += CHUNK_SIZE
        rates.append(done / elapsed)
    return tuple(rates)


def encode_png(image: np.ndarray) -> bytes:
    """Return an image as a PNG file."""
    return encode_image(image, "PNG")


def digest(file: bytes) -> bytes:
    """Return the SHA-256 digest of a file."""
    return hashlib.sha256(file).digest()


@dataclass
class TimedResponse:
    """The response for a seed.

    `latency`: seconds from the scheduled time of the request; `seconds`: from when it was sent.
    """

    seed: int
    status: int
    digest: bytes
    latency: float
    seconds: float


class Client:
    """A client that sends its requests over one connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head.lower())
        return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length))


async def send_requests(
    port: int, schedule: Iterable[tuple[float, int]], connections: int
) -> list[TimedResponse]:
    """Request each seed at its scheduled time, in seconds from now, or once a client is idle.

    With all times 0, requests are sent as fast as the clients can.
    """
    idle: asyncio.LifoQueue[Client] = asyncio.LifoQueue()
    for _ in range(connections):
        idle.put_nowait(Client(port))
    responses: list[TimedResponse] = []
    started = time.perf_counter()

    async def send(client: Client, due: float, seed: int) -> None:
        sent = time.perf_counter()
        status, body = await client.get(f"/cats/{seed}.png")
        now = time.perf_counter()
        idle.put_nowait(client)
        latency = now - started - due
        responses.append(TimedResponse(seed, status, digest(body), latency, now - sent))

    async with asyncio.TaskGroup() as group:
        for due, seed in schedule:
            await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
            group.create_task(send(await idle.get(), due, seed))
    return responses


def poisson_schedule(
    rate: float, seconds: float, seeds: Iterator[int]
) -> Iterator[tuple[float, int]]:
    """Yield the times of a Poisson process, each with the next seed."""
    rng, due = random.Random(0), 0.0  # noqa: S311
    while (due := due + rng.expovariate(rate)) < seconds:
        yield due, next(seeds)


def speed(arguments: argparse.Namespace, cats: Generator) -> bool:
    """Measure throughput and latency; print the table."""
    rows: dict[str, list[float]] = {}
    seconds = arguments.seconds
    with kept_memory():  # like the server's
        as_served = catgan.load(*arguments.artifact[:1])
        as_served.sample(range(8))

    def record(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for number in range(arguments.rounds):
        first = 10**9 * (number + 1)
        with server(arguments.artifact) as port:
            wrk(arguments.wrk, port, "/cats/0.png", 1)
            in_python, over_http = [in_process(cats, as_served, seconds / 2)], []
            for turn in range(TURNS):
                script = NEW_SEEDS.format(first=first + 10**7 * turn)
                over_http.append(wrk(arguments.wrk, port, "/", seconds, script))
                time.sleep(0.5)  # until what wrk no longer waits for is done
                in_python.append(in_process(cats, as_served, seconds / 2))
            images, files, images_as_served = map(statistics.mean, zip(*in_python, strict=True))
            uncached = statistics.mean(over_http)
            record("sample in Python, img/s", images)
            record("the same with PNG files, img/s", files)
            record("sample, memory as the server's, img/s", images_as_served)
            record("uncached PNGs over HTTP, img/s", uncached)
            record("  of sample in Python, %", 100 * uncached / images)
            record("  of the same with PNG files, %", 100 * uncached / files)
            record("  of sample, memory as its own, %", 100 * uncached / images_as_served)
            schedule = poisson_schedule(0.7 * uncached, seconds, count(first + 10**8))
            responses = asyncio.run(send_requests(port, schedule, 256))
            if any(each.status != 200 for each in responses):
                raise SystemExit("a response at 70 % load had a status other than 200")
            median, percentile_99 = latency_percentiles([each.latency for each in responses])
            record("  at 70 % load: median, ms", 1000 * median)
            record("  at 70 % load: 99th percentile, ms", 1000 * percentile_99)
            record("  at 70 % load: their ratio", percentile_99 / median)
            path = "/cats/7.png"
            record("cached, responses/s", wrk(arguments.wrk, port, path, seconds))
            record("304s, responses/s", wrk(arguments.wrk, port, path, seconds, NOT_MODIFIED))
    print(f"{os.cpu_count()} cores, {CONNECTIONS} connections, medians of {arguments.rounds}")
    for name, values in rows.items():
        print(f"{name:<38} {statistics.median(values):8.1f}  ({min(values):.1f}-{max(values):.1f})")
    return True


def overload(arguments: argparse.Namespace, cats: Generator) -> bool:
    """Send four times as many requests as the server can answer; print the outcome."""
    seeds = range(CHUNK_SIZE)
    expected = dict(zip(seeds, map(digest, png_files(cats, seeds)), strict=True))
    gc.disable()  # a collection in this process would count as time of the server
    with server(arguments.artifact, "--cache", "0", "--queue", "128") as port:
        script = NEW_SEEDS.format(first=10**12)
        rate = OVERLOAD * wrk(arguments.wrk, port, "/", arguments.seconds, script)

        def load(seconds: float) -> list[TimedResponse]:
            schedule = poisson_schedule(rate, seconds, cycle(seeds))
            return asyncio.run(send_requests(port, schedule, 384))

        load(5)  # so that `before` is the memory of a server under load
        before = memory(port)
        responses = load(OVERLOAD_SECONDS)
        after = memory(port)
    gc.enable()
    accepted = [each for each in responses if each.status == 200]
    wrong = sum(each.digest != expected[each.seed] for each in accepted)
    others = sum(each.status not in (200, 503) for each in responses)
    rejected = [each.seconds for each in responses if each.status == 503]
    median, percentile_99 = latency_percentiles(rejected)
    print(f"overload, {rate:.0f} requests/s for {OVERLOAD_SECONDS} s")
    print(f"  accepted {len(accepted):,}, of which wrong: {wrong}; neither 200 nor 503: {others}")
    slow = sum(seconds > MAX_REJECTION_SECONDS for seconds in rejected)
    times = [1000 * each for each in (median, percentile_99, max(rejected))]
    print(
        f"  rejected {len(rejected):,}, in", ", ".join(f"{ms:.1f}" for ms in times), "ms ", end=""
    )
    print(f"(median, 99th percentile, maximum); over {1000 * MAX_REJECTION_SECONDS:.0f} ms: {slow}")
    print(f"  memory {before:.0f} MiB before, {after:.0f} MiB after")
    return not wrong and not others


def equal(arguments: argparse.Namespace, cats: Generator) -> bool:
    """Compare 10,000 seeds from 32 clients with Python's images; print the differences."""
    with server(arguments.artifact) as port:
        schedule = ((0.0, seed) for seed in range(SEEDS))
        received = asyncio.run(send_requests(port, schedule, CONNECTIONS))
    responses = {each.seed: each for each in received}
    wrong = 0
    for first in range(0, SEEDS, CHUNK_SIZE):
        seeds = range(first, min(first + CHUNK_SIZE, SEEDS))
        for seed, file in zip(seeds, png_files(cats, seeds), strict=True):
            wrong += responses[seed].status != 200 or responses[seed].digest != digest(file)
    print(f"equal: {SEEDS:,} seeds from {CONNECTIONS} clients, {wrong} not equal to Python's")
    return not wrong


def png_files(cats: Generator, seeds: range) -> list[bytes]:
    """Return the PNG files of some seeds."""
    return [file for _, file in ordered_map(encode_png, cats.sample(seeds))]


def latency_percentiles(values: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    return statistics.median(values), sorted(values)[int(0.99 * len(values))]


def memory(port: int) -> float:
    """Return the server's resident memory in MiB."""
    _, text = asyncio.run(Client(port).get("/metrics"))
    (resident,) = re.findall(rb"process_resident_memory_bytes ([\d.e+]+)", text)
    return float(resident) / 2**20


PARTS = {"speed": speed, "overload": overload, "equal": equal}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", nargs="*")
    parser.add_argument("--wrk", default=shutil.which("wrk"))
    parser.add_argument("--seconds", type=float, default=8, help="per measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append", help="run a part; repeatable")
    arguments = parser.parse_args()
    if arguments.wrk is None:
        raise SystemExit("wrk was not found: apt install wrk, or give its path with --wrk")
    cats = catgan.load(*arguments.artifact[:1])
    passed = [PARTS[name](arguments, cats) for name in arguments.only or PARTS]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
