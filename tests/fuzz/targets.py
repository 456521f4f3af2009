"""Everything in catgan that parses what somebody may hand over, each as one function of bytes.

A target takes the bytes of one file (or one argument) and a directory of its own, and does with
them what a command does. It may come back, or raise `CatganError`; `check` calls one and sees to
that. `seeds` are sound inputs, from which `test_parsers.py` and `with_atheris.py` set out.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import lzma
import socket
import struct
import tarfile
import typing
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import UnionType

import numpy as np
from PIL import Image

from catgan.errors import CatganError

MOST_CHARACTERS = 4_000  # of an error: a line that a person may still be asked to read


@dataclasses.dataclass(frozen=True)
class Target:
    """One parser; `text`: what it is given is JSON, TOML or words rather than a binary file."""

    name: str
    parse: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    text: bool = False


def check(target: Target, data: bytes, place: Path) -> None:
    """Parse `data` in the directory `place`; AssertionError for an error that is not one line.

    Whatever else comes out of the parser is a finding, and comes out of here.
    """
    try:
        target.parse(data, place)
    except CatganError as error:
        check_line(str(error))


def check_line(line: str) -> None:
    """AssertionError unless a person can be shown `line` on one line of a terminal."""
    assert line.isprintable(), f"not one printable line: {line!r}"
    assert 10 < len(line) <= MOST_CHARACTERS, f"{len(line)} characters: {line[:200]}"


# -- configurations, and what is written on the command line ------------------------------------


def _config(data: bytes, place: Path) -> None:
    from catgan.config import from_toml, to_toml
    from catgan.runs.directory import RunDirectory

    (place / "config.toml").write_bytes(data)
    config = RunDirectory.open(place).config()
    assert from_toml(to_toml(config), "what was written") == config


def _config_seeds() -> list[bytes]:
    from catgan.config import Config, load_recipe, recipe_names, recipe_text, to_toml

    texts = [recipe_text(name) for name in recipe_names()]
    return [
        text.encode() for text in [to_toml(Config()), to_toml(load_recipe("dcgan-128")), *texts]
    ]


def _set(data: bytes, place: Path) -> None:
    from catgan.config import load_recipe, override

    override(load_recipe("lsgan-64"), _words(data))


def _seed_range(data: bytes, place: Path) -> None:
    from catgan.generation.seeds import check_seeds, parse_seeds

    (word,) = _words(data.replace(b"\n", b" "))
    assert len(check_seeds(parse_seeds(word)))


def _gates(data: bytes, place: Path) -> None:
    from catgan.data.faces.gates import Gates, with_settings

    with_settings(Gates(), _words(data))


def _words(data: bytes) -> list[str]:
    """Arguments as the system hands them over: any bytes but 0, those that are no UTF-8 escaped."""
    return data.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")


# -- photos and where they come from ------------------------------------------------------------


def _image(data: bytes, place: Path) -> None:
    from catgan.data.reading.images import MAX_PIXELS, ImageRejected, decode

    try:
        image = decode(_with_png_sums(data))
    except ImageRejected as verdict:
        check_line(f"{'photo':10}: {verdict.reason}")
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS


def _with_png_sums(data: bytes) -> bytes:
    """`data` with the sums of a PNG's chunks put right, or no change to it gets past the first."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, position = bytearray(data), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", out, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(out)


@cache
def _image_seeds() -> list[bytes]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((20, 16), Image.Resampling.BICUBIC)
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: list[tuple[str, str, dict[str, typing.Any]]] = [
        ("JPEG", "RGB", {"exif": exif}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("JPEG", "L", {"icc_profile": profile}),
        ("PNG", "RGB", {"icc_profile": profile, "exif": exif}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "LA", {}),
        ("PNG", "1", {}),
        ("GIF", "P", {"save_all": True, "append_images": [image.convert("P")]}),
        ("WEBP", "RGB", {"exif": exif}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw", "exif": exif}),
        ("TIFF", "CMYK", {"compression": "jpeg"}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "F", {}),
        ("TIFF", "RGB", {}),
    ]
    found = []
    for form, mode, options in ways:
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, form, **options)
        found.append(buffer.getvalue())
    return found


def _read_source(path: Path) -> None:
    from catgan.data.reading.images import ImageRejected
    from catgan.data.reading.sources import open_source

    with open_source(path) as files:
        for file in files:
            check_line(f"{'photo':10}: {file.name}")
            try:
                file.read()
            except ImageRejected as verdict:
                check_line(f"{'photo':10}: {verdict.reason}")


def _zip(data: bytes, place: Path) -> None:
    (place / "photos.zip").write_bytes(data)
    _read_source(place / "photos.zip")


def _zip_seeds() -> list[bytes]:
    found = []
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            archive.comment = b"cats"
            archive.writestr("one/kätzchen.png", bytes(300))
            archive.writestr("two.png", b"no picture")
            with archive.open("three.png", "w", force_zip64=True) as member:
                member.write(b"large")
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "two.png")
        found.append(buffer.getvalue())
    return found


