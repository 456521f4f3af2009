"""The `catgan` command, assembled from its subcommands.

Each parses its options, calls one function and prints. Heavy imports happen inside it.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import catgan
from catgan.cli.console import explain_system_error, fail
from catgan.errors import CatganError

MODULES = {  # of the commands, which are functions of these names; in the order of `catgan --help`
    "prepare": "catgan.cli.data",
    "inspect": "catgan.cli.data",
    "download": "catgan.cli.data",
    "train": "catgan.cli.train",
    "sample": "catgan.cli.generation",
    "morph": "catgan.cli.generation",
    "edit": "catgan.cli.generation",
    "info": "catgan.cli.generation",
    "export": "catgan.cli.export",
    "web": "catgan.cli.generation",
    "serve": "catgan.cli.serve",
    "evaluate": "catgan.cli.evaluation",
    "compare": "catgan.cli.evaluation",
    "recipes": "catgan.cli.recipes",
}


class _Commands(Mapping[str, Any]):
    """The commands by name, each imported and built when it is looked up.

    Importing and building all of them takes 0.06 s, as long as generating several images.
    """

    def __getitem__(self, name: str) -> Any:
        function = getattr(importlib.import_module(MODULES[name]), name)
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name)(function)
        return typer.main.get_command(single)

    def __contains__(self, name: object) -> bool:
        return name in MODULES

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": _Commands()})

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names without building the commands."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None for an unknown name; an error of its import is a bug."""
        if cmd_name not in MODULES:
            return None
        return self.commands[cmd_name]


app = typer.Typer(
    name="catgan",
    cls=_Group,
    help="Train a GAN on a folder of cat photos; sample, evaluate, export and serve it.",
    epilog="First steps: catgan sample (generates cats), then catgan train photos.zip",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Exit codes: 0 success; 1 the output pipe was closed (`catgan ... | head`), or a bug, with its
# traceback; 2 an error that the user can fix; 3 training diverged; 128 + n stopped by signal n,
# with everything saved.


def main() -> None:
    """Run the command. Errors that a user can cause end in one line, never in a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a character of a file name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except SystemExit as end:
        if distributed := sys.modules.get("catgan.training.distributed"):
            distributed.end_process(end.code)
        raise


def _run() -> None:
    try:
        if "" in sys.argv[1:]:  # an unset shell variable; Path("") would be the current directory
            raise CatganError("an argument is empty: give it a value, or leave it out")
        app()
    except CatganError as error:
        fail(str(error), error.exit_code)
    except OSError as error:
        line = explain_system_error(error)
        if line is None:
            raise
        command = next((arg for arg in sys.argv[1:] if not arg.startswith("-")), "catgan")
        fail(f"{command}: {line}", 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        fail(
            "out of memory: to train, lower training.batch_size, network.channels or "
            "network.resolution with --set; to sample, lower --size or the number of images",
            2,
        )
    except KeyboardInterrupt:
        fail("stopped", 130)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether torch or Python could not allocate memory.

    torch's CPU allocator raises a plain RuntimeError, and errors that torch wraps lose their class.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(phrase in str(error) for phrase in ("can't allocate memory", "out of memory"))
    )


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"catgan {catgan.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass
