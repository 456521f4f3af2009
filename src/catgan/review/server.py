"""Serve the review page on this machine only, until the person reviewing is done.

The server listens on the loopback interface. Its address contains a secret, which other users and
other pages cannot know; a request with another Host or without the secret gets 404. Every decision
is on disk before the page receives the response, so closing the browser loses nothing.
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

_MAX_BYTES = 2**16  # of a request body, which is one decision


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections: the page was closed or reloaded while an image was sent."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class ReviewServer:
    """Serves the candidates of `selector` for review; decisions (identity -> kept) go to `path`.

    `decisions` are those of an earlier review. `address` is the URL to open in a browser.
    """

    def __init__(self, selector: CropSelector, decisions: Mapping[str, bool], path: Path) -> None:
        self.selector, self.path = selector, path
        self.candidates = selector({})  # before any decision; `_kept` is after them
        self.finished = threading.Event()
        self._decisions = dict(decisions)
        self._kept = self._apply(self._decisions)
        self._lock = threading.Lock()
        self._secret = secrets.token_urlsafe(16)
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        """The URL of the page, including the secret."""
        return f"http://{self.host}/{self._secret}/"

    @property
    def host(self) -> str:
        """The address and port of the server: 127.0.0.1 and a free port."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ReviewServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self) -> bytes:
        """Return the page as HTML: candidates that pass the gates first, then the rejected ones."""
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

    def image(self, number: int) -> bytes:
        """Return a candidate's crop as WebP."""
        buffer = io.BytesIO()
        crop = self.selector.read_crop(self.candidates[number].face)
        Image.fromarray(crop).save(buffer, "WEBP", quality=90)
        return buffer.getvalue()

    def decide(self, identity: str, kept: bool) -> dict[str, bool]:
        """Write a decision to disk and return what it changed (identity -> kept now).

        A decision may also change near-duplicates: if a face is rejected, the next is kept instead.

        Raises:
            KeyError: no face has this identity.
            OSError: the decision cannot be written.
        """
        with self._lock:
            if identity not in self._kept:
                raise KeyError(identity)
            decisions = self._decisions | {identity: kept}
            write_decisions(self.path, decisions)
            applied = self._apply(decisions)
            changed = {each: now for each, now in applied.items() if now != self._kept[each]}
            self._decisions, self._kept = decisions, applied
        return changed

    def save(self) -> dict[str, bool]:
        """Write the decisions to disk, even if there are none, and return them. Raises OSError."""
        with self._lock:
            write_decisions(self.path, self._decisions)
            return self._decisions

    def _apply(self, decisions: Mapping[str, bool]) -> dict[str, bool]:
        return {each.identity: each.reason is None for each in self.selector(decisions)}

    def authorized_path(self, path: str, host: str | None) -> str | None:
        """Return the path after the secret, or None if the host or the secret is wrong."""
        start, _, rest = path.removeprefix("/").partition("/")
        has_secret = hmac.compare_digest(start.encode(), self._secret.encode())
        return rest if has_secret and host == self.host else None


def review_in_browser(
    selector: CropSelector,
    decisions: Mapping[str, bool],
    *,
    path: Path,
    announce: Callable[[str], None],
) -> Mapping[str, bool]:
    """Serve the review page and wait until the person is done; return their decisions.

    This is a `faces.selection.Review`. `announce` is called with the URL. Decisions are written to
    `path` as they are made.

    Raises:
        CatganError: `path` cannot be written.
    """
    try:
        with ReviewServer(selector, decisions, path) as server:
            announce(server.address)
            while not server.finished.wait(0.5):  # with a timeout, so that Ctrl-C works
                pass
            return server.save()
    except OSError as error:
        raise CatganError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free some space and review again"
        ) from error


def _handler_of(review: ReviewServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "catgan"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            path = review.authorized_path(self.path, self.headers.get("Host"))
            if path == "":
                self._respond(review.page(), "text/html; charset=utf-8")
            elif path is not None and re.fullmatch(r"[0-9]{1,9}\.webp", path):
                self._image(int(path.removesuffix(".webp")))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            path = review.authorized_path(self.path, self.headers.get("Host"))
            if path == "finish":
                try:
                    self._respond(b"{}", "application/json")
                finally:  # even if the page is already closed
                    review.finished.set()
            elif path == "decide":
                self._decide()
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _image(self, number: int) -> None:
            try:
                content = review.image(number)
            except IndexError:
                self.send_error(HTTPStatus.NOT_FOUND)
            except CatganError:  # corrupt on disk; writing the dataset will report it
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            else:
                self._respond(content, "image/webp")

        def _decide(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not re.fullmatch(r"[0-9]{1,9}", length) or not 0 < int(length) <= _MAX_BYTES:
                self.send_error(HTTPStatus.BAD_REQUEST)
                return
            body = self.rfile.read(int(length))
            try:
                decision: Any = json.loads(body)
                if not isinstance(decision["kept"], bool):
                    raise ValueError
                changed = review.decide(decision["identity"], decision["kept"])
            except (ValueError, KeyError, TypeError, RecursionError):
                self.send_error(HTTPStatus.BAD_REQUEST)
            except OSError:
                self.send_error(HTTPStatus.INSUFFICIENT_STORAGE)
            else:
                self._respond(json.dumps(changed).encode(), "application/json")

        def _respond(self, content: bytes, content_type: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass  # keep the terminal free of request logs

    return Handler