def _tar(data: bytes, place: Path) -> None:
    (place / "photos.tar").write_bytes(_with_tar_sums(data))
    _read_source(place / "photos.tar")


def _with_tar_sums(data: bytes) -> bytes:
    """`data` with the sums of a tar's headers put right."""
    out = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            out[start + 148 : start + 156] = b" " * 8
            out[start + 148 : start + 156] = b"%06o\0 " % sum(out[start : start + 512])
    return bytes(out)


def _tar_seeds() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        headers = {"comment": "cats"} if form == tarfile.PAX_FORMAT else None
        with tarfile.open(fileobj=buffer, mode="w", format=form, pax_headers=headers) as archive:
            long = "a" * (90 if form == tarfile.USTAR_FORMAT else 120)
            for name, content in (("one.png", b"picture"), (f"{long}/kätzchen.png", b"another")):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(content), 1
                if form == tarfile.PAX_FORMAT:
                    info.pax_headers = {"GNU.sparse.name": name, "path": name, "size": "7"}
                archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "one.png"
            archive.addfile(link)
        found.append(buffer.getvalue().rstrip(b"\0") + bytes(1024))
    # Old GNU sparse headers, which tarfile follows from block to block.
    sparse = bytearray(found[1])
    sparse[156:157] = tarfile.GNUTYPE_SPARSE
    plain = found[2]
    return [
        *found,
        _with_tar_sums(bytes(sparse)),
        gzip.compress(plain, mtime=0),
        lzma.compress(plain),
    ]


def _list(data: bytes, place: Path) -> None:
    (place / "photos.txt").write_bytes(data)
    (place / "one.png").write_bytes(b"picture")
    _read_source(place / "photos.txt")


def _dataset(data: bytes, place: Path) -> None:
    (place / "dataset.json").write_bytes(data)
    (place / "images.npy").write_bytes(_pixels())
    _open_dataset(place)


def _pixel_file(data: bytes, place: Path) -> None:
    (place / "dataset.json").write_bytes(_dataset_seeds()[0])
    (place / "images.npy").write_bytes(data)
    _open_dataset(place)


def _open_dataset(place: Path) -> None:
    from catgan.data.dataset.dataset import Dataset

    dataset = Dataset.open(place)
    assert len(dataset) == len(dataset.indices("train")) + len(dataset.indices("holdout"))
    texts = [dataset.name, dataset.license, dataset.credit]
    texts += [record.source for record in dataset.records]
    texts += [text for rejected in dataset.rejected for text in (rejected.name, rejected.reason)]
    texts += [text for double in dataset.duplicates for text in (double.name, double.kept)]
    for text in texts:  # they go to the terminal and onto pages
        assert text.isprintable(), repr(text)
    dataset.verify()


@cache
def _pixels() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 32, 32, 3), np.uint8))
    return buffer.getvalue()


def _dataset_seeds() -> list[bytes]:
    pixels = hashlib.sha256(bytes(2 * 32 * 32 * 3)).hexdigest()
    document = {
        "format": "catgan-dataset",
        "version": 2,
        "name": "cats",
        "resolution": 32,
        "count": 2,
        "identity": pixels,
        "license": "MIT",
        "credit": "Nobody",
        "tool": "catgan 0.1.0",
        "images": [
            {"source": name, "sha256": pixels, "crop": [0, 0, 40, 40], "split": split}
            for name, split in (("one.png", "train"), ("two.png", "holdout"))
        ],
        "rejected": [{"name": "three.png", "reason": "text, not an image"}],
        "duplicates": [{"name": "four.png", "kept": "one.png"}],
    }
    return [json.dumps(document).encode()]


