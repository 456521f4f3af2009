"""What the commands share: output, progress bars and one-line errors."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


# Errors of the operating system that are not bugs, and what the user can do about them.
REMEDIES = {
    errno.ENOSPC: "make room on that disk, then run the command again",
    errno.EDQUOT: "make room, your quota is used up, then run the command again",
    errno.EFBIG: "that file system does not allow files this large: choose another path",
    errno.EACCES: "check its permissions, or choose another path",
    errno.EPERM: "check its permissions, or choose another path",
    errno.EROFS: "choose a path that can be written",
    errno.ENOENT: "check that it exists, and keep it while the command runs",
    errno.ENOTDIR: "choose another path",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "repair its symbolic links",
    errno.EMFILE: "allow more open files (ulimit -n 4096), then run the command again",
    errno.ENFILE: "close other programs, then run the command again",
    errno.ENOMEM: "close other programs, then run the command again",
    errno.EIO: "check that the disk or drive works, then run the command again",
    errno.ENODEV: "check that the disk or drive is connected, then run the command again",
    errno.ESTALE: "the network drive was lost: mount it again, then run the command again",
    errno.ETXTBSY: "end the program that uses it, then run the command again",
}


def explain_system_error(error: OSError) -> str | None:
    """Return a line with the error and its remedy, or None if only a bug can have caused it."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    path = error.filename if isinstance(error.filename, str | os.PathLike) else None
    if error.errno == errno.ENOENT:
        if path is None:
            return (
                None if _has_current_directory() else "the current directory is gone: enter another"
            )
        if Path(path).is_relative_to(Path(__file__).parents[1]):
            return None  # a file of the package is missing, which is a bug
    prefix = "" if path is None else f"{path}: "
    return f"{prefix}{error.strerror or error}: {remedy}"


def _has_current_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def fail(text: str, code: int) -> None:
    """End the process with one line on stderr, escaping what a terminal cannot print."""
    from rich.console import Console
    from rich.text import Text

    printable = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )
    line = Text.assemble(("catgan: error: ", "bold red"), printable)
    Console(stderr=True).print(line, soft_wrap=True)
    sys.exit(code)


class Output:
    """What a command prints to standard output; with `quiet`, nothing.

    Rich is imported for bars, tables and colors alone: the import takes as long as generating
    several images, and most commands print lines.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """Rich's console, for what is more than a line of text."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(quiet=self.quiet)
        return self._console

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be watching."""
        return sys.stdout is not None and sys.stdout.isatty()

    def print_line(self, text: str) -> None:
        """Print text verbatim: without markup, wrapping or highlighting."""
        if self.quiet:
            return
        if self._console is None:
            print(text, flush=True)
        else:  # it may show a bar, which the line goes above
            self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


class ProgressBar:
    """Progress bars on a terminal; elsewhere, one line per stage."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.bar: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.announced: set[str] = set()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done; the first call adds a bar for `stage`.

        A single step that is done has no bar.
        """
        if not self.output.is_terminal:
            if stage not in self.announced:
                self.output.print_line(f"{stage}: {total:,}")
            self.announced.add(stage)
            return
        if self.bar is None:
            if done == total == 1:  # nothing is left to wait for
                return
            self.bar = self._start()
        if stage not in self.tasks:
            self.tasks[stage] = self.bar.add_task(stage, total=total)
        self.bar.update(self.tasks[stage], completed=done, total=total)

    def _start(self) -> Progress:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}", markup=False),  # names may contain brackets
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.output.console,
            transient=True,
        )
        bar.start()
        return bar
