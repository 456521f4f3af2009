"""The page and its server: on this machine only, for one person, until that person is done.

The server listens on the loopback interface, and its address holds a secret that no other user and
no other page knows; a request with another Host or without the secret is rejected. Every decision
is on the disk before the page hears that it is, so a closed browser costs nothing.
"""

from __future__ import annotations

import hmac
import io
import json
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from catgan import __version__
from catgan.data.faces.decisions import write_decisions
from catgan.data.faces.selection import CropSelector
from catgan.errors import CatganError
from catgan.pages import render

_MAX_BYTES = 2**16  # of a request: one decision


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that is closed or loaded anew in the middle of a picture is nothing to tell."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class ReviewServer:
    """Serves the judge's candidates for review; decisions (identity -> kept) go to `path`.

    `decisions` are those of an earlier review, to begin with. `address` is what to open in a
    browser.
    """

    def __init__(self, judge: CropSelector, decisions: Mapping[str, bool], path: Path) -> None:
        self.judge, self.path = judge, path
        self.candidates = judge({})  # as the gates see them; `_kept` is after the decisions
        self.finished = threading.Event()
        self._decisions = dict(decisions)
        self._kept = self._verdicts(self._decisions)
        self._lock = threading.Lock()
        self._secret = secrets.token_urlsafe(16)
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        """The page's address, with its secret."""
        return f"http://{self.host}/{self._secret}/"

    @property
    def host(self) -> str:
        """Where the server listens: 127.0.0.1 and a free port."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ReviewServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self) -> bytes:
        """The page: what the gates pass first, then what they reject, each with the reason."""
        with self._lock:
            kept = self._kept
        cards = [
            (number, each.identity, kept[each.identity], each.photo.name, each.reason)
            for number, each in enumerate(self.candidates)
        ]
        return render(
            "review.html.jinja",
            version=__version__,
            cards=[card for card in cards if card[4] is None]
            + [card for card in cards if card[4] is not None],
            nonce=secrets.token_urlsafe(16),
        ).encode()

    def picture(self, number: int) -> bytes:
        """A candidate's crop as WebP."""
        buffer = io.BytesIO()
        crop = self.judge.read(self.candidates[number].face)
        Image.fromarray(crop).save(buffer, "WEBP", quality=90)
        return buffer.getvalue()

    def decide(self, identity: str, kept: bool) -> dict[str, bool]:
        """Record a decision, on the disk before this returns; which verdicts it changed.

        Those are identities and whether they are kept now: also twins, which step in for a face
        that is rejected. KeyError: there is no such face. OSError: it cannot be written.
        """
        with self._lock:
            if identity not in self._kept:
                raise KeyError(identity)
            decisions = self._decisions | {identity: kept}
            write_decisions(self.path, decisions)
            verdicts = self._verdicts(decisions)
            changed = {each: now for each, now in verdicts.items() if now != self._kept[each]}
            self._decisions, self._kept = decisions, verdicts
        return changed

    def save(self) -> dict[str, bool]:
        """Bring the decisions to the disk, even if there are none; returns them. Raises OSError."""
        with self._lock:
            write_decisions(self.path, self._decisions)
            return self._decisions

    def _verdicts(self, decisions: Mapping[str, bool]) -> dict[str, bool]:
        return {each.identity: each.reason is None for each in self.judge(decisions)}

    def is_ours(self, path: str, host: str | None) -> str | None:
        """What a request asks for behind the secret, or None if it may not ask."""
        start, _, rest = path.removeprefix("/").partition("/")
        known = hmac.compare_digest(start.encode(), self._secret.encode())
        return rest if known and host == self.host else None


def review_in_browser(
    judge: CropSelector,
    decisions: Mapping[str, bool],
    *,
    path: Path,
    announce: Callable[[str], None],
) -> Mapping[str, bool]:
    """Let a person decide; waits until they say that they are done. A `faces.selection.Review`.

    `announce` is told the address. Decisions go to `path` as they are made.

    Raises:
        CatganError: `path` cannot be written.
    """
    try:
        with ReviewServer(judge, decisions, path) as server:
            announce(server.address)
            while not server.finished.wait(0.5):  # with a limit, so that Ctrl-C is heard
                pass
            return server.save()
    except OSError as error:
        raise CatganError(
            f"{path}: cannot be written ({error.strerror or error}); make room and review again"
        ) from error


def _handler_of(review: ReviewServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "catgan"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            wanted = review.is_ours(self.path, self.headers.get("Host"))
            if wanted == "":
                self._answer(review.page(), "text/html; charset=utf-8")
            elif wanted is not None and re.fullmatch(r"[0-9]{1,9}\.webp", wanted):
                self._picture(int(wanted.removesuffix(".webp")))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            wanted = review.is_ours(self.path, self.headers.get("Host"))
            if wanted == "finish":
                try:
                    self._answer(b"{}", "application/json")
                finally:  # also when the page is gone by now
                    review.finished.set()
            elif wanted == "decide":
                self._decide()
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _picture(self, number: int) -> None:
            try:
                picture = review.picture(number)
            except IndexError:
                self.send_error(HTTPStatus.NOT_FOUND)
            except CatganError:  # damaged on the disk; writing the dataset will say so
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            else:
                self._answer(picture, "image/webp")

        def _decide(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not re.fullmatch(r"[0-9]{1,9}", length) or not 0 < int(length) <= _MAX_BYTES:
                self.send_error(HTTPStatus.BAD_REQUEST)
                return
            body = self.rfile.read(int(length))
            try:
                told: Any = json.loads(body)
                if not isinstance(told["kept"], bool):
                    raise ValueError
                changed = review.decide(told["identity"], told["kept"])
            except (ValueError, KeyError, TypeError, RecursionError):
                self.send_error(HTTPStatus.BAD_REQUEST)
            except OSError:
                self.send_error(HTTPStatus.INSUFFICIENT_STORAGE)
            else:
                self._answer(json.dumps(changed).encode(), "application/json")

        def _answer(self, content: bytes, kind: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass  # the terminal is for the person

    return Handler