def _decisions(data: bytes, place: Path) -> None:
    from catgan.data.faces.decisions import read_decisions, write_decisions

    (place / "decisions.json").write_bytes(data)
    decisions = read_decisions(place / "decisions.json")
    write_decisions(place / "again.json", decisions)
    assert read_decisions(place / "again.json") == decisions


def _decisions_seeds() -> list[bytes]:
    document = {"format": "catgan-decisions", "version": 1, "decisions": {"ab:1": True, "c": False}}
    return [json.dumps(document).encode()]


_JOURNAL_KEY = {"version": 1}


def _journal(data: bytes, place: Path) -> None:
    from catgan.data.faces.journal import Journal

    head = json.dumps({"size": 8, **_JOURNAL_KEY}, sort_keys=True).encode()
    (place / "journal.jsonl").write_bytes(head + b"\n" + data)
    (place / "crops.bin").write_bytes(bytes(2 * 8 * 8 * 3))
    with Journal(place, 8, _JOURNAL_KEY) as journal:
        for photo in list(journal.found.values()):
            for face in photo.faces:
                with suppress(CatganError):
                    journal.crop(face)
        journal.add("another.jpg", "0" * 64, rejected="no face")


def _journal_seeds() -> list[bytes]:
    from catgan.data.faces.framing import Frame
    from catgan.data.faces.gates import Measures
    from catgan.data.faces.journal import FoundFace, FoundPhoto

    crop = zlib.crc32(bytes(8 * 8 * 3))
    face = FoundFace(
        Frame(**_example_fields(Frame)),
        (0, 0, 9, 9),
        Measures(**_example_fields(Measures)),
        0,
        crop,
    )
    photos = [
        FoundPhoto("one.jpg", "0" * 64, None, (face,)),
        FoundPhoto("two.jpg", "1" * 64, "not an image", ()),
    ]
    lines = [json.dumps(dataclasses.asdict(photo)).encode() + b"\n" for photo in photos]
    return [b"".join(lines)]


# -- runs and their checkpoints -----------------------------------------------------------------


def _run_files(data: bytes, place: Path) -> None:
    """run.json and log.jsonl: the former first, then a line of --, then the latter."""
    from catgan.runs.directory import RunDirectory

    facts, _, log = data.partition(b"\n--\n")
    (place / "run.json").write_bytes(facts)
    (place / "log.jsonl").write_bytes(log)
    run = RunDirectory(place)
    run.rewind(100)
    assert all(row["images"] <= 100 for row in run.rows())
    run.facts()


def _run_seeds() -> list[bytes]:
    facts = {"source": "photos", "dataset": {"name": "cats"}, "machine": {"threads": 2}}
    rows = [{"images": seen, "discriminator_loss": 0.5} for seen in (40, 80, 120)]
    return ["\n".join([json.dumps(facts), "--", *map(json.dumps, rows)]).encode() + b"\n"]


def _manifest(data: bytes, place: Path) -> None:
    tensors = _safetensors_seeds()[0]
    _load_checkpoint(place, data, tensors)


def _tensors(data: bytes, place: Path) -> None:
    _load_checkpoint(place, _manifest_of(data), data)


def _load_checkpoint(place: Path, manifest: bytes, tensors: bytes) -> None:
    import torch

    from catgan.config import from_table
    from catgan.runs.checkpoint import PARTS, CheckpointStore

    directory = place / "checkpoints" / "000000008"
    directory.mkdir(parents=True, exist_ok=True)
    (place / "checkpoints" / "latest").write_text(directory.name)
    (place / "checkpoints" / "best").write_text(directory.name)
    (directory / "manifest.json").write_bytes(manifest)
    for part in PARTS:
        (directory / f"{part}.safetensors").write_bytes(tensors)
    checkpoint = CheckpointStore(directory.parent).load("latest", check_line)
    assert isinstance(checkpoint.window.sums, list)
    from_table(checkpoint.config, "checkpoint")
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    # The seeds hold the one or the other: what fits neither way is rejected twice.
    for modules, players in (({"ema": network}, {}), ({}, {"generator": (network, optimizer)})):
        with suppress(CatganError):
            checkpoint.restore(modules, players)


def _manifest_seeds() -> list[bytes]:
    return [_manifest_of(_safetensors_seeds()[0])]


