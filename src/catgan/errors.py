"""The exception for errors that users can cause, and helpers for its messages."""

from __future__ import annotations

import os
import shlex

MAX_QUOTED = 120  # characters


class CatganError(Exception):
    """An error that a user can cause and fix: one line with the thing, the reason and the remedy.

    The command line prints it as `catgan: error: <message>` and exits with `exit_code`; a library
    caller can catch it. Any other exception is a bug.
    """

    exit_code = 2


def cannot_write(path: object, error: OSError, option: str = "--out") -> CatganError:
    """Return the error for a path that `option` named and that cannot be written."""
    return CatganError(
        f"{path}: cannot be written ({error.strerror or error}): choose another path with {option}"
    )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `CatganError` unless the setting `name` has a value from `low` to `high`."""
    if not low <= value <= high:
        raise CatganError(f"invalid {name} = {quoted(value)}: expected from {low} to {high}")


def quoted(value: object) -> str:
    """Return the repr of a value, printable on one line and at most `MAX_QUOTED` characters long.

    Python cannot print integers of thousands of digits or deeply nested values; they get a
    placeholder.
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"


def shell_words(*arguments: object) -> str:
    """Join arguments into one line that can be pasted into this system's shell.

    On Windows the quoting rules of the C runtime are used: cmd.exe does not treat single quotes and
    backslashes as special.
    """
    texts = [str(argument) for argument in arguments]
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(texts)
    return shlex.join(texts)
