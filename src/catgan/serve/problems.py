"""What goes wrong with a request, as JSON of one line (RFC 9457, "Problem Details for HTTP APIs").

The clients of the two protocols read the same body: OpenAI's looks for `error.message`, the Open
Inference Protocol's for a text in `error`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

MAX_DETAIL = 300  # characters


class ProblemError(Exception):
    """A request that is not answered as asked: a status from 400 on, and one line that says why.

    `reason` is what the metrics count it under; `retry_after` seconds the client should wait.
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
    """Return the response for a problem with a request for `path`."""
    title = HTTPStatus(problem.status).phrase
    detail = "".join(c if c.isprintable() else " " for c in problem.detail)[:MAX_DETAIL]
    content: dict[str, Any] = {"title": title, "status": problem.status, "detail": detail}
    if path.startswith("/v1/"):
        kind = "server_error" if problem.status >= 500 else "invalid_request_error"
        content["error"] = {"message": detail, "type": kind, "param": None, "code": None}
    elif path.startswith("/v2"):
        content["error"] = detail
    return JSONResponse(content, problem.status, problem.headers, "application/problem+json")
