"""Chromium without a window, driven through its debugging pipe; needs nothing but the browser."""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
REQUIRED = os.environ.get("CATGAN_BROWSER_TESTS") == "required"  # .ci/run says so


def without(what):
    """End a test that lacks `what`: skipped, visibly; failed where the browser is required."""
    (pytest.fail if REQUIRED else pytest.skip)(f"no {what}: the pages were NOT tested in a browser")


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, profile, flags=()):
        if CHROMIUM is None:
            without("Chromium")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        for descriptor in (theirs_in, theirs_out):
            os.set_inheritable(descriptor, True)
        # The browser reads commands from descriptor 3 and writes answers to descriptor 4.
        command = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command, CHROMIUM, "--headless=new", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", f"--user-data-dir={profile}", *flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.number, self.events, self.session = 0, [], None
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """Give a command and wait for its answer; events met on the way are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _message(self):
        out = bytearray()
        while (byte := self.reader.read(1)) != b"\0":
            assert byte, "the browser is gone"
            out += byte
        return bytes(out)

    def open(self, url):
        """Go to a page."""
        self.send("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression in the page, awaited if it is a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition, seconds=60):
        """Wait until an expression in the page is true; it may not be there yet."""
        end = time.monotonic() + seconds
        guarded = f"(() => {{ try {{ return Boolean({condition}) }} catch {{ return false }} }})()"
        while not self.run(guarded):
            assert time.monotonic() < end, f"{condition} did not come true: {self.complaints()}"
            time.sleep(0.1)

    def press(self, key):
        """A key, down and up."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {})
            )

    def screen(self, width, height, *, phone=False, dark=False, calm=False):
        """Set the size of the screen, and what its owner prefers; `calm` is reduced motion."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        hover = {"name": "hover", "value": "none" if phone else "hover"}
        motion = {
            "name": "prefers-reduced-motion",
            "value": "reduce" if calm else "no-preference",
        }
        self.send("Emulation.setEmulatedMedia", features=[scheme, hover, motion])

    def screenshot(self, path):
        """What is seen, as a PNG."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self):
        """What the browser rejected or what went wrong in the page."""
        self.run("0")
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown")
        return [each["params"] for each in self.events if each.get("method") in kinds]

    def close(self):
        """End the browser."""
        self.process.terminate()
        self.process.wait(10)
        self.reader.close()
        self.writer.close()


@contextmanager
def browser(profile, *flags):
    """A browser that ends with the block; `flags` are more of its command's."""
    opened = Browser(profile, flags)
    try:
        yield opened
    finally:
        opened.close()


class _Quiet(SimpleHTTPRequestHandler):
    def __init__(self, *arguments, headers, gates, **options):
        self.more, self.gates = headers, gates
        super().__init__(*arguments, **options)

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        gate = self.gates.get(self.path.partition("?")[0])
        if gate:
            gate.wait(60)
        super().do_GET()

    def end_headers(self):
        for name, value in self.more.items():
            self.send_header(name, value)
        super().end_headers()


@contextmanager
def served(directory, headers=None, gates=None):
    """A plain static host for a directory; its address.

    `headers` go with every file; a path in `gates` is sent when its event is set.
    """
    handler = functools.partial(
        _Quiet, directory=str(directory), headers=headers or {}, gates=gates or {}
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