def _manifest_of(tensors: bytes) -> bytes:
    from catgan.config import Config
    from catgan.runs.checkpoint import PARTS, _manifest_checksum

    sums = {"sha256": hashlib.sha256(tensors).hexdigest(), "bytes": len(tensors)}
    manifest = {
        "format": 3,
        "images": 8,
        "score": 30.5,
        "config": dataclasses.asdict(Config()),
        "window": {"sums": [0.5, 1.5], "steps": 2},
        "files": dict.fromkeys(PARTS, sums),
    }
    return json.dumps(manifest | {"checksum": _manifest_checksum(manifest)}).encode()


@cache
def _safetensors_seeds() -> list[bytes]:
    import safetensors.torch
    import torch

    from catgan.runs.checkpoint import ADAM_QUANTITIES

    network = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.25)
    weights = network.state_dict()
    state = {
        f"generator/{name}/{quantity}": torch.zeros(()) if quantity == "step" else value * 0
        for name, value in weights.items()
        for quantity in ADAM_QUANTITIES
    }
    return [
        safetensors.torch.save(tensors)
        for tensors in (state, weights, {"half": torch.zeros(2, 0, dtype=torch.bfloat16)})
    ]


# -- artifacts and evaluations ------------------------------------------------------------------


def _artifact(data: bytes, place: Path) -> None:
    from catgan.generation.artifact import read_artifact
    from catgan.generation.card import parse_card

    path = place / "cats.onnx"
    path.write_bytes(data)
    _, document = read_artifact(path)
    for _, line in parse_card(document, str(path)).lines():
        assert line.isprintable(), repr(line)


def _model(data: bytes, place: Path) -> None:
    """The ONNX model of an artifact, sealed again."""
    from artifacts import card  # type: ignore[import-not-found]

    from catgan.generation.artifact import seal

    _artifact(seal(data, card()), place)


def _card(data: bytes, place: Path) -> None:
    """The card of an artifact, as its JSON, with the model's sum put in at its beginning."""
    from catgan.generation.artifact import CHECKSUM, KEY
    from catgan.generation.protobuf import encode_field

    model = _model_seeds()[0]
    total = f'{{"{CHECKSUM}": "{hashlib.sha256(model).hexdigest()}", '.encode()
    content = data.replace(b"{", total, 1)
    _artifact(
        model + encode_field(14, encode_field(1, KEY.encode()) + encode_field(2, content)), place
    )


def _artifact_seeds() -> list[bytes]:
    from artifacts import artifact  # type: ignore[import-not-found]

    return [artifact()]


@cache
def _model_seeds() -> list[bytes]:
    from artifacts import model, with_metadata  # type: ignore[import-not-found]

    return [model().SerializeToString(), with_metadata(model(), "made by", "another tool")]


def _card_seeds() -> list[bytes]:
    from artifacts import card  # type: ignore[import-not-found]

    scores = [{"line": "FD-lite2 30.1", "values": {"frechet": 30.1}, "fingerprint": {"split": "x"}}]
    training = {"hours": 1.25, "machine": "cpu, a processor, bfloat16"}
    cards = (card(), card(scores=scores), card(training=training))
    return [json.dumps(each).encode() for each in cards]


def _latents(data: bytes, place: Path) -> None:
    from catgan.generation.latents_file import read_latents, write_latents

    path = place / "z.safetensors"
    path.write_bytes(data)
    saved = read_latents(path)
    assert np.isfinite(saved.latents).all()
    write_latents(path, saved.latents, saved.generator_sha256)
    again = read_latents(path)
    assert np.array_equal(again.latents, saved.latents)
    assert again.generator_sha256 == saved.generator_sha256


def _latents_header(data: bytes, place: Path) -> None:
    """The JSON at the beginning of a file of latents, before numbers that would fit."""
    _latents(len(data).to_bytes(8, "little") + data + bytes(4 * 3 * 8), place)


@cache
def _latents_seeds() -> list[bytes]:
    import tempfile

    from catgan.generation.latents import latents
    from catgan.generation.latents_file import write_latents

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "z.safetensors"
        write_latents(path, latents(range(3), 8), "0123456789abcdef" * 4)
        return [path.read_bytes()]


def _latents_header_seeds() -> list[bytes]:
    data = _latents_seeds()[0]
    return [data[8 : 8 + int.from_bytes(data[:8], "little")]]


# -- weights to start from -----------------------------------------------------------------------


