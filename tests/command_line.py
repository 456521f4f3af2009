"""The command, run in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from unittest import mock

from catgan.cli.app import main


def catgan(*words, code=0, by_typer=False):
    """Run the command in this process; its stdout, or its stderr when it is to fail.

    What fails says so in one line, unless it is rejected `by_typer`, which shows the usage.
    """
    out, err, ended = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["catgan", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
    assert ended == code, err.getvalue()
    if code and not by_typer:
        assert len(err.getvalue().strip().splitlines()) == 1
        assert err.getvalue().startswith("catgan: error: ")
    return err.getvalue() if code else out.getvalue()
