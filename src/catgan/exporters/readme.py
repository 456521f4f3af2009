"""The card as a README.md with the front matter that model hubs read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from catgan.generation.card import Card, describe_lineage

_LIBRARY, _FILE_KEY = "library_name: catgan", "catgan_file"
# Licenses as they are written in datasets, and the names that hubs have for them.
_LICENSES = {
    "apache-2.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "mit",
}  # fmt: skip


def describes(text: str) -> str | None:
    """The name of the file that a README.md written by `readme` is about, None for other texts."""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    lines = front[1].split("\n") if front else []
    if _LIBRARY not in lines:
        return None
    for line in lines:
        key, _, value = line.partition(": ")
        if key == _FILE_KEY:
            try:
                name = json.loads(value)
            except ValueError:
                return None
            return name if isinstance(name, str) and name == Path(name).name else None
    return None


def readme(card: Card, file_name: str) -> str:
    """Markdown that says what `file_name` is, how to use it, and on what terms."""
    license = re.sub(r"[\s_]+", "-", card.license.strip().lower())
    known = license in _LICENSES
    front = [
        "---",
        f"license: {license if known else 'other'}",
        *([] if known else [f"license_name: {json.dumps(card.license)}"]),
        _LIBRARY,
        f"{_FILE_KEY}: {json.dumps(file_name)}",
        "pipeline_tag: unconditional-image-generation",
        "tags: [gan, cats, onnx, unconditional-image-generation]",
        "---",
    ]
    size = card.resolution
    body = [
        f"# {_plain(card.name)}",
        "",
        f"A generator of {size} x {size} images, trained with catgan: recipe "
        f"{_plain(card.trained)}, on {card.data_images:,} images of {_plain(card.data_name)}.",
        "",
        "```console",
        "pip install catgan",
        f"catgan sample {shlex.quote(file_name)} --seeds 0-15 -o cats.png",
        "```",
        "",
        "```python",
        "import catgan",
        "",
        f"cats = catgan.load({json.dumps(file_name)}).sample(seeds=[7], truncation=0.8)",
        "```",
        "",
        "Neither needs torch. The file is an ordinary ONNX model: `z`, float32 (N, "
        f"{card.latent_size}), and `truncation`, float32 (1,), give `images`, uint8 (N, {size}, "
        f"{size}, 3). A seed is the same image everywhere.",
        "",
        "## On what it was trained",
        "",
        f"- data: {_plain(card.data_name)}, {card.data_images:,} images",
        *([f"- began as: {_plain(describe_lineage(card.lineage))}"] if card.lineage else []),
        f"- credit: {_plain(card.credit)}",
        f"- license: {_plain(card.license)}; it holds for these weights and what they draw, too",
        "",
        "## How good it is",
        "",
        *_scores(card),
        "",
        "Generated images show no real animal. What the training images lack, it cannot draw.",
        "",
        "## The file",
        "",
        *(f"- {title}: {_plain(text)}" for title, text in card.lines() if title in _FILE),
        "",
    ]
    return "\n".join([*front, "", *body])


_FILE = ("stored as", "latents", "made by")


def _scores(card: Card) -> Iterable[str]:
    if not card.scores:
        return ["It was not evaluated."]
    return [
        "Scores hold under their fingerprints and compare with nothing else.",
        "",
        *(f"- {_plain(score.line)}" for score in card.scores),
    ]


def _plain(text: str) -> str:
    """`text` as itself in Markdown: no markup, no HTML, one line."""
    escaped = re.sub(r"([\\`*_\[\]#|~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")