def _graph(data: bytes, place: Path) -> None:
    """The ONNX model of a projected generator, sealed again, of which nothing else is left."""
    from catgan.generation.artifact import seal

    _start_from(place, seal(data, _starting_card()))


def _starting_config(data: bytes, place: Path) -> None:
    """The configuration in the card, as its JSON: the networks that the graph's weights are of."""
    from catgan.generation.artifact import seal

    with suppress(ValueError, RecursionError):  # what is no JSON is a matter of the card's target
        config = json.loads(data)
        json.dumps(config, allow_nan=False).encode()
        _start_from(place, seal(_graph_seeds()[0], _starting_card() | {"config": config}))


def _weights(data: bytes, place: Path) -> None:
    """The safetensors beside an artifact."""
    from catgan.generation.artifact import seal

    (place / "cats.safetensors").write_bytes(data)
    _start_from(place, seal(_graph_seeds()[0], _starting_card()))


def _card_of(name: str) -> Callable[[bytes, Path], None]:
    """What `catgan info` does with a file of another framework."""

    def parse(data: bytes, place: Path) -> None:
        from catgan.generation.foreign import read_card

        path = place / name
        path.write_bytes(data)
        for _, line in read_card(path).lines():
            assert line.isprintable(), repr(line)

    return parse


def _keras_seeds() -> list[bytes]:
    from artifacts import card  # type: ignore[import-not-found]
    from foreign_files import keras_file  # type: ignore[import-not-found]

    return [keras_file(card())]


def _tflite_seeds() -> list[bytes]:
    from artifacts import card  # type: ignore[import-not-found]
    from foreign_files import tflite_file  # type: ignore[import-not-found]

    return [tflite_file(card())]


def _start_from(place: Path, artifact: bytes) -> None:
    import torch

    from catgan.networks.build import build_generator
    from catgan.training.starting_point import load_starting_point

    (place / "cats.onnx").write_bytes(artifact)
    starting = load_starting_point(str(place / "cats.onnx"), check_line)
    generator = build_generator(starting.network)
    generator.load_state_dict(starting.generator)
    with torch.no_grad():
        z = torch.ones(1, starting.network.latent_size)
        assert all(part.isfinite().all() for part in [*generator.parameters(), generator.eval()(z)])
    assert len(starting.sha256) == 64


def _starting_card() -> dict[str, typing.Any]:
    from artifacts import card  # type: ignore[import-not-found]

    config = json.loads(_starting_config_seeds()[0])
    return typing.cast(dict[str, typing.Any], card(config=config, directions=[]))


def _starting_config_seeds() -> list[bytes]:
    from catgan.config import Config
    from catgan.network_config import ProjectedConfig

    network = ProjectedConfig(32, latent_size=4, channels=2, maximum_channels=4)
    return [json.dumps(dataclasses.asdict(Config(network=network))).encode()]


@cache
def _starting_generator() -> typing.Any:
    import torch

    from catgan.config import Config, from_table
    from catgan.networks.build import build_generator

    config: Config = from_table(json.loads(_starting_config_seeds()[0]), "seed")
    torch.manual_seed(0)
    generator = build_generator(config.network, [2 * torch.rand(40, 3, 32, 32) - 1])
    with torch.no_grad():
        generator(torch.randn(64, config.network.latent_size))
    return generator.eval()


@cache
def _graph_seeds() -> list[bytes]:
    import torch

    from catgan.exporters.graph import float16_storage, float32_model

    model = float32_model(_starting_generator(), 4, torch.zeros(1, 4), (-1.0, 1.0))
    return [float16_storage(model).SerializeToString()]


def _weights_seeds() -> list[bytes]:
    import safetensors.torch

    from catgan.generation.artifact import CHECKSUM

    about = {CHECKSUM: hashlib.sha256(_graph_seeds()[0]).hexdigest()}
    state = _starting_generator().state_dict()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    return [
        safetensors.torch.save(each, metadata={"catgan": json.dumps(about)})
        for each in (halves, state)
    ]


def _evaluation(data: bytes, place: Path) -> None:
    from catgan.evaluation.fingerprint import parts
    from catgan.evaluation.results.read import read_evaluation

    path = place / "evaluation.json"
    path.write_bytes(data)
    evaluation = read_evaluation(path)
    path.write_bytes(evaluation.to_json().encode())
    assert read_evaluation(path) == evaluation
    for text in (evaluation.generated, evaluation.reals, *evaluation.notes):
        assert text.isprintable(), repr(text)
    for value in parts(evaluation.fingerprint).values():
        assert str(value).isprintable(), repr(value)


