"""Decode the bytes of a photo into an sRGB array; reject everything else with a reason.

A file is recognized by its first bytes, never by its name, and passed to exactly one Pillow
decoder. So decoders with a history of vulnerabilities (EPS and others) are never reached.
"""

from __future__ import annotations

import ctypes
import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import ExifTags, Image, ImageCms

# 67 million pixels: more than a 61-megapixel full-frame camera; about 0.7 GB of memory at peak.
MAX_PIXELS = 64 * 2**20
# CMYK press profiles reach 2 MiB.
MAX_PROFILE_BYTES = 4 * 2**20

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SUPPORTED = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)

_CONVERT = "convert it to JPEG or PNG first"
_UNSUPPORTED = (
    (b"%!PS", f"a PostScript (EPS) file: {_CONVERT}"),
    (b"\xc5\xd0\xd3\xc6", f"a PostScript (EPS) file: {_CONVERT}"),
    (b"%PDF", f"a PDF file: {_CONVERT}"),
    (b"8BPS", f"a Photoshop file: {_CONVERT}"),
    (b"\xff\x0a", f"a JPEG XL image: {_CONVERT}"),
    (b"\0\0\0\x0cJXL ", f"a JPEG XL image: {_CONVERT}"),
    (b"\0\0\0\x0cjP  ", f"a JPEG 2000 image: {_CONVERT}"),
    (b"\xff\x4f\xff\x51", f"a JPEG 2000 image: {_CONVERT}"),
    (b"\0\0\x01\0", "an icon file, not a photo"),
    (b"\x1a\x45\xdf\xa3", "a video, not an image"),
    (b"PK\x03\x04", "an archive, not an image: unpack it first"),
    (b"PK\x05\x06", "an archive, not an image: unpack it first"),
    (b"\x1f\x8b", "an archive, not an image: unpack it first"),
    (b"BZh", "an archive, not an image: unpack it first"),
    (b"\xfd7zXZ\0", "an archive, not an image: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "an archive, not an image: unpack it first"),
    (b"Rar!", "an archive, not an image: unpack it first"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# libtiff, inside Pillow, prints errors to stderr; they are raised as exceptions as well. Turn the
# printing off where the library can be accessed.
with suppress(AttributeError, OSError):
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)

# Pillow logs some warnings, which Python prints if logging is not configured.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageRejected(ValueError):  # noqa: N818 - a result for a file, not an error of the program
    """A file is not a usable image; `reason` says why in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(data: bytes) -> np.ndarray:
    """Decode a photo into H x W x 3 uint8 sRGB, upright, with transparency composited over white.

    Supports JPEG, PNG, WebP, BMP, GIF and TIFF; of an animation, it returns the first frame. An
    embedded color profile is converted to sRGB; an unusable one is ignored, as browsers do.

    Raises `ImageRejected` for other formats, more than `MAX_PIXELS` pixels, and truncated or
    damaged data. Safe to call from several threads.
    """
    file_format = _recognize(data)
    if file_format == "WEBP":
        _check_size(_webp_size(data))  # the WebP decoder allocates its canvas on opening
    with quiet_pillow():
        try:
            with Image.open(io.BytesIO(data), formats=[file_format]) as image:
                _check_size(image.size)
                if file_format == "PNG":
                    _check_png(data)
                orientation = _orientation(image)
                image.load()
                if file_format == "TIFF":
                    orientation = 1  # Pillow applies the orientation of a TIFF on loading
                return np.asarray(_to_srgb(_apply_orientation(image, orientation)))
        except ImageRejected:
            raise
        except Image.DecompressionBombError as error:
            raise ImageRejected(_too_large()) from error
        except MemoryError as error:
            raise ImageRejected("not enough memory to decode it") from error
        # On hostile files Pillow raises nearly any type (struct.error, KeyError, SyntaxError, ...).
        except Exception as error:
            if isinstance(error, EOFError) or "truncated" in str(error).lower():
                raise ImageRejected(f"truncated {file_format} file") from error
            raise ImageRejected(f"damaged {file_format} file") from error


def center_square(array: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Return the largest centered square of an H x W x 3 image, as a view, and its box.

    The box is (left, top, right, bottom) in pixels, right and bottom exclusive. If the margin is
    odd, the extra pixel is at the right or the bottom.
    """
    height, width = array.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return array[top : top + side, left : left + side], (left, top, left + side, top + side)


def resize(array: np.ndarray, size: int) -> np.ndarray:
    """Resample an H x W x 3 uint8 image to size x size with Pillow's antialiased Lanczos filter.

    The filter is widened by the scale factor and covers every source pixel (no reducing gap, no
    JPEG draft mode): such shortcuts change FID by points (Parmar et al., "On aliased resizing",
    CVPR 2022).
    """
    if array.shape[:2] == (size, size):
        return np.ascontiguousarray(array)
    image = Image.fromarray(np.ascontiguousarray(array))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_saved = warnings.catch_warnings()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings while any thread is inside.

    `warnings.catch_warnings` restores the wrong filters if threads leave out of order. So the first
    thread to enter saves the filters, and the last to leave restores them.
    """
    global _quiet_users, _quiet_saved
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_saved = warnings.catch_warnings()
            _quiet_saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_saved.__exit__(None, None, None)


def _recognize(data: bytes) -> str:
    """Return Pillow's name of a supported format; raise `ImageRejected` for any other file."""
    if not data:
        raise ImageRejected("empty file")
    if data[:4] in (b"II*\0", b"MM\0*") and data[8:10] == b"CR":
        raise ImageRejected(f"a camera raw file: {_CONVERT}")
    for magic, file_format in _SUPPORTED:
        if data.startswith(magic):
            return file_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, reason in _UNSUPPORTED:
        if data.startswith(magic):
            raise ImageRejected(reason)
    if data[4:8] == b"ftyp":
        brands = data[8:12] + data[16:32]
        if b"avif" in brands or b"avis" in brands:
            raise ImageRejected(f"an AVIF image: {_CONVERT}")
        if any(brand in brands for brand in _HEIC_BRANDS):
            raise ImageRejected(f"a HEIC image: {_CONVERT}")
        raise ImageRejected("a video, not an image")
    if data[257:262] == b"ustar":
        raise ImageRejected("an archive, not an image: unpack it first")
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml", b"<!--")) and b"<svg" in start:
        raise ImageRejected(f"an SVG drawing: {_CONVERT}")
    if start.startswith((b"<!doctype html", b"<html")):
        raise ImageRejected("a web page, not an image")
    if not data.strip(b"\0"):
        raise ImageRejected("nothing but zero bytes")
    if not any(byte < 9 for byte in data[:1024]):
        raise ImageRejected("text, not an image")
    raise ImageRejected("not an image of a known format")


def _too_large() -> str:
    return f"too large: more than {MAX_PIXELS / 1e6:.0f} megapixels"


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageRejected(f"invalid size {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageRejected(f"{_too_large()} ({width} x {height})")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the canvas width and height from a WebP header (RFC 9649, sections 2.5 to 2.7)."""
    try:
        if data[12:16] == b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            return width, int.from_bytes(data[27:30], "little") + 1
        if data[12:16] == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = struct.unpack_from("<HH", data, 26)
    except struct.error as error:
        raise ImageRejected("truncated WEBP file") from error
    return width & 0x3FFF, height & 0x3FFF


def _check_png(data: bytes) -> None:
    """Verify the checksums of the critical chunks (PNG specification, section 5.3).

    Pillow skips those of the pixel data and decodes what it cannot inflate as black.
    """
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        critical = not kind[0] & 0x20  # a lower-case first letter marks an optional chunk
        if critical and zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(
            data[end : end + 4]
        ):
            raise ImageRejected("damaged PNG file")
        if kind == b"IEND":
            return
        position = end + 4
    raise ImageRejected("truncated PNG file")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or EXIF cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF: the image may still be valid
        return 1
    return value if isinstance(value, int) else 1


def _apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB in sRGB, with alpha composited over white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        color, alpha = _convert_deep_gray(image)
    elif image.has_transparency_data:
        layers = image.convert("RGBA")
        color, alpha = layers.convert("RGB"), layers.getchannel("A")
    else:
        color = image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")
        alpha = None
    color = _apply_profile(color, profile).convert("RGB")
    if alpha is None:
        return color
    white = Image.new("RGB", color.size, (255, 255, 255))
    white.paste(color, mask=alpha)
    return white


def _convert_deep_gray(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Scale gray of more than 8 bits (modes I;16, I, F) to 8 bits; return it and color-key alpha.

    Pillow's own conversion clips these modes at 255 instead of scaling them.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))
        white = 4095 if tuple(np.atleast_1d(bits)) == (12,) else 65535
    elif image.mode == "I" and low >= 0 and high <= 65535:
        white = 255 if high <= 255 else 65535
    elif image.mode == "F" and low >= 0 and high <= 255:  # false for NaN
        white = 1 if high <= 1 else 255
    else:
        raise ImageRejected("gray values outside any usual range")
    gray = np.rint(values.astype(np.float64) * (255 / white)).clip(0, 255).astype(np.uint8)
    key = image.info.get("transparency")
    alpha = Image.fromarray(np.uint8(255) * (values != key)) if isinstance(key, int) else None
    return Image.fromarray(gray), alpha


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from an embedded ICC profile to sRGB; return the image unchanged if that fails."""
    if not profile or len(profile) > MAX_PROFILE_BYTES:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        spaces = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
        if source.profile.xcolor_space.strip() != spaces[image.mode]:
            return image
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return image  # a damaged profile: keep the pixels
    return image if converted is None else converted
