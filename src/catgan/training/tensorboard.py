"""Write the log's rows as TensorBoard events, on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from catgan.errors import CatganError, shell_words


def require_tensorboard() -> None:
    """Raise `CatganError` if the package is missing, before a run is prepared for it."""
    if not find_spec("tensorboard"):
        raise CatganError(
            "--tensorboard needs the tensorboard package: pip install 'catgan[tensorboard]'"
        )


class TensorBoard:
    """Writes scalars by images seen into `tensorboard/` of a run that resumes after `images`.

    Raises `CatganError` when writing fails, possibly one row late: a thread writes the events.
    """

    def __init__(self, run: Path, images: int) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        with self._writing():
            self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=images + 1)

    def row(self, row: Mapping[str, Any]) -> None:
        """Write one row of the log."""
        with self._writing():
            for name, value in row.items():
                if isinstance(value, float):
                    self.writer.add_scalar(name, value, row["images"])
            self.writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            run_to_resume = f"catgan train --resume {shell_words(self.run)}"
            raise CatganError(
                f"{self.run / 'tensorboard'}: cannot be written ({error.strerror or error}): make "
                f"room, or leave out --tensorboard, then {run_to_resume}"
            ) from None