def _evaluation_seeds() -> list[bytes]:
    from catgan.evaluation.evaluate import Evaluation

    return [Evaluation(**_example_fields(Evaluation)).to_json().encode()]


def _example_fields(cls: type) -> dict[str, typing.Any]:
    return {name: _example(hint) for name, hint in typing.get_type_hints(cls).items()}


def _example(hint: typing.Any) -> typing.Any:
    """A value of an annotated type."""
    if isinstance(hint, UnionType):
        return _example(next(part for part in hint.__args__ if part is not type(None)))
    if typing.get_origin(hint) is tuple:
        return (_example(typing.get_args(hint)[0]),)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint(**_example_fields(hint))
    return {int: 3, float: 0.5, str: "text", bool: True}[hint]


# -- the review page ----------------------------------------------------------------------------


def _review(data: bytes, place: Path) -> None:
    """The body of a request to the review page's server, which must answer it, and the next one."""
    server = _review_server()
    start, secret = server.address.removeprefix("http://").split("/")[:2]
    host, _, port = start.partition(":")
    for body in (data, b'{"identity": "a", "kept": true}'):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = f"POST /{secret}/decide HTTP/1.1\r\nHost: {start}\r\nConnection: close\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = b""
            while chunk := connection.recv(2**16):
                answer += chunk
        assert answer.startswith((b"HTTP/1.0 200 ", b"HTTP/1.0 400 ")), answer[:200]
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert set(server.save()) <= {"a", "b"}


@dataclasses.dataclass(frozen=True)
class _Face:
    identity: str
    reason: str | None = None


@cache
def _review_server() -> typing.Any:
    """One server, of the faces "a" and "b", for all the inputs; it ends with the process."""
    import tempfile

    from catgan.data.faces.selection import CropSelector
    from catgan.review.server import ReviewServer

    def selector(decisions: dict[str, bool]) -> list[_Face]:
        return [_Face("a"), _Face("b")]

    place = Path(tempfile.mkdtemp())
    return ReviewServer(
        typing.cast(CropSelector, selector), {}, place / "decisions.json"
    ).__enter__()


# -- all of them --------------------------------------------------------------------------------


def _lines(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


TARGETS: tuple[Target, ...] = (
    Target("config", _config, _config_seeds, text=True),
    Target(
        "set",
        _set,
        _lines("training.batch_size=32", "optimizer.beta1=0.5\nloss.generator=mse", "recipe='x'"),
        text=True,
    ),
    Target("seeds", _seed_range, _lines("7", "0-63", "1,5,9-12", " 3 - 5 , 7"), text=True),
    Target("gates", _gates, _lines("cat=0.3", "enlarge=1\nsharpness=2e1"), text=True),
    Target("image", _image, _image_seeds),
    Target("zip", _zip, _zip_seeds),
    Target("tar", _tar, _tar_seeds),
    Target("list", _list, _lines("one.png\n# two.png\n\n/dev/zero\nthree\n"), text=True),
    Target("dataset", _dataset, _dataset_seeds, text=True),
    Target("pixels", _pixel_file, lambda: [_pixels()]),
    Target("decisions", _decisions, _decisions_seeds, text=True),
    Target("journal", _journal, _journal_seeds, text=True),
    Target("run", _run_files, _run_seeds, text=True),
    Target("manifest", _manifest, _manifest_seeds, text=True),
    Target("safetensors", _tensors, _safetensors_seeds),
    Target("artifact", _artifact, _artifact_seeds),
    Target("model", _model, _model_seeds),
    Target("card", _card, _card_seeds, text=True),
    Target("latents", _latents, _latents_seeds),
    Target("latents-header", _latents_header, _latents_header_seeds, text=True),
    Target("keras", _card_of("cats.keras"), _keras_seeds),
    Target("tflite", _card_of("cats.tflite"), _tflite_seeds),
    Target("graph", _graph, _graph_seeds),
    Target("starting-config", _starting_config, _starting_config_seeds, text=True),
    Target("weights", _weights, _weights_seeds),
    Target("evaluation", _evaluation, _evaluation_seeds, text=True),
    Target("review", _review, _lines('{"identity": "a", "kept": false}'), text=True),
)
