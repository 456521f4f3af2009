"""The one exception that a user's mistake may end in, and how it repeats what was written."""

from __future__ import annotations

import os
import shlex

MAX_QUOTED = 120  # characters


class CatganError(Exception):
    """A user can cause and mend this: one line with the thing, the reason and the remedy.

    The command line prints it as `catgan: error: <message>` and exits with `exit_code`; a library
    caller catches it. Anything else that escapes is a bug.
    """

    exit_code = 2


def cannot_write(path: object, error: OSError, option: str = "--out") -> CatganError:
    """Return the error for a path that `option` named and that cannot be written."""
    return CatganError(
        f"{path}: cannot be written ({error.strerror or error}): choose another path with {option}"
    )


def quoted(value: object) -> str:
    """What somebody wrote, as an error repeats it: on one line, printable, and not too much of it.

    Python rejects to show numbers of thousands of digits and what is nested too deep.
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"


def shell_words(*words: object) -> str:
    """`words` as one line that can be pasted into this system's shell, each still one word.

    On Windows cmd.exe takes a single quote for a letter and a backslash for itself, so the rules of
    the C runtime are used there.
    """
    texts = [str(word) for word in words]
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(texts)
    return shlex.join(texts)
