"""Everything that `catgan serve` promises under load and attack, for as long as it takes.

    make torture-serve                                        # all of it: about an hour and a half
    PYTHONPATH=tests python -m serve.torture --scale 0.02     # a first look
    PYTHONPATH=tests python -m serve.torture --only overload

Each part starts servers of its own, with the package's generator, and prints one line. Ends with
code 1 if anything was not as docs/guides/serve.md promises. Times are printed, not judged: they
depend on the machine; benchmarks/serve.py measures.
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
MAX_GROWTH = 1.10  # of memory, under overload
QUICK_ANSWER = 0.05  # seconds for a rejection, in the middle


def seeds(scale):
    """10,000 seeds under 32 clients: each is what Python draws."""
    generator, count = catgan.load(), round(10_000 * scale)
    local = threading.local()
    with serving(*QUIET) as server:

        def fetch(seed):
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            local.connection.request("GET", f"/cats/{seed}.png")
            answer = local.connection.getresponse()
            return answer.status, answer.read()

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(fetch, range(count)))
    wrong = sum(answer != (200, expected_png(generator, n)) for n, answer in enumerate(answers))
    return wrong == 0, f"{count:,} seeds, {wrong} not equal to Python's"


def overload(scale):
    """Four times as many clients as the queue holds: rejections are quick, memory stays."""
    generator, end, workers = catgan.load(), time.monotonic() + 60 * scale, 2
    words = (*QUIET, "--queue", 8, "--max-seeds", 8, "--max-frames", 8, "--workers", workers)
    codes, wrong, rejections, lock = Counter(), [], [], threading.Lock()
    with serving(*words, "--cache", 0) as server:

        def ask(number):
            rng = random.Random(number)
            while time.monotonic() < end:
                seed = rng.randrange(64)
                begun = time.monotonic()
                status, headers, body = server.get(f"/cats/{seed}.png")
                took = time.monotonic() - begun
                with lock:
                    codes[status] += 1
                    if status == 200 and body != expected[seed]:
                        wrong.append(seed)
                    elif status == 503:
                        rejections.append(took)
                        if int(headers["Retry-After"]) < 1:
                            wrong.append(status)
                    elif status != 200:
                        wrong.append(status)
                if status == 503:
                    time.sleep(0.02)  # what clients do is not this machine's to compute

        expected = [expected_png(generator, seed) for seed in range(64)]
        for seed in range(64):
            server.get(f"/cats/{seed}.png")
        before = resident(server)
        with ThreadPoolExecutor(4 * 8) as pool:
            list(pool.map(ask, range(4 * 8)))
        after = resident(server)
        alive = server.get("/cats/7.png")[0] == 200
    rejections = sorted(rejections) or [0.0]
    middle, late = (rejections[int(part * len(rejections))] for part in (0.5, 0.99))
    held = before is None or after <= MAX_GROWTH * before
    grown = "unknown" if before is None else f"{before / 2**20:.0f} to {after / 2**20:.0f} MiB"
    times = f"{1000 * middle:.0f} ms (median), {1000 * late:.0f} ms (99 %)"
    said = f"{dict(codes)}, rejections in {times}, memory {grown}"
    return not wrong and held and alive and middle <= QUICK_ANSWER, said


def resident(server):
    """Bytes of memory of a server, or None where the system does not tell."""
    text = server.get("/metrics")[2].decode()
    lines = [line for line in text.splitlines() if line.startswith("process_resident")]
    return float(lines[0].split()[1]) if lines else None


def slow(scale):
    """200 clients that send a byte a second, 200 that send nothing, 50 that never read."""
    count = max(1, round(200 * scale))
    with serving(*QUIET, "--header-timeout", 5, "--send-timeout", 5) as server:
        held = [server.connect() for _ in range(2 * count)]
        deaf = []
        for _ in range(max(1, count // 4)):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(b"GET /grid?seeds=0-15&size=512 HTTP/1.1\r\nHost: c\r\n\r\n")
            deaf.append(connection)
        begun, served = time.monotonic(), 0
        text = b"GET /cats/7.png HTTP/1.1\r\nHost: c\r\nX: " + b"x" * 60
        for byte in text[:8]:
            for connection in held[:count]:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    continue
            served += server.get("/cats/7.png")[0] == 200
            time.sleep(1)
        for connection in held:
            read_all(connection)
            connection.close()
        closed = time.monotonic() - begun
        for connection in deaf:
            connection.close()
        alive = server.get("/cats/8.png")[0] == 200
    said = f"{2 * count} slow ones closed within {closed:.0f} s, {served} of 8 others served"
    return served == 8 and alive and closed < 30, said


def strange(scale):
    """100,000 random requests, and a twentieth as many whose bytes are changed."""
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
            answer = connection.getresponse()
            body = answer.read()
            codes[answer.status] += 1
            headers = {name.lower(): value for name, value in answer.getheaders()}
            check_response(request, response.status, headers, body)

        ask()
        connection.close()
        alive = server.get("/cats/7.png")[0] == 200
    with serving(*limits, "--header-timeout", 1) as server:  # some of them never end
        rng = random.Random(0)
        for _ in range(count // 20):
            data = bytearray(b"GET /cats/7.png?size=128 HTTP/1.1\r\nHost: c\r\n\r\n")
            for _ in range(rng.randrange(1, 9)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            answer = server.exchange(bytes(data) + b"\r\nConnection: close\r\n\r\n\r\n")
            if answer:
                codes[int(answer[9:12])] += 1
        alive &= server.get("/cats/7.png")[0] == 200
    return alive and not codes[500], f"{sum(codes.values()):,} requests: {dict(codes)}"


def described(scale):
    """What schemathesis makes of /openapi.json: every answer is one that the description has."""
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
                # Each parameter can be right and all of them together too much: 400, 413.
                *("--exclude-checks", "positive_data_acceptance"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        alive = server.get("/cats/7.png")[0] == 200
    found = re.findall(r"\d+ generated.*", done.stdout) or [done.stdout[-500:]]
    return alive and done.returncode == 0, f"schemathesis: {found[0]}"


def killed(scale):
    """20 times SIGKILL to one of two processes behind a proxy: the other answers, and rightly."""
    generator, count = catgan.load(), max(1, round(20 * scale))
    expected = [expected_png(generator, seed) for seed in range(32)]
    codes, wrong, stopping = Counter(), [], threading.Event()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(*QUIET, "--cache", 0)) for _ in range(2)]
        ports = [each.port for each in servers]
        url = f"http://127.0.0.1:{start_proxy(ports)}"

        def ask(first):
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
            clients = [pool.submit(ask, 8 * number) for number in range(4)]
            for number in range(count):
                time.sleep(random.uniform(0.2, 1))
                servers[number % 2].process.kill()
                servers[number % 2] = stack.enter_context(serving(*QUIET, "--cache", 0))
                ports[number % 2] = servers[number % 2].port
            stopping.set()
            for client in clients:
                client.result()
    # A kill cuts off what the process was drawing, and no more.
    held = not wrong and codes[200] and codes["cut off"] <= 4 * count
    return held, f"{count} kills, {dict(codes)}, {len(wrong)} wrong"


def ends(scale):
    """50 times SIGTERM under load: no request that was accepted is lost."""
    generator, count, done = catgan.load(), max(1, round(50 * scale)), 0
    for _ in range(count):
        with serving(*QUIET, "--drain", 0.5) as server:
            clients = start_load(server, generator)
            time.sleep(random.uniform(0.2, 1))
            if server.stop(signal.SIGTERM) != 0:
                return False, "it did not end with 0"
            finish_load(clients)
            done += sum(client.done for client in clients)
    return True, f"{count} ends, {done:,} requests, none lost"


def reloads(scale):
    """50 times SIGHUP under load, each with another artifact: no request fails."""
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
                while reloaded(server) <= number:
                    assert time.monotonic() < end, "it does not reload"
                    time.sleep(0.02)
            finish_load(clients)
            done = sum(client.done for client in clients)
    return True, f"{count} reloads, {done:,} requests, none failed"


def reloaded(server):
    """How many times a server has read its artifacts again."""
    found = re.search(rb'catgan_reloads_total{result="done"} (\d+)', server.get("/metrics")[2])
    return int(found[1]) if found else 0


PARTS = {
    each.__name__: each
    for each in (seeds, overload, slow, strange, described, killed, ends, reloads)
}


def main():
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers")
    parser.add_argument("--only", choices=PARTS, help="one part")
    given_ = parser.parse_args()
    if os.name == "nt":
        sys.exit("POSIX: needs SIGTERM and SIGHUP")
    good = True
    for name in [given_.only] if given_.only else PARTS:
        begun = time.monotonic()
        try:
            held, said = PARTS[name](given_.scale)
        except AssertionError as error:
            held, said = False, str(error)[:500]
        good &= held
        seconds = time.monotonic() - begun
        print(f"{'ok ' if held else 'BAD'}  {name:<9} {said}  ({seconds:.0f} s)", flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()
