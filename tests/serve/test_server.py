"""`catgan serve` in its own process: real sockets, slow and hostile clients, signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from artifacts import artifact, write
from serving import expected_png, fetch, finish_load, read_all, serving, start_load, start_proxy

import catgan
from catgan.generation.grid import encode_image

pytest.importorskip("uvicorn", reason="the extra serve is not installed: NOT tested")

QUICK = ("--header-timeout", 1, "--request-timeout", 2, "--send-timeout", 1, "--drain", 0.3)
REQUEST = b"GET /cats/7.png HTTP/1.1\r\nHost: cats\r\n\r\n"
CLOSING = b"GET /cats/7.png HTTP/1.1\r\nHost: cats\r\nConnection: close\r\n\r\n"
needs_signals = pytest.mark.skipif(os.name == "nt", reason="POSIX: SIGTERM and SIGHUP")


@pytest.fixture(scope="module")
def server(tiny_path):
    """A shared server with short timeouts and small limits, for tests that leave it unchanged."""
    with serving(
        *(tiny_path, *QUICK, "--max-connections", 300, "--max-header", 4096, "--max-body", 4096)
    ) as running:
        yield running
        assert running.get("/cats/7.png")[0] == 200


def status_of(response):
    return int(re.match(rb"HTTP/1\.1 (\d{3}) ", response)[1])


def problem_of(response):
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower()
    assert b"x-content-type-options: nosniff" in head.lower()
    return json.loads(body)


def test_response_and_access_log(server, cats):
    status, headers, body = server.get("/cats/7.png", X_Request_ID="number-7")
    assert (status, body) == (200, expected_png(cats, 7))
    assert "server" not in headers
    end = time.monotonic() + 10
    while not (lines := [line for line in server.out if "number-7" in line]):
        assert time.monotonic() < end
        time.sleep(0.02)
    logged = json.loads(lines[0])
    assert (logged["method"], logged["path"], logged["status"]) == ("GET", "/cats/7.png", 200)
    assert (logged["client"], logged["bytes"]) == ("127.0.0.1", len(body))


def test_accepted_sockets_have_tcp_nodelay():
    from catgan.serve.server import listen

    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_curl(server, cats, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("no curl: NOT tested with it")
    out = tmp_path / "cat.png"
    command = ["curl", "-sS", "--fail", "--http2", "-o", out, f"{server.url}/cats/7.png"]
    subprocess.run(command, check=True, timeout=60)
    assert out.read_bytes() == expected_png(cats, 7)
    head = subprocess.run(
        ["curl", "-sSI", f"{server.url}/cats/7.png"], check=True, capture_output=True, timeout=60
    )
    assert b"HTTP/1.1 200" in head.stdout


def test_slow_and_silent_clients_are_disconnected(server):
    started = time.monotonic()
    slow = [server.connect() for _ in range(30)]
    silent = server.connect()
    for connection in slow:
        connection.sendall(b"GET /cats/7.png HTTP/1.1\r\nHost: c")
    while time.monotonic() - started < 0.8:  # each byte would restart an idle timer
        time.sleep(0.2)
        for connection in slow:
            connection.sendall(b"x")
    assert server.get("/cats/7.png")[0] == 200  # other clients are served meanwhile
    for connection in slow:
        response = read_all(connection)
        assert not response or status_of(response) == 408  # a reset may arrive first
        connection.close()
    assert read_all(silent) == b""
    silent.close()
    assert time.monotonic() - started < 10


def test_header_sent_byte_by_byte_in_time_is_accepted(server, cats):
    with server.connect() as connection:
        for byte in CLOSING:
            connection.sendall(bytes([byte]))
        assert read_all(connection).endswith(expected_png(cats, 7))


def test_slow_header_gets_408(server):
    response = server.exchange(b"GET /cats/7.png HTTP/1.1\r\nHost: c")
    assert status_of(response) == 408
    assert problem_of(response)["status"] == 408


def test_slow_body_gets_408(server):
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: c\r\nContent-Length: 100\r\n\r\n{"
        )
        response = read_all(connection)
    assert status_of(response) == 408
    assert problem_of(response)["detail"] == "the body took longer than 2 s"


@pytest.mark.parametrize(
    "flood",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(2_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
        b"GET /" + b"a" * 100_000,
        b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_long_headers_are_rejected(server, flood):
    with server.connect() as connection:
        for start in range(0, len(flood), 4_000):
            try:
                connection.sendall(flood[start : start + 4_000])
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(0.002)
        response = read_all(connection)
    assert not response or status_of(response) == 431  # a reset may arrive first


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"nonsense\r\n\r\n", 400),
        (b"GET /cats/\xff.png HTTP/1.1\r\nHost: c\r\n\r\n", 400),
        (b"CONNECT cats:80 HTTP/1.1\r\nHost: c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /v2/models/tiny/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_invalid_http_gets_400(server, request_bytes, status):
    response = server.exchange(request_bytes)
    assert status_of(response) == status
    assert problem_of(response)["status"] == status


def test_long_body_gets_413_with_or_without_content_length(server):
    start = b"POST /v1/images/generations HTTP/1.1\r\nHost: c\r\nConnection: close\r\n"
    for request in (
        start + b"Content-Length: 5000\r\n\r\n" + b" " * 5_000,
        start + b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + b" " * 5_000 + b"\r\n0\r\n\r\n",
    ):
        response = server.exchange(request)
        assert status_of(response) == 413
        assert problem_of(response)["error"]["type"] == "invalid_request_error"


def test_pipelined_requests_are_answered_in_order(server, cats):
    seeds = range(10)
    requests = [b"GET /cats/%d.png HTTP/1.1\r\nHost: c\r\n\r\n" % seed for seed in seeds]
    responses = server.exchange(b"".join(requests) + CLOSING)
    for seed in (*seeds, 7):
        head, _, responses = responses.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        assert responses[:length] == expected_png(cats, seed)
        responses = responses[length:]


def test_too_many_pipelined_requests_close_connection(server):
    started = time.monotonic()
    with server.connect() as connection:
        connection.sendall(REQUEST * 2_000)
        responses = read_all(connection)
    assert responses.count(b"HTTP/1.1 200") < 100
    assert time.monotonic() - started < 10  # does not wait for the keep-alive timeout


def test_requests_before_invalid_one_are_answered(server, cats):
    started = time.monotonic()
    responses = server.exchange(REQUEST * 3 + b"nonsense\r\n\r\n" + REQUEST)
    assert responses.count(expected_png(cats, 7)) == 3
    assert responses.count(b"HTTP/1.1") == 3
    assert time.monotonic() - started < 10


def test_requests_before_invalid_body_are_answered(server, cats):
    post = b"POST /v2/models/tiny/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    responses = server.exchange(REQUEST * 2 + post)
    assert responses.count(expected_png(cats, 7)) == 2
    assert responses.count(b"HTTP/1.1") == 2


def test_client_that_never_reads_is_disconnected(server):
    request = b"GET /grid?seeds=0-63&size=128 HTTP/1.1\r\nHost: c\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request * 10)
        wait_for(server, lambda: any("0-63&size=128" in x and ": 499" in x for x in server.out))
        connection.settimeout(10)
        responses = read_all(connection)
    assert responses.count(b"HTTP/1.1 200") < 10


def test_disconnecting_clients_cause_no_errors(server):
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(b"GET /morph?seeds=3,9&frames=60 HTTP/1.1\r\nHost: c\r\n\r\n")
    assert server.get("/morph?seeds=3,9&frames=4")[0] in (200, 503)
    time.sleep(0.2)
    assert not server.err[3:]


def test_too_many_connections_get_503(tiny_path):
    with serving(tiny_path, *QUICK, "--max-connections", 4, "--keep-alive", 60) as server:
        connections = []
        for _ in range(4):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request("GET", "/v2")
            connection.getresponse().read()
            connections.append(connection)
        status, headers, body = server.get("/cats/7.png")
        assert status == 503
        assert (headers["Retry-After"], headers["Connection"]) == ("1", "close")
        assert json.loads(body)["detail"] == "too many connections"
        connections[0].close()
        time.sleep(0.2)
        assert server.get("/cats/7.png")[0] == 200
        for connection in connections:
            connection.close()


def test_forwarded_address_is_trusted_from_trusted_proxy_only(tiny_path):
    for trusted, codes in (("127.0.0.1", [200, 200]), ("192.0.2.1", [200, 429])):
        with serving(tiny_path, "--rate", 0.5, "--trusted-proxy", trusted) as server:
            clients = ("198.51.100.1", "198.51.100.2")
            assert [server.get("/v2", X_Forwarded_For=each)[0] for each in clients] == codes


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_loses_no_request(tiny_path, cats, number):
    with serving(tiny_path, "--drain", 0.5) as server:
        clients = start_load(server, cats)
        time.sleep(1)
        started = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - started < 20
        finish_load(clients)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux: SO_ATTACH_FILTER")
def test_no_connection_opens_once_new_ones_are_dropped():
    from catgan.serve.server import _drop_new_connections, listen

    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as queued:
            if not _drop_new_connections(listener):
                pytest.skip("this sandbox does not permit socket filters: NOT tested")
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            queued.sendall(b"cat")
            with listener.accept()[0] as accepted:
                assert accepted.recv(3) == b"cat"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


@needs_signals
def test_server_is_not_ready_while_draining(tiny_path):
    with serving(tiny_path, "--drain", 60, "--grace", 90) as server:
        server.process.send_signal(signal.SIGTERM)
        wait_for(server, lambda: server.get("/v2/health/ready")[0] == 503)
        assert server.get("/v2/health/live")[0] == 200
        status, headers, _ = server.get("/cats/7.png")
        assert (status, headers["Connection"]) == (200, "close")
        assert server.stop() == 0  # a second signal ends the drain


@needs_signals
def test_stuck_request_delays_exit_by_grace_at_most(tiny_path):
    incomplete = b"POST /v2/models/tiny/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"
    with (
        serving(tiny_path, "--drain", 0, "--grace", 1) as server,
        server.connect() as connection,
    ):
        connection.sendall(incomplete)
        time.sleep(0.3)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 8


@needs_signals
def test_reload_loses_no_request_and_serves_new_artifact(tmp_path, cats):
    path = write(tmp_path / "cats.onnx")
    with serving(path) as server:
        clients = start_load(server, cats)
        before = json.loads(server.get("/models")[2])["models"][0]["checksum"]
        for number in range(5):
            beside = write(tmp_path / "new", artifact(name=f"cats {number}"))
            beside.replace(path)
            server.process.send_signal(signal.SIGHUP)
            wait_for(server, lambda n=number: sum("reloaded" in line for line in server.out) > n)
        checksum = json.loads(server.get("/models")[2])["models"][0]["checksum"]
        assert checksum != before
        finish_load(clients)
        assert server.get(f"/artifacts/{checksum}/cats/7.png")[0] == 200


@needs_signals
def test_failed_reload_keeps_old_artifact(tmp_path, cats):
    path = write(tmp_path / "cats.onnx")
    with serving(path) as server:
        path.write_bytes(b"nonsense")
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, lambda: any("not reloaded" in line for line in server.err))
        assert server.get("/cats/7.png")[::2] == (200, expected_png(cats, 7))
        assert b'catgan_reloads_total{result="failed"} 1.0' in server.get("/metrics")[2]


START = """
import gc, os, signal, sys
from pathlib import Path
from catgan.serve.models import Models, load_generators
from catgan.serve.server import listen, serve
from catgan.serve.service import Service
from catgan.serve.settings import Settings

