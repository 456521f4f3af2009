"""Render self-contained HTML pages: one design for all reports, nothing loaded when opened.

The pages are Jinja templates in this directory that extend `base.html.jinja`; every value is
escaped. Images and charts are embedded as data URIs and inline SVG.
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
    """Return the template file `template` of this directory, rendered with `context`, as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("catgan.pages", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**context)


def image_uri(image: np.ndarray, *, quality: int = 90) -> str:
    """Return `image`, uint8 (H, W, 3), as a data URI; WebP takes a fifth of a PNG's bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def file_uri(path: Path) -> str:
    """Return an image file as a data URI, re-encoded as WebP."""
    from PIL import Image

    with Image.open(path) as image:
        return image_uri(np.asarray(image.convert("RGB")))


def figure_svg(figure: Figure, *, crop: bool = True) -> str:
    """Return a matplotlib figure as an `<svg>` element, with text as text and not as paths.

    With `crop` it is cut to its contents, for which it is rendered twice.
    """
    import matplotlib
    from markupsafe import Markup

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "catgan"}):
        margins = "tight" if crop else None
        figure.savefig(buffer, format="svg", bbox_inches=margins, metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  # matplotlib escapes what it writes
