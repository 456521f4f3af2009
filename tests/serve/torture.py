"""Long stress tests of `catgan serve`: load, attacks, kills, shutdowns, reloads.

    make torture-serve                                        # everything: about 90 minutes
    PYTHONPATH=tests python -m serve.torture --scale 0.02     # a quick check
    PYTHONPATH=tests python -m serve.torture --only overload

Each part starts its own servers with the bundled generator and prints one line. The exit code is 1
if any promise of docs/guides/serve.md was broken. Times depend on the machine and are mostly only
printed; benchmarks/serve.py measures them.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from artifacts import artifact, write
from hypothesis import HealthCheck, given, settings
from requests_at_random import check_response, requests
from serving import expected_png, fetch, finish_load, read_all, serving, start_load, start_proxy

import catgan

CLIENTS = 32
QUIET = ("--no-access-log",)
MAX_GROWTH = 1.10  # of memory under overload, as a ratio
MAX_REJECTION_SECONDS = 0.05  # median


def seeds(scale):
    """10,000 seeds from 32 clients: each image equals Python's."""
    generator, count = catgan.load(), round(10_000 * scale)
    local = threading.local()
    with serving(*QUIET) as server:

        def fetch(seed):
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            local.connection.request("GET", f"/cats/{seed}.png")
            response = local.connection.getresponse()
            return response.status, response.read()

        with ThreadPoolExecutor(CLIENTS) as pool:
            responses = list(pool.map(fetch, range(count)))
    wrong = sum(
        response != (200, expected_png(generator, seed)) for seed, response in enumerate(responses)
    )
    return wrong == 0, f"{count:,} seeds, {wrong} not equal to Python's"


def overload(scale):
    """Four times as many clients as the queue holds: rejections are fast, memory does not grow."""
    generator, end, workers = catgan.load(), time.monotonic() + 60 * scale, 2
    options = (*QUIET, "--queue", 8, "--max-seeds", 8, "--max-frames", 8, "--workers", workers)
    codes, wrong, rejections, lock = Counter(), [], [], threading.Lock()
    with serving(*options, "--cache", 0) as server:

        def ask(number):
            rng = random.Random(number)
            while time.monotonic() < end:
                seed = rng.randrange(64)
                started = time.monotonic()
                status, headers, body = server.get(f"/cats/{seed}.png")
                seconds = time.monotonic() - started
                with lock:
                    codes[status] += 1
                    if status == 200 and body != expected[seed]:
                        wrong.append(seed)
                    elif status == 503:
                        rejections.append(seconds)
                        if int(headers["Retry-After"]) < 1:
                            wrong.append(status)
                    elif status != 200:
                        wrong.append(status)
                if status == 503:
                    time.sleep(0.02)  # the clients share this machine's cores with the server

        expected = [expected_png(generator, seed) for seed in range(64)]
        for seed in range(64):
            server.get(f"/cats/{seed}.png")
        before = resident_bytes(server)
        with ThreadPoolExecutor(4 * 8) as pool:
            list(pool.map(ask, range(4 * 8)))
        after = resident_bytes(server)
        alive = server.get("/cats/7.png")[0] == 200
    rejections = sorted(rejections) or [0.0]
    median, percentile_99 = (rejections[int(q * len(rejections))] for q in (0.5, 0.99))
    is_bounded = before is None or after <= MAX_GROWTH * before
    memory = "unknown" if before is None else f"{before / 2**20:.0f} to {after / 2**20:.0f} MiB"
    times = f"{1000 * median:.0f} ms (median), {1000 * percentile_99:.0f} ms (99 %)"
    summary = f"{dict(codes)}, rejections in {times}, memory {memory}"
    return not wrong and is_bounded and alive and median <= MAX_REJECTION_SECONDS, summary


def resident_bytes(server):
    """Return a server's resident memory, or None where the system does not report it."""
    text = server.get("/metrics")[2].decode()
    lines = [line for line in text.splitlines() if line.startswith("process_resident")]
    return float(lines[0].split()[1]) if lines else None