settings = Settings(workers=1, drain=0.0)
models = Models.create(load_generators([Path(sys.argv[1])]))

def announce():
    handlers = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
    print(*(getattr(each, "__name__", each) for each in handlers))
    print(len(gc.get_objects()) / gc.get_freeze_count())
    os.kill(os.getpid(), signal.SIGTERM)

serve(Service(models, settings), listen("127.0.0.1", 0), lambda models: models, announce)
"""


@needs_signals
def test_start_is_announced_once_signals_are_handled(tiny_path):
    done = subprocess.run(
        [sys.executable, "-c", START, tiny_path], capture_output=True, text=True, timeout=60
    )
    handlers, tracked = done.stdout.splitlines()
    assert (handlers, done.returncode) == ("_handle_signal _handle_signal", 0)
    # Collections look only at objects that came later: at all of them, each would take 50 ms.
    assert float(tracked) < 0.1


def wait_for(server, condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, (server.out[-5:], server.err)
        time.sleep(0.02)


def test_bundled_generator_gives_same_bytes_as_python():
    generator = catgan.load()
    with serving() as server:
        for seed in (0, 7, 2**63 - 1):
            expected = encode_image(generator.sample([seed])[0], "PNG")
            assert server.get(f"/cats/{seed}.png")[::2] == (200, expected)


def test_two_servers_behind_proxy_are_interchangeable(tiny_path, cats):
    with serving(tiny_path) as first, serving(tiny_path) as second:
        url = f"http://127.0.0.1:{start_proxy([first.port, second.port])}"
        for path in ("/cats/7.png", "/cats/7.webp?size=32", "/grid?seeds=0-8"):
            responses = [fetch(url + path) for _ in range(4)]
            assert len({body for _, _, body in responses}) == 1
            assert len({headers["ETag"] for _, headers, _ in responses}) == 1
        for each in (first, second):
            assert b'route="image"' in each.get("/metrics")[2]  # both were used
        first.process.kill()
        first.process.wait()
        for seed in range(6):
            assert fetch(f"{url}/cats/{seed}.png")[::2] == (200, expected_png(cats, seed))


def test_server_writes_no_files_to_home(tiny_path, tmp_path):
    homes = dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"), str(tmp_path))
    with serving(tiny_path, environment=homes | {"XDG_CACHE_HOME": ""}) as server:
        assert server.get("/cats/7.png")[0] == 200
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
