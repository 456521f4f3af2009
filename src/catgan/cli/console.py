"""What the verbs share: how the command speaks, and how it fails."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


# What the system rejects though the program is right, and what to do about it.
REMEDIES = {
    errno.ENOSPC: "make room on that disk, then run the command again",
    errno.EDQUOT: "make room, your quota is used up, then run the command again",
    errno.EFBIG: "that file system takes no file so large: choose another place",
    errno.EACCES: "see that it is yours to read and write, or choose another place",
    errno.EPERM: "see that it is yours to read and write, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "see that it is there, and stays while the command runs",
    errno.ENOTDIR: "choose another place",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend its symbolic links",
    errno.EMFILE: "allow more open files (ulimit -n 4096), then run the command again",
    errno.ENFILE: "close other programs, then run the command again",
    errno.ENOMEM: "close other programs, then run the command again",
    errno.EIO: "see that the disk or drive works, then run the command again",
    errno.ENODEV: "see that the disk or drive is there, then run the command again",
    errno.ESTALE: "the network drive was lost: mount it again, then run the command again",
    errno.ETXTBSY: "end the program that uses it, then run the command again",
}


def explain_system_error(error: OSError) -> str | None:
    """What was rejected and the remedy in one line; None for what only a bug can have caused."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    place = error.filename if isinstance(error.filename, str | os.PathLike) else None
    if error.errno == errno.ENOENT:
        if place is None:
            return (
                None if _has_current_directory() else "the current directory is gone: enter another"
            )
        if Path(place).is_relative_to(Path(__file__).parents[1]):
            return None  # nobody names the package's own files
    where = "" if place is None else f"{place}: "
    return f"{where}{error.strerror or error}: {remedy}"


def _has_current_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def fail(text: str, code: int) -> None:
    """End the process with one line on stderr, of characters that a terminal can show."""
    from rich.console import Console
    from rich.text import Text

    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(text.split())
    )
    line = Text.assemble(("catgan: error: ", "bold red"), shown)
    Console(stderr=True).print(line, soft_wrap=True)
    sys.exit(code)


def make_console(*, quiet: bool = False) -> Console:
    """Where results go; with `quiet`, nowhere."""
    from rich.console import Console

    return Console(quiet=quiet)


def print_line(console: Console, line: str) -> None:
    """Print text as it is: no markup, no wrapping, no colors of its own."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class ProgressBar:
    """A bar for what takes a while; where nobody watches, one line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.told: set[str] = set()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """So much of `what` is done; its bar appears with its first call."""
        if not self.console.is_terminal:
            if what not in self.told:
                print_line(self.console, f"{what}: {total:,}")
            self.told.add(what)
            return
        if self.bar is None:
            self.bar = self._start()
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=total)
        self.bar.update(self.tasks[what], completed=done, total=total)

    def _start(self) -> Progress:
        # Its import takes as long as drawing a cat.
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}", markup=False),  # names are no markup
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        bar.start()
        return bar