def slow(scale):
    """200 clients that send a byte a second, 200 that send nothing, 50 that never read."""
    count = max(1, round(200 * scale))
    with serving(*QUIET, "--header-timeout", 5, "--send-timeout", 5) as server:
        senders = [server.connect() for _ in range(2 * count)]
        non_readers = []
        for _ in range(max(1, count // 4)):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(b"GET /grid?seeds=0-15&size=512 HTTP/1.1\r\nHost: c\r\n\r\n")
            non_readers.append(connection)
        started, served = time.monotonic(), 0
        request = b"GET /cats/7.png HTTP/1.1\r\nHost: c\r\nX: " + b"x" * 60
        for byte in request[:8]:
            for connection in senders[:count]:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    continue
            served += server.get("/cats/7.png")[0] == 200
            time.sleep(1)
        for connection in senders:
            read_all(connection)
            connection.close()
        closed = time.monotonic() - started
        for connection in non_readers:
            connection.close()
        alive = server.get("/cats/8.png")[0] == 200
    summary = f"{2 * count} slow ones closed within {closed:.0f} s, {served} of 8 others served"
    return served == 8 and alive and closed < 30, summary


def fuzz(scale):
    """100,000 random requests, and 5,000 more with corrupted bytes."""
    count, codes = round(100_000 * scale), Counter()
    limits = (*QUIET, "--max-pixels", 65_536, "--max-frames", 4, "--max-size", 128)
    with serving(*limits, "--keep-alive", 3_600) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(requests())
        def send(request):
            connection.request(request.method, request.target, request.body, request.headers)
            response = connection.getresponse()
            body = response.read()
            codes[response.status] += 1
            headers = {name.lower(): value for name, value in response.getheaders()}
            check_response(request, response.status, headers, body)

        send()
        connection.close()
        alive = server.get("/cats/7.png")[0] == 200
    with serving(*limits, "--header-timeout", 1) as server:  # some requests are incomplete
        rng = random.Random(0)
        for _ in range(count // 20):
            data = bytearray(b"GET /cats/7.png?size=128 HTTP/1.1\r\nHost: c\r\n\r\n")
            for _ in range(rng.randrange(1, 9)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            response = server.exchange(bytes(data) + b"\r\nConnection: close\r\n\r\n\r\n")
            if response:
                codes[int(response[9:12])] += 1
        alive &= server.get("/cats/7.png")[0] == 200
    return alive and not codes[500], f"{sum(codes.values()):,} requests: {dict(codes)}"


def schema(scale):
    """schemathesis: every response is one that /openapi.json describes."""
    tool = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if tool is None:
        return True, "no schemathesis: NOT tested (pip install schemathesis)"
    limits = ("--max-pixels", 65_536, "--max-frames", 4, "--max-size", 128)
    with serving(*QUIET, *limits) as server, tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(tool, "run", f"{server.url}/openapi.json", "--continue-on-failure"),
                *("--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"),
                *("--max-examples", str(max(1, round(1_000 * scale)))),
                # Valid parameters can exceed a limit in combination: 400, 413.
                *("--exclude-checks", "positive_data_acceptance"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        alive = server.get("/cats/7.png")[0] == 200
    found = re.findall(r"\d+ generated.*", done.stdout) or [done.stdout[-500:]]
    failures = f"\n{done.stdout}" if done.returncode else ""
    return alive and done.returncode == 0, f"schemathesis: {found[0]}{failures}"


def kills(scale):
    """20 times SIGKILL to one of two servers behind a proxy: the other responds correctly."""
    generator, count = catgan.load(), max(1, round(20 * scale))
    expected = [expected_png(generator, seed) for seed in range(32)]
    codes, wrong, stopping = Counter(), [], threading.Event()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(*QUIET, "--cache", 0)) for _ in range(2)]
        ports = [each.port for each in servers]
        url = f"http://127.0.0.1:{start_proxy(ports)}"

        def send(first):
            for seed in itertools.cycle((*range(first, 32), *range(first))):
                if stopping.is_set():
                    return
                try:
                    status, _, body = fetch(f"{url}/cats/{seed}.png")
                except (OSError, http.client.HTTPException):
                    status, body = "cut off", expected[seed]
                codes[status] += 1
                if status not in (200, "cut off") or body != expected[seed]:
                    wrong.append(seed)

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(send, 8 * number) for number in range(4)]
            for number in range(count):
                time.sleep(random.uniform(0.2, 1))
                servers[number % 2].process.kill()
                servers[number % 2] = stack.enter_context(serving(*QUIET, "--cache", 0))
                ports[number % 2] = servers[number % 2].port
            stopping.set()
            for client in clients:
                client.result()
    # A kill interrupts only the requests in progress, one for each of the four clients.
    passed = not wrong and codes[200] and codes["cut off"] <= 4 * count
    return passed, f"{count} kills, {dict(codes)}, {len(wrong)} wrong"


def shutdowns(scale):
    """50 times SIGTERM under load: no accepted request is lost."""
    generator, count, done = catgan.load(), max(1, round(50 * scale)), 0
    for _ in range(count):
        with serving(*QUIET, "--drain", 0.5) as server:
            clients = start_load(server, generator)
            time.sleep(random.uniform(0.2, 1))
            if server.stop(signal.SIGTERM) != 0:
                return False, "the exit code was not 0"
            finish_load(clients)
            done += sum(client.done for client in clients)
    return True, f"{count} shutdowns, {done:,} requests, none lost"


def reloads(scale):
    """50 times SIGHUP under load, each with a new artifact: no request fails."""
    count = max(1, round(50 * scale))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "cats.onnx")
        generator = catgan.load(path)
        with serving(*QUIET, path) as server:
            clients = start_load(server, generator)
            for number in range(count):
                beside = write(Path(folder) / "new", artifact(name=f"cats {number}"))
                beside.replace(path)
                server.process.send_signal(signal.SIGHUP)
                end = time.monotonic() + 60
                while reload_count(server) <= number:
                    assert time.monotonic() < end, "the server did not reload"
                    time.sleep(0.02)
            finish_load(clients)
            done = sum(client.done for client in clients)
    return True, f"{count} reloads, {done:,} requests, none failed"


def reload_count(server):
    """Return how many times a server has reloaded its artifacts."""
    found = re.search(rb'catgan_reloads_total{result="done"} (\d+)', server.get("/metrics")[2])
    return int(found[1]) if found else 0


PARTS = {
    each.__name__: each for each in (seeds, overload, slow, fuzz, schema, kills, shutdowns, reloads)
}


def main():
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all counts")
    parser.add_argument("--only", choices=PARTS, help="run one part")
    arguments = parser.parse_args()
    if os.name == "nt":
        sys.exit("POSIX: needs SIGTERM and SIGHUP")
    all_passed = True
    for name in [arguments.only] if arguments.only else PARTS:
        started = time.monotonic()
        try:
            passed, summary = PARTS[name](arguments.scale)
        except AssertionError as error:
            passed, summary = False, str(error)[:500]
        all_passed &= bool(passed)
        seconds = time.monotonic() - started
        print(f"{'ok ' if passed else 'BAD'}  {name:<9} {summary}  ({seconds:.0f} s)", flush=True)
    sys.exit(not all_passed)


if __name__ == "__main__":
    main()
