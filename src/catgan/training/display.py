"""What a person sees while a run goes on: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from catgan.formatting import duration, kimg


class Display(Protocol):
    """Where the training loop reports to."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """So much of `what` is done, of what comes before the first step."""

    def begin(self, images: int, total: int) -> None:
        """Training goes on after `images` of `total`."""

    def step(self, images: int) -> None:
        """So many images have been seen."""

    def row(self, row: Mapping[str, Any]) -> None:
        """A row of the log has been written."""

    def score(self, row: Mapping[str, Any]) -> None:
        """A row of the log with the score of a checkpoint has been written."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def end(self) -> None:
        """No more is to come."""


class BarDisplay:
    """A live progress bar with the latest losses behind it."""

    def __init__(self, console: Console) -> None:
        self.preparing: dict[str, TaskID] = {}
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
        """Show a bar of its own, as long as it takes."""
        self.progress.start()
        if what not in self.preparing:
            self.preparing[what] = self.progress.add_task(
                what, total=total, seen=what, rate="", losses=""
            )
        self.progress.update(self.preparing[what], completed=done, total=total)

    def begin(self, images: int, total: int) -> None:
        """Show the bar, instead of those of what came before."""
        for task in self.preparing.values():
            self.progress.update(task, visible=False)
        self.task = self.progress.add_task(
            "training", total=total, completed=images, seen=kimg(images), rate="…", losses=""
        )
        self.progress.start()

    def step(self, images: int) -> None:
        """Move the bar."""
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
        """Leave the bar as it stands."""
        self.progress.stop()


class LineDisplay:
    """A line a row, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.prepared: set[str] = set()

    def prepare(self, what: str, done: int, total: int) -> None:
        """Print what it is, once."""
        if what not in self.prepared:
            self.note(f"{what}: {total:,} images")
        self.prepared.add(what)

    def begin(self, images: int, total: int) -> None:
        """Remember how far it is; say where a resumed run goes on."""
        self.total = total
        if images:
            self.note(f"goes on after {images:,} of {total:,} images")

    def step(self, images: int) -> None:
        """A step is no line."""

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
        """Print as it is."""
        self.console.print(Text(text), soft_wrap=True)

    def end(self) -> None:
        """Nothing to take down."""


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
    """A bar where someone watches, lines where nobody does."""
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)


def losses(row: Mapping[str, Any]) -> str:
    """The two losses, and how often the discriminator is right about real and generated."""
    return (
        f"D {row['discriminator_loss']:.3f}  G {row['generator_loss']:.3f}  "
        f"right on real {row['real_accuracy']:.0%}, generated {row['generated_accuracy']:.0%}"
    )


def score_line(row: Mapping[str, Any]) -> str:
    """Return the score of a checkpoint in one line."""
    return f"{row['scored_by']} {row['score']:.4g} after {row['images']:,} images"
