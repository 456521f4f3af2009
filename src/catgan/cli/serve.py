"""The command `catgan serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from catgan.errors import CatganError
from catgan.memory import kept_memory
from catgan.serve.settings import Settings, usable_cores

TOKEN_VARIABLE = "CATGAN_SERVE_TOKEN"  # noqa: S105
_MAX_TOKEN_FILE = 4_096  # bytes


def serve(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Exported .onnx files. Without one: the bundled generator."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(help="Requests computed at once, one thread each.", show_default="the cores"),
    ] = None,
    queue: Annotated[
        int, typer.Option(help="Images accepted and not yet generated.")
    ] = Settings.queue,
    max_seeds: Annotated[int, typer.Option(help="Images in one request.")] = Settings.max_seeds,
    max_frames: Annotated[int, typer.Option(help="Frames in one morph.")] = Settings.max_frames,
    max_size: Annotated[
        int, typer.Option(help="Side of an enlarged image in pixels.")
    ] = Settings.max_size,
    max_pixels: Annotated[int, typer.Option(help="Pixels in one response.")] = Settings.max_pixels,
    max_morphs: Annotated[
        int, typer.Option(help="Morphs generated at once; 0 disables morphs.")
    ] = Settings.max_morphs,
    max_body: Annotated[int, typer.Option(help="Bytes of a request's body.")] = Settings.max_body,
    max_header: Annotated[
        int, typer.Option(help="Bytes of a request's header.")
    ] = Settings.max_header,
    max_buffered: Annotated[
        int, typer.Option(help="Bytes of all request bodies and long responses in transit.")
    ] = Settings.max_buffered,
    max_connections: Annotated[
        int, typer.Option(help="Connections at once.")
    ] = Settings.max_connections,
    header_timeout: Annotated[
        float, typer.Option(help="Seconds to receive a request's header.")
    ] = Settings.header_timeout,
    request_timeout: Annotated[
        float,
        typer.Option(help="Seconds to receive a request's body, and again to generate images."),
    ] = Settings.request_timeout,
    send_timeout: Annotated[
        float, typer.Option(help="Seconds for the client to read a response.")
    ] = Settings.send_timeout,
    keep_alive: Annotated[
        float, typer.Option(help="Seconds that an idle connection stays open.")
    ] = Settings.keep_alive,
    rate: Annotated[
        float, typer.Option(help="Requests a second from one client address; 0: no limit.")
    ] = Settings.rate,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded-For is trusted; repeatable."
        ),
    ] = None,
    cache: Annotated[
        int, typer.Option(help="Bytes of responses cached in memory.")
    ] = Settings.cache,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may read responses, or '*'; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that clients must send; or set {TOKEN_VARIABLE}."),
    ] = None,
    grace: Annotated[
        float, typer.Option(help="Seconds from SIGTERM to exit, at most.")
    ] = Settings.grace,
    drain: Annotated[
        float, typer.Option(help="Of these, seconds spent not ready but still accepting requests.")
    ] = Settings.drain,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page", help="Serve a web page at /; it also exposes the artifact."
        ),
    ] = Settings.page,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="Log one line of JSON a request.")
    ] = Settings.access_log,
) -> None:
    """Serve cats over HTTP; stop with Ctrl-C or SIGTERM, reload artifacts with SIGHUP."""
    from catgan.serve import require_serve_extra

    require_serve_extra()
    from catgan.serve.models import Models, load_generators
    from catgan.serve.server import listen
    from catgan.serve.server import serve as run_server
    from catgan.serve.service import Service

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

    def load(previous: Models | None) -> Models:
        return Models.create(load_generators(paths), previous)

    # Listening comes first: an address in use is reported before the slow load of the models.
    listener = listen(host, port)
    with kept_memory():  # weights in huge pages: addresses are faster to translate
        models = load(None)
    service = Service(models, settings)
    bound_port = listener.getsockname()[1]
    url_host = f"[{host}]" if ":" in host else host

    def announce() -> None:
        for line in (
            f"models   {', '.join(service.models.by_name)}",
            f"workers  {settings.workers}",
            f"serving  http://{url_host}:{bound_port}/",
        ):
            typer.echo(line, err=True)  # stdout is the access log

    run_server(service, listener, load, announce)


def _read_token(path: Path | None) -> str | None:
    """Return the token in the file `path`, else in the environment, else None.

    There is no option for the token itself: other users can see a process's arguments.

    Raises:
        CatganError: the file cannot be read or is empty, or both sources are given.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    if os.environ.get(TOKEN_VARIABLE):
        raise CatganError(f"--token-file and {TOKEN_VARIABLE} are both set: use one")
    try:
        with path.open("rb") as file:
            token = file.read(_MAX_TOKEN_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII"
        raise CatganError(f"{path}: cannot be read ({reason}): name a file with a token") from None
    if not token:
        raise CatganError(f"{path}: is empty: write a token into it")
    return token
