"""Images and hostile files, created for each test."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encode(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(seed: int, width: int = 80, height: int = 72, mode: str = "RGB") -> Image.Image:
    """Return a smooth random image, which lossy formats change little."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """Encode a PNG of a kind that Pillow cannot write; `rows` includes the filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty valid images of several shapes and formats in nested folders."""
    folder = tmp_path / "photos"
    for index in range(40):
        subfolder = folder / f"{index % 3}"
        subfolder.mkdir(parents=True, exist_ok=True)
        form = ("png", "jpeg", "webp", "bmp")[index % 4]
        image = picture(index, 40 + 5 * (index % 7), 40 + 7 * (index % 5))
        (subfolder / f"{index:02}.{form}").write_bytes(encode(image, form))
    return folder


@pytest.fixture
def hostile_files(tmp_path: Path) -> tuple[Path, set[str], dict[str, str]]:
    """A folder of odd files, the names to keep, and for each other name a part of the reason."""
    folder = tmp_path / "hostile_files"
    folder.mkdir()
    good: dict[str, bytes] = {
        "plain.jpg": encode(picture(1), "JPEG", quality=92),
        "gray.png": encode(picture(2, mode="L"), "PNG"),
        "onebit.png": encode(picture(3).convert("1"), "PNG"),
        "grayalpha.png": encode(picture(4).convert("LA"), "PNG"),
        "palette.gif": encode(picture(5).convert("P"), "GIF"),
        "palette-alpha.png": encode(picture(6).convert("P"), "PNG", transparency=bytes(range(256))),
        "alpha.webp": encode(picture(7).convert("RGBA"), "WEBP"),
        "cmyk.jpg": encode(picture(8).convert("CMYK"), "JPEG"),
        "deep-gray.png": png(64, 64, 16, 0, (b"\0" + b"\x80\x00" * 64) * 64),
        "deep-color.png": png(64, 64, 16, 2, (b"\0" + b"\xff\xff\x80\x00\0\0" * 64) * 64),
        "float.tif": encode(Image.fromarray(np.full((64, 64), 0.5, np.float32)), "TIFF"),
        "animated.gif": encode(
            picture(9), "GIF", save_all=True, append_images=[picture(10), picture(11)]
        ),
        "animated.webp": encode(picture(12), "WEBP", save_all=True, append_images=[picture(13)]),
        "no-extension": encode(picture(14), "PNG"),
        "png-named.jpg": encode(picture(15), "PNG"),
        "bad-profile.png": encode(picture(16), "PNG", icc_profile=b"not a profile" * 20),
        "bad-exif.jpg": encode(picture(17), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "photo-with-zip-appended.jpg": encode(picture(18), "JPEG") + b"PK\x03\x04" + bytes(99),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", good["gray.png"])
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))
    bad: dict[str, tuple[bytes, str]] = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is no picture\n", "text"),
        "zeros.png": (bytes(500), "zero"),
        "random.png": (bytes(range(1, 250)) * 9, "not an image"),
        "truncated.jpg": (encode(noisy, "JPEG")[:-900], "truncated"),
        "truncated.png": (encode(noisy, "PNG")[:-900], "truncated"),
        "truncated.webp": (encode(noisy, "WEBP")[:-300], "WEBP"),
        "truncated.gif": (encode(noisy, "GIF")[:-900], "GIF"),
        "truncated.bmp": (encode(noisy, "BMP")[:-900], "truncated"),
        "truncated.tif": (encode(noisy, "TIFF", compression="tiff_lzw")[:-900], "TIFF"),
        "only-magic.jpg": (b"\xff\xd8\xff\xe0", "JPEG"),
        "flipped-bits.png": (
            encode(noisy, "PNG").replace(b"IDAT", b"IDAT\x55", 1), "PNG"),
        "bomb.png": (
            b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", huge)
            + png_chunk(b"IDAT", zlib.compress(bytes(1000))), "too large"),
        "bomb.gif": (b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
                     + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;", "too large"),
        "bomb.webp": (
            b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\x3f\0" * 2 + bytes(24),
            "too large"),
        "tiny.png": (encode(picture(1, 3, 3), "PNG"), "too small: 3 x 3"),
        "narrow.png": (encode(picture(1, 900, 31), "PNG"), "too small: 900 x 31"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        "eps-named.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        "drawing.svg": (b"<?xml version='1.0'?>\n<svg xmlns='x'></svg>", "SVG"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "HEIC"),
        "photo.avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(50), "AVIF"),
        "film.mp4": (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(50), "video"),
        "paper.pdf": (b"%PDF-1.7\n", "PDF"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "web page"),
        "layers.psd": (b"8BPS\0\x01" + bytes(60), "Photoshop"),
        "raw.cr2": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(60), "raw"),
        "inner.zip": (packed.getvalue(), "archive"),
        "name\nwith\x1b[31mescape\x07.jpg": (b"hm", "text"),
    }  # fmt: skip
    for name, content in good.items():
        (folder / name).write_bytes(content)
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    reasons = {name: reason for name, (_, reason) in bad.items()}
    reasons["name\N{REPLACEMENT CHARACTER}withescape\N{REPLACEMENT CHARACTER}.jpg"] = reasons.pop(
        "name\nwith\x1b[31mescape\x07.jpg"
    )
    kept = set(good)
    # Names that are not UTF-8, links and pipes, where the system supports them.
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inside.png").write_bytes(encode(picture(30), "PNG"))
    kept.add("folder.jpg/inside.png")
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(
            encode(picture(31), "PNG")
        )
        kept.add("caf\N{REPLACEMENT CHARACTER}.png")
    except OSError:
        pass
    outside = tmp_path / "outside.png"
    outside.write_bytes(encode(picture(32), "PNG"))
    (folder / "link-out.png").symlink_to(outside)
    (folder / "link-broken.png").symlink_to("nowhere.png")
    (folder / "link-loop").symlink_to(folder)
    (folder / "link-self").symlink_to("link-self")
    (folder / "link-in.png").symlink_to("plain.jpg")
    reasons |= {
        "link-out.png": "outside",
        "link-broken.png": "broken",
        "link-loop": "link to a folder",
        "link-self": "broken",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
        reasons["pipe.jpg"] = "not a regular file"
    big = folder / "sparse.bmp"
    with big.open("wb") as file:
        file.write(b"BM")
        file.truncate(2**31)
    reasons["sparse.bmp"] = "MiB"
    # Skipped without being reported.
    (folder / ".hidden.png").write_bytes(good["gray.png"])
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._plain.jpg").write_bytes(b"x")
    return folder, kept, reasons
