"""What a person sees during a run: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from catgan.formatting import duration, kimg


class Display(Protocol):
    """The interface through which the training loop reports."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` images of `what`, a task before training, are done."""

    def begin(self, images: int, total: int) -> None:
        """Report that training starts, or resumes, after `images` of `total`."""

    def step(self, images: int) -> None:
        """Report the number of images seen."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Report a new row of the log."""

    def score(self, row: Mapping[str, Any]) -> None:
        """Report the score of a checkpoint, a row of the log."""

    def note(self, text: str) -> None:
        """Show a message."""

    def end(self) -> None:
        """Close the display."""


class BarDisplay:
    """A live progress bar with the latest losses."""

    def __init__(self, console: Console) -> None:
        self.preparation_bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.fields[seen]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[losses]}", style="dim"),
            console=console,
            speed_estimate_period=120,
        )

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show a separate bar for the task."""
        self.progress.start()
        if what not in self.preparation_bars:
            self.preparation_bars[what] = self.progress.add_task(
                what, total=total, seen=what, rate="", losses=""
            )
        self.progress.update(self.preparation_bars[what], completed=done, total=total)

    def begin(self, images: int, total: int) -> None:
        """Replace the bars of the preparation by that of training."""
        for task in self.preparation_bars.values():
            self.progress.update(task, visible=False)
        self.task = self.progress.add_task(
            "training", total=total, completed=images, seen=kimg(images), rate="…", losses=""
        )
        self.progress.start()

    def step(self, images: int) -> None:
        """Advance the bar."""
        self.progress.update(self.task, completed=images, seen=kimg(images))

    def row(self, row: Mapping[str, Any]) -> None:
        """Show the losses."""
        machine = row["machine"]
        self.progress.update(
            self.task,
            rate=f"{machine['images_per_second']:.1f} img/s",
            losses=f"{losses(row)}  {machine['memory_mib'] / 1024:.1f} GiB",
        )

    def score(self, row: Mapping[str, Any]) -> None:
        """Print the score above the bar."""
        self.note(score_line(row))

    def note(self, text: str) -> None:
        """Print above the bar."""
        self.progress.console.print(Text(text, style="yellow"), soft_wrap=True)

    def end(self) -> None:
        """Stop updating the bar."""
        self.progress.stop()


class LineDisplay:
    """One line per row, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.announced: set[str] = set()

    def prepare(self, what: str, done: int, total: int) -> None:
        """Print the task once."""
        if what not in self.announced:
            self.note(f"{what}: {total:,} images")
        self.announced.add(what)

    def begin(self, images: int, total: int) -> None:
        """Store the total; print where a resumed run continues."""
        self.total = total
        if images:
            self.note(f"resumes after {images:,} of {total:,} images")

    def step(self, images: int) -> None:
        """Print nothing."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Print the row."""
        machine = row["machine"]
        rate = machine["images_per_second"]
        left = (self.total - row["images"]) / rate if rate else 0.0
        self.note(
            f"{kimg(row['images'])} of {kimg(self.total)}  {rate:.1f} img/s  "
            f"{duration(left)} left  {losses(row)}  {machine['memory_mib'] / 1024:.1f} GiB"
        )

    def score(self, row: Mapping[str, Any]) -> None:
        """Print the score."""
        self.note(score_line(row))

    def note(self, text: str) -> None:
        """Print the text as it is."""
        self.console.print(Text(text), soft_wrap=True)

    def end(self) -> None:
        """Do nothing."""


class CallbackDisplay:
    """Pass every row of the log to a function, as a dict, and notes to another."""

    def __init__(
        self, on_row: Callable[[dict[str, Any]], object], on_note: Callable[[str], object]
    ) -> None:
        self.on_row, self.on_note = on_row, on_note

    def prepare(self, what: str, done: int, total: int) -> None:
        """Pass nothing on: this is no row of the log."""

    def begin(self, images: int, total: int) -> None:
        """Pass nothing on."""

    def step(self, images: int) -> None:
        """Pass nothing on."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Pass the row on."""
        self.on_row(dict(row))

    def score(self, row: Mapping[str, Any]) -> None:
        """Pass the row on."""
        self.on_row(dict(row))

    def note(self, text: str) -> None:
        """Pass the note on."""
        self.on_note(text)

    def end(self) -> None:
        """Pass nothing on."""


def choose_display(console: Console) -> Display:
    """Return a bar for a terminal, lines otherwise."""
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)


def losses(row: Mapping[str, Any]) -> str:
    """Return the losses and the discriminator's accuracies of a row, as text."""
    return (
        f"D {row['discriminator_loss']:.3f}  G {row['generator_loss']:.3f}  "
        f"D accuracy real {row['real_accuracy']:.0%}, generated {row['generated_accuracy']:.0%}"
    )


def score_line(row: Mapping[str, Any]) -> str:
    """Return the score of a checkpoint in one line."""
    return f"{row['scored_by']} {row['score']:.4g} after {row['images']:,} images"
