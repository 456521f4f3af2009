from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from catgan.data.reading import images
from catgan.data.reading.images import ImageRejected, center_square, decode, quiet_pillow, resize


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_are_exact(pixels, form):
    decoded = decode(encode(Image.fromarray(pixels), form))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_lossless_webp_is_exact(pixels):
    data = encode(Image.fromarray(pixels), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode(data), pixels)


# What each EXIF orientation means: how the stored array becomes the upright one (EXIF 2.3, 4.6.4).
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_orientation_of_lossless_formats(pixels, orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(Image.fromarray(pixels), form, exif=exif, **options)
    np.testing.assert_array_equal(decode(data), UPRIGHT[orientation](pixels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_jpeg(orientation):
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32] = 255  # the top left quarter is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(Image.fromarray(stored), "JPEG", quality=95, exif=exif))
    expected = UPRIGHT[orientation](stored)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 4


def test_16_bit_gray_is_scaled_not_clipped():
    values = np.array([0, 128, 257, 32768, 65279, 65535], dtype=">u2")
    decoded = decode(png(6, 1, 16, 0, b"\0" + values.tobytes()))
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255]


def test_16_bit_color_is_scaled():
    values = np.array([0, 32768, 65535], dtype=">u2")
    decoded = decode(png(1, 1, 16, 2, b"\0" + values.tobytes()))
    assert decoded[0, 0].tolist() == [0, 128, 255]


def test_16_bit_tiff():
    values = np.array([[0, 32768, 65535]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0, 0.5, 1]]), [0, 128, 255]),
        (np.float32([[0, 100, 255]]), [0, 100, 255]),
        (np.int32([[0, 100, 255]]), [0, 100, 255]),
        (np.int32([[0, 32768, 65535]]), [0, 128, 255]),
    ],
)
def test_deep_tiff(values, expected):
    assert decode(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("value", [np.nan, -5.0, 1e9])
def test_floats_outside_the_usual_ranges_are_rejected(value):
    values = np.float32([[0, value]])
    with pytest.raises(ImageRejected, match="range"):
        decode(encode(Image.fromarray(values), "TIFF"))


def test_alpha_goes_over_white():
    stored = np.array([[[200, 0, 100, 0], [200, 0, 100, 128], [200, 0, 100, 255]]], np.uint8)
    decoded = decode(encode(Image.fromarray(stored), "PNG"))
    np.testing.assert_allclose(decoded[0], [[255] * 3, [227, 127, 177], [200, 0, 100]], atol=1)


def test_gray_alpha_goes_over_white():
    stored = Image.merge("LA", (Image.new("L", (2, 1), 0), Image.new("L", (2, 1), 51)))
    assert decode(encode(stored, "PNG"))[0, 0].tolist() == [204, 204, 204]


def test_palette_with_transparency():
    stored = Image.new("P", (3, 1))
    stored.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    stored.putdata([0, 1, 2])
    decoded = decode(encode(stored, "PNG", transparency=bytes([0, 255, 255])))
    assert decoded[0].tolist() == [[255, 255, 255], [40, 50, 60], [70, 80, 90]]


def test_one_bit():
    stored = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode(encode(stored, "PNG"))[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_cmyk_jpeg():
    # No ink is white; full cyan lacks red. Pillow writes the Adobe marker, that is, inverted.
    plain = Image.merge("CMYK", [Image.new("L", (16, 16), ink) for ink in (255, 0, 0, 0)])
    data = encode(plain, "JPEG", quality=95)
    assert b"Adobe" in data
    red, green, blue = decode(data)[8, 8]
    assert red < 30
    assert green > 225
    assert blue > 225


def test_first_frame_of_animations():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encode(frames[0], form, save_all=True, append_images=frames[1:])
        red, _, blue = decode(data)[4, 4].astype(int)
        assert red > 240, form
        assert blue < 15, form


def linear_profile() -> bytes:
    """Return a linear RGB profile with the primaries of sRGB, whose conversion is known."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for entry in range(count):
        tag, offset, length = struct.unpack_from(">4sII", profile, 132 + 12 * entry)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"curv" + bytes(8)  # zero entries: the identity
            profile[offset : offset + len(curve)] = curve
            struct.pack_into(">I", profile, 132 + 12 * entry + 8, len(curve))
        if tag == b"desc":
            position = profile.index("sRGB".encode("utf-16-be"), offset, offset + length)
            profile[position : position + 8] = "flat".encode("utf-16-be")
    return bytes(profile)


def test_color_profile_is_converted_to_srgb():
    stored = np.full((4, 4, 3), 55, np.uint8)
    decoded = decode(encode(Image.fromarray(stored), "PNG", icc_profile=linear_profile()))
    # IEC 61966-2-1: a linear 55/255 is 1.055 * 0.2157 ** (1 / 2.4) - 0.055 = 0.502.
    np.testing.assert_allclose(decoded, 128, atol=1)


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200, linear_profile()[:300]])
def test_broken_profile_is_ignored(pixels, profile):
    data = encode(Image.fromarray(pixels), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode(data), pixels)


def test_color_profile_of_a_gray_image_is_ignored():
    stored = Image.new("L", (4, 4), 100)
    assert decode(encode(stored, "PNG", icc_profile=linear_profile()))[0, 0].tolist() == [100] * 3


def test_pixel_limit_is_checked_before_decoding(monkeypatch):
    forms = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
    files = [encode(Image.new("RGB", (11, 10)), form) for form in forms]
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for data in files:
        with pytest.raises(ImageRejected, match="too large"):
            decode(data)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_webp_size_from_every_kind_of_header(options):
    data = encode(Image.new("RGB", (300, 17)), "WEBP", **options)
    assert images._webp_size(data) == (300, 17)


def test_truncated_files_never_crash():
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        data = encode(noisy, form)
        reasons = []
        for length in range(0, len(data), max(1, len(data) // 60)):
            try:
                decode(data[:length])
            except ImageRejected as error:
                reasons.append(error.reason)
        assert len(reasons) >= 55, form
        assert all(0 < len(reason) < 80 and reason.isprintable() for reason in reasons)


def test_any_damaged_byte_of_a_png_is_detected(pixels):
    # Pillow alone decodes some of these as black.
    data = encode(Image.fromarray(pixels), "PNG")
    for position in range(8, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(ImageRejected, match="PNG"):
            decode(bytes(damaged))


def test_random_damage_never_crashes():
    rng = np.random.default_rng(2)
    base = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        data = np.frombuffer(encode(base, form), np.uint8)
        for _ in range(60):
            damaged = data.copy()
            damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
            try:
                decoded = decode(damaged.tobytes())
            except ImageRejected:
                continue
            assert decoded.dtype == np.uint8
            assert decoded.ndim == 3


def test_only_supported_decoders_are_used(monkeypatch):
    opened = []
    monkeypatch.setattr(Image, "open", lambda *_, formats: opened.extend(formats) or 1 / 0)
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"%!PS"):
        with pytest.raises(ImageRejected):
            decode(start + bytes(40))
    assert opened == ["JPEG", "PNG", "GIF", "TIFF", "BMP"]


def test_nothing_is_printed():
    script = """
import io, numpy as np
from PIL import Image
from catgan.data.reading.images import ImageRejected, decode
rng = np.random.default_rng(0)
noisy = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
for form, options in (("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
                      ("TIFF", {"compression": "tiff_adobe_deflate"}), ("JPEG", {}), ("PNG", {})):
    buffer = io.BytesIO()
    noisy.save(buffer, form, **options)
    data = np.frombuffer(buffer.getvalue(), np.uint8)
    for _ in range(60):
        damaged = data.copy()
        damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
        for case in (damaged.tobytes(), damaged[: len(damaged) // 2].tobytes()):
            try:
                decode(case)
            except ImageRejected:
                pass
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", script], capture_output=True)
    assert done.returncode == 0
    assert done.stdout + done.stderr == b""


def test_quiet_pillow_restores_the_filters_for_any_order_of_threads():
    before = list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_pillow():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with quiet_pillow():
        thread.start()
        entered.wait()
    assert list(warnings.filters) != before  # the other thread is still inside
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(4, 9, (2, 0, 6, 4)), (9, 4, (0, 2, 4, 6)), (5, 5, (0, 0, 5, 5)), (4, 7, (1, 0, 5, 4))],
)
def test_center_square(height, width, box):
    array = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    square, found = center_square(array)
    assert found == box
    left, top, right, bottom = box
    np.testing.assert_array_equal(square, array[top:bottom, left:right])


def lanczos_weights(old: int, new: int) -> np.ndarray:
    """Return antialiased Lanczos-3 as a matrix, from its definition."""
    scale = old / new
    centers = (np.arange(new)[:, None] + 0.5) * scale
    distance = (np.arange(old) + 0.5 - centers) / scale
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("old", [100, 256, 333])
def test_resize_is_antialiased_lanczos(old):
    array = np.random.default_rng(3).integers(0, 256, (old, old, 3), dtype=np.uint8)
    weights = lanczos_weights(old, 64)
    # Pillow resamples rows first and rounds to 8 bits between the passes.
    across = np.clip(np.rint(np.einsum("ox,yxc->yoc", weights, array.astype(float))), 0, 255)
    expected = np.clip(np.einsum("oy,yxc->oxc", weights, across), 0, 255)
    result = resize(array, 64)
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result, expected, atol=1.01)


def test_resize_to_the_same_size_changes_nothing(pixels):
    square = np.ascontiguousarray(pixels[:5, :5])
    np.testing.assert_array_equal(resize(square, 5), square)
