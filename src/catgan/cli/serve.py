"""The verb that serves: `catgan serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from catgan.cli.console import print_line
from catgan.errors import CatganError

TOKEN_VARIABLE = "CATGAN_SERVE_TOKEN"  # noqa: S105
_MAX_TOKEN_FILE = 4_096  # bytes


def serve(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Exported .onnx files. Without one: the package's generator."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[
        int | None, typer.Option(help="Images drawn at once.", show_default="the cores")
    ] = None,
    queue: Annotated[int, typer.Option(help="Images accepted and not yet done.")] = 512,
    max_seeds: Annotated[int, typer.Option(help="Images of one request.")] = 64,
    max_frames: Annotated[int, typer.Option(help="Frames of one morph.")] = 120,
    max_size: Annotated[int, typer.Option(help="Side of an enlarged image in pixels.")] = 1_024,
    max_pixels: Annotated[int, typer.Option(help="Pixels of one answer.")] = 4_194_304,
    max_morphs: Annotated[int, typer.Option(help="Morphs drawn at once; 0: none at all.")] = 1,
    max_body: Annotated[int, typer.Option(help="Bytes of a request's body.")] = 1_048_576,
    max_header: Annotated[int, typer.Option(help="Bytes of a request's header.")] = 16_384,
    max_buffered: Annotated[
        int, typer.Option(help="Bytes of bodies and long answers on their way, together.")
    ] = 268_435_456,
    max_connections: Annotated[int, typer.Option(help="Connections at once.")] = 512,
    header_timeout: Annotated[float, typer.Option(help="Seconds for a request's header.")] = 10.0,
    request_timeout: Annotated[
        float, typer.Option(help="Seconds for a request's body, and for drawing.")
    ] = 30.0,
    send_timeout: Annotated[float, typer.Option(help="Seconds to take an answer.")] = 30.0,
    keep_alive: Annotated[float, typer.Option(help="Seconds between two requests.")] = 15.0,
    rate: Annotated[
        float, typer.Option(help="Requests a second from one client address; 0: no limit.")
    ] = 0.0,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="A proxy's address or network, whose X-Forwarded-For is believed; repeatable."
        ),
    ] = None,
    cache: Annotated[int, typer.Option(help="Bytes of answers kept in memory.")] = 67_108_864,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may read answers, or '*'; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"A file with the token to ask for; or set {TOKEN_VARIABLE}."),
    ] = None,
    grace: Annotated[float, typer.Option(help="Seconds from SIGTERM to the end, at most.")] = 30.0,
    drain: Annotated[
        float, typer.Option(help="Of these, seconds not ready but still accepting.")
    ] = 1.0,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page", help="A web page at /, which gives out the artifact, too."
        ),
    ] = True,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="A line of JSON a request.")
    ] = True,
) -> None:
    """Serve cats over HTTP; stop it with Ctrl-C or SIGTERM, reload with SIGHUP."""
    from catgan.serve import require_serve_extra

    require_serve_extra()
    from rich.console import Console

    from catgan.serve.models import Models, load_generators
    from catgan.serve.server import listen
    from catgan.serve.server import serve as run_server
    from catgan.serve.service import Service
    from catgan.serve.settings import Settings, usable_cores

    settings = Settings(
        workers=usable_cores() if workers is None else workers,
        queue=queue,
        max_seeds=max_seeds,
        max_frames=max_frames,
        max_size=max_size,
        max_pixels=max_pixels,
        max_morphs=max_morphs,
        max_body=max_body,
        max_header=max_header,
        max_buffered=max_buffered,
        max_connections=max_connections,
        header_timeout=header_timeout,
        request_timeout=request_timeout,
        send_timeout=send_timeout,
        keep_alive=keep_alive,
        rate=rate,
        trusted_proxies=tuple(trusted_proxy or ()),
        cache=cache,
        cors_origins=tuple(cors_origin or ()),
        token=_read_token(token_file),
        grace=grace,
        drain=drain,
        page=page,
        access_log=access_log,
    )
    paths = artifacts or []

    def load(before: Models | None) -> Models:
        return Models.of(load_generators(paths), settings.workers, before)

    listener = listen(host, port)  # before the models, which take longer
    service = Service(load(None), settings)
    bound = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    console = Console(stderr=True)  # stdout is the access log
    print_line(console, f"models   {', '.join(service.models.by_name)}")
    print_line(console, f"workers  {settings.workers}")
    print_line(console, f"serving  http://{shown}:{bound}/")
    run_server(service, listener, load)


def _read_token(path: Path | None) -> str | None:
    """The token in a file or in the environment; never in an argument, which others can see."""
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    if os.environ.get(TOKEN_VARIABLE):
        raise CatganError(f"--token-file and {TOKEN_VARIABLE} are both there: leave out one")
    try:
        with path.open("rb") as file:
            token = file.read(_MAX_TOKEN_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII"
        raise CatganError(f"{path}: cannot be read ({reason}): name a file with a token") from None
    if not token:
        raise CatganError(f"{path}: is empty: write a token into it")
    return token
