"""How many cats a second does `catgan serve` give, and how late, beside what Python draws itself?

    python benchmarks/serve.py [ARTIFACT] [--wrk PATH] [--seconds 8]     # 8 minutes
    python benchmarks/serve.py --only speed --rounds 1                   # a first look

Starts the server on the loopback interface, without an access log, and prints:

- speed, as medians of three rounds that take turns: images a second that `Generator.sample` draws
  in this process (no PNG), and with PNG files on as many threads as processors; fresh PNGs a second
  over HTTP, where each seed is asked for once; the time to an answer at 70 % of that, requests at
  random moments (a Poisson process); answers a second from the server's memory, and 304s;
- overload, for a minute: four times as many requests a second as there are answers; how soon those
  that are rejected are told, whether those that are accepted are right, and the server's memory;
- equal: 10,000 seeds under 32 clients, compared with what Python draws, byte by byte.

Throughput is measured by wrk (Debian: apt install wrk). Load, server and comparison share the
processors, so a server on its own does better. Ends with 1 where an answer is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
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
from itertools import count, cycle
from pathlib import Path

import numpy as np

import catgan
from catgan.generation.generator import Generator
from catgan.generation.grid import encode_image
from catgan.parallel import ordered_map

CONNECTIONS = 32
OVERLOAD = 4  # times what the server can
OVERLOAD_SECONDS = 60
SEEDS = 10_000
CHUNK = 64  # images of one call in this process
FRESH = """
local seed = {first}
request = function()
  seed = seed + 1
  return wrk.format("GET", "/cats/" .. seed .. ".png")
