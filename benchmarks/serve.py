"""How many cats a second does `catgan serve` give, and how late, beside what Python draws itself?

    python benchmarks/serve.py [ARTIFACT] [--wrk PATH] [--seconds 20]

Starts the server on the loopback interface, without an access log, and prints, as medians of three
rounds that take turns:

- images a second that `Generator.sample` draws in a process of its own (no PNG), and files a second
  with `encode_image` on as many threads as processors;
- fresh PNGs a second over HTTP, 32 connections: each seed is asked for once;
- the time to an answer at 70 % of that, requests at random moments (a Poisson process, by threads
  of this script): median, 99th percentile and their ratio;
- answers a second from the server's memory, and 304s.

The load comes from wrk (Debian: apt install wrk), on the same processors as the server, which
therefore has less than all of them; without wrk the script says so and ends.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import catgan
from catgan.generation.generator import Generator
from catgan.generation.sheet import encode_image
from catgan.parallel import ordered_map

ROUNDS = 3
CONNECTIONS = 32
FRESH = """
local seed = {first}
request = function()
  seed = seed + 1
  return wrk.format("GET", "/cats/" .. seed .. ".png")
end
"""
KNOWN = 'wrk.headers["If-None-Match"] = "*"\n'


@contextmanager
def server(artifact: list[str]) -> Iterator[int]:
    """A server; its port."""
    words = ["serve", *artifact, "--port", "0", "--no-access-log"]
    process = subprocess.Popen(
        [sys.executable, "-m", "catgan", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr or ():
            if found := re.search(r"http://[^:]+:(\d+)/", line):
                yield int(found[1])
                return
        raise SystemExit("the server did not start")
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
        begun, count = time.perf_counter(), 0
        while (took := time.perf_counter() - begun) < seconds:
            images = cats.sample(range(count, count + 64))
            if with_files:
                list(ordered_map(lambda image: encode_image(image, "PNG"), images))
            count += 64
        rates.append(count / took)
    return rates[0], rates[1]


def delays(port: int, rate: float, seconds: float, first: int) -> list[float]:
    """Seconds from when each request was due to the end of its answer."""
    due: SimpleQueue[tuple[float, int] | None] = SimpleQueue()
    taken: list[float] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (each := due.get()) is not None:
            connection.request("GET", f"/cats/{each[1]}.png")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"status {answer.status}")
            taken.append(time.perf_counter() - each[0])
        connection.close()

    clients = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for client in clients:
        client.start()
    rng, moment = random.Random(first), time.perf_counter()  # noqa: S311
    end = moment + seconds
    while moment < end:
        moment += rng.expovariate(rate)
        time.sleep(max(0.0, moment - time.perf_counter()))
        first += 1
        due.put((moment, first))
    for _ in clients:
        due.put(None)
    for client in clients:
        client.join()
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", nargs="*")
    parser.add_argument("--wrk", default=shutil.which("wrk"))
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    if given.wrk is None:
        raise SystemExit("no wrk: apt install wrk, or name it with --wrk")
    cats = catgan.load(*given.artifact[:1])
    rows: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for number in range(ROUNDS):
        drawn, files = in_process(cats, given.seconds / 2)
        note("sample in Python, img/s", drawn)
        note("the same with PNG files, img/s", files)
        with server(given.artifact) as port:
            wrk(given.wrk, port, "/cats/0.png", 1)
            first = 10**9 * (number + 1)
            fresh = wrk(given.wrk, port, "/", given.seconds, FRESH.format(first=first))
            note("fresh PNGs over HTTP, img/s", fresh)
            note("  beside sample in Python, %", 100 * fresh / drawn)
            taken = sorted(delays(port, 0.7 * fresh, given.seconds, first + 10**8))
            middle, late = statistics.median(taken), taken[int(0.99 * len(taken))]
            note("  at 70 % load: median, ms", 1000 * middle)
            note("  at 70 % load: 99th percentile, ms", 1000 * late)
            note("  at 70 % load: their ratio", late / middle)
            path = "/cats/7.png"
            note("from memory, answers/s", wrk(given.wrk, port, path, given.seconds))
            note("304s, answers/s", wrk(given.wrk, port, path, given.seconds, KNOWN))
    print(f"{os.cpu_count()} processors, {CONNECTIONS} connections, medians of {ROUNDS}")
    for name, values in rows.items():
        print(f"{name:<36} {statistics.median(values):8.1f}  ({min(values):.1f}-{max(values):.1f})")


if __name__ == "__main__":
    main()
