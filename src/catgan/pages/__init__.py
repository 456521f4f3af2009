"""Self-contained HTML pages: one look for every report, nothing fetched when it is opened.

Pages are Jinja templates beside this file that extend `base.html.jinja`; every value is escaped.
Pictures and charts travel inside the page as data URIs and inline SVG.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(template: str, **context: Any) -> str:
    """The page `template` (a file name in this directory) filled with `context`, as HTML text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("catgan.pages", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**context)


def image_uri(image: np.ndarray, *, quality: int = 90) -> str:
    """A data URI of `image` (H x W x 3, uint8) as WebP: a fifth of a PNG's size in the page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def file_uri(path: Path) -> str:
    """A data URI of an image file, re-encoded as WebP."""
    from PIL import Image

    with Image.open(path) as image:
        return image_uri(np.asarray(image.convert("RGB")))


def figure_svg(figure: Figure) -> str:
    """A matplotlib figure as an inline `<svg>` element, its text kept as text."""
    import matplotlib
    from markupsafe import Markup

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "catgan"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  # matplotlib escapes what it writes