end
"""
KNOWN = 'wrk.headers["If-None-Match"] = "*"\n'


@contextmanager
def server(artifact: list[str], *options: str) -> Iterator[int]:
    """A server; its port."""
    words = ["serve", *artifact, "--port", "0", "--no-access-log", "--keep-alive", "3600", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "catgan", *words], stderr=subprocess.PIPE, text=True
    )
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
    """Answers a second of status 2xx or 3xx; ends where there was any other."""
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


def in_process(cats: Generator, seconds: float) -> tuple[float, float]:
    """Images a second of `sample`, and files a second."""
    rates = []
    for with_files in (False, True):
        cats.sample(range(8))
        begun, done = time.perf_counter(), 0
        while (took := time.perf_counter() - begun) < seconds:
            seeds = range(done, done + CHUNK)
            files_of(cats, seeds) if with_files else cats.sample(seeds)
            done += CHUNK
        rates.append(done / took)
    return rates[0], rates[1]


def png(image: np.ndarray) -> bytes:
    """Return the file of an image."""
    return encode_image(image, "PNG")


def digest(file: bytes) -> bytes:
    """Return what stands for a file in a comparison."""
    return hashlib.sha256(file).digest()


@dataclass
class Answer:
    """What came back for a seed; `late`: seconds since it was due, `took`: since it was asked."""

    seed: int
    status: int
    digest: bytes
    late: float
    took: float


class Client:
    """A connection that is kept, for one request after the other."""

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


async def answered(port: int, due: Iterable[tuple[float, int]], connections: int) -> list[Answer]:
    """Ask for each seed when it is due, in seconds from now, on the connection that is idle first.

    With all times 0 that is as fast as so many clients can.
    """
    idle: asyncio.LifoQueue[Client] = asyncio.LifoQueue()
    for _ in range(connections):
        idle.put_nowait(Client(port))
    answers: list[Answer] = []
    begun = time.perf_counter()

    async def ask(client: Client, moment: float, seed: int) -> None:
        sent = time.perf_counter()
        status, body = await client.get(f"/cats/{seed}.png")
        now = time.perf_counter()
        idle.put_nowait(client)
        answers.append(Answer(seed, status, digest(body), now - begun - moment, now - sent))

    async with asyncio.TaskGroup() as group:
        for moment, seed in due:
            await asyncio.sleep(max(0.0, begun + moment - time.perf_counter()))
            group.create_task(ask(await idle.get(), moment, seed))
    return answers


def random_moments(
    rate: float, seconds: float, seeds: Iterator[int]
) -> Iterator[tuple[float, int]]:
    """A Poisson process: when the next seed is asked for."""
    rng, moment = random.Random(0), 0.0  # noqa: S311
    while (moment := moment + rng.expovariate(rate)) < seconds:
        yield moment, next(seeds)


def speed(given: argparse.Namespace, cats: Generator) -> bool:
    """Print the table of rates and delays."""
    rows: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for number in range(given.rounds):
        procedural, files = in_process(cats, given.seconds)
        note("sample in Python, img/s", procedural)
        note("the same with PNG files, img/s", files)
        with server(given.artifact) as port:
            wrk(given.wrk, port, "/cats/0.png", 1)
            first = 10**9 * (number + 1)
            fresh = wrk(given.wrk, port, "/", given.seconds, FRESH.format(first=first))
            note("fresh PNGs over HTTP, img/s", fresh)
            note("  beside sample in Python, %", 100 * fresh / procedural)
            note("  beside the same with PNG files, %", 100 * fresh / files)
            due = random_moments(0.7 * fresh, given.seconds, count(first + 10**8))
            answers = asyncio.run(answered(port, due, 256))
            if any(each.status != 200 for each in answers):
                raise SystemExit("not every request was answered")
            middle, late = middle_and_late([each.late for each in answers])
            note("  at 70 % load: median, ms", 1000 * middle)
            note("  at 70 % load: 99th percentile, ms", 1000 * late)
            note("  at 70 % load: their ratio", late / middle)
            path = "/cats/7.png"
            note("from memory, answers/s", wrk(given.wrk, port, path, given.seconds))
            note("304s, answers/s", wrk(given.wrk, port, path, given.seconds, KNOWN))
    print(f"{os.cpu_count()} processors, {CONNECTIONS} connections, medians of {given.rounds}")
    for name, values in rows.items():
        print(f"{name:<36} {statistics.median(values):8.1f}  ({min(values):.1f}-{max(values):.1f})")
    return True


def overload(given: argparse.Namespace, cats: Generator) -> bool:
    """Print what comes of four times as many requests as the server can answer."""
    expected = dict(zip(range(CHUNK), map(digest, files_of(cats, range(CHUNK))), strict=True))
    with server(given.artifact, "--cache", "0", "--queue", "128") as port:
        rate = OVERLOAD * wrk(given.wrk, port, "/", given.seconds, FRESH.format(first=10**12))

        def load(seconds: float) -> list[Answer]:
            due = random_moments(rate, seconds, cycle(range(CHUNK)))
            return asyncio.run(answered(port, due, 384))

        load(5)  # its memory is that of a server under load before, too
        before = memory(port)
        answers = load(OVERLOAD_SECONDS)
        after = memory(port)
    accepted = [each for each in answers if each.status == 200]
    wrong = sum(each.digest != expected[each.seed] for each in accepted)
    others = sum(each.status not in (200, 503) for each in answers)
    rejected = [each.took for each in answers if each.status == 503]
    middle, late = middle_and_late(rejected)
    print(f"overload, {rate:.0f} requests/s for {OVERLOAD_SECONDS} s")
    print(f"  accepted {len(accepted):,}, of which wrong: {wrong}; neither 200 nor 503: {others}")
    print(f"  rejected {len(rejected):,}, told in {1000 * middle:.1f} ms (median), ", end="")
    print(f"{1000 * late:.1f} ms (99th percentile), {1000 * max(rejected):.1f} ms at most")
    print(f"  memory {before:.0f} MiB before, {after:.0f} MiB after")
    return not wrong and not others


def equal(given: argparse.Namespace, cats: Generator) -> bool:
    """Print how many of 10,000 seeds under 32 clients are not what Python draws."""
    with server(given.artifact) as port:
        due = ((0.0, seed) for seed in range(SEEDS))
        answers = {each.seed: each for each in asyncio.run(answered(port, due, CONNECTIONS))}
    wrong = 0
    for first in range(0, SEEDS, CHUNK):
        seeds = range(first, min(first + CHUNK, SEEDS))
        for seed, file in zip(seeds, files_of(cats, seeds), strict=True):
            wrong += answers[seed].status != 200 or answers[seed].digest != digest(file)
    print(f"equal: {SEEDS:,} seeds under {CONNECTIONS} clients, {wrong} not what Python draws")
    return not wrong


def files_of(cats: Generator, seeds: range) -> list[bytes]:
    """Return the PNG files of some seeds."""
    return [file for _, file in ordered_map(png, cats.sample(seeds))]


def middle_and_late(values: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    return statistics.median(values), sorted(values)[int(0.99 * len(values))]


def memory(port: int) -> float:
    """MiB of memory that the server has."""
    _, text = asyncio.run(Client(port).get("/metrics"))
    (found,) = re.findall(rb"process_resident_memory_bytes ([\d.e+]+)", text)
    return float(found) / 2**20


PARTS = {"speed": speed, "overload": overload, "equal": equal}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", nargs="*")
    parser.add_argument("--wrk", default=shutil.which("wrk"))
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; repeatable")
    given = parser.parse_args()
    if given.wrk is None:
        raise SystemExit("no wrk: apt install wrk, or name it with --wrk")
    cats = catgan.load(*given.artifact[:1])
    good = [PARTS[name](given, cats) for name in given.only or PARTS]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
