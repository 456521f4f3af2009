"""Format numbers for people."""

from __future__ import annotations


def kimg(images: int) -> str:
    """Return a number of images in thousands: `12.3 kimg`."""
    return f"{images / 1000:.1f} kimg"


def duration(seconds: float) -> str:
    """Return a duration as `45 s`, `12 min` or `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
