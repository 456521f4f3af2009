"""Error responses as JSON (RFC 9457, "Problem Details for HTTP APIs").

One body serves the clients of both protocols: OpenAI's reads `error.message`, the Open Inference
Protocol's reads a string in `error`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

MAX_DETAIL = 300  # characters


class ProblemError(Exception):
    """A request that fails with a status of 400 or above; `detail` says why in one line.

    `reason` is the label in the metrics; `retry_after` is how many seconds the client should wait.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: str = "invalid",
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason = status, detail, reason
        self.headers = {"Cache-Control": "no-store"} | (headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def problem_response(problem: ProblemError, path: str) -> Response:
    """Return the error response to a request for `path`."""
    title = HTTPStatus(problem.status).phrase
    detail = "".join(c if c.isprintable() else " " for c in problem.detail)[:MAX_DETAIL]
    content: dict[str, Any] = {"title": title, "status": problem.status, "detail": detail}
    if path.startswith("/v1/"):
        kind = "server_error" if problem.status >= 500 else "invalid_request_error"
        content["error"] = {"message": detail, "type": kind, "param": None, "code": None}
    elif path.startswith("/v2"):
        content["error"] = detail
    return JSONResponse(content, problem.status, problem.headers, "application/problem+json")
