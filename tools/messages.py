"""Print every message template in the source, with its place: errors, notes and help texts.

    python tools/messages.py [--kind error|note|help]

For whoever rewrites them: on one page, words that differ for one thing show.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "catgan"
NOTES = {"note", "print_line", "append", "echo", "fail"}


def template(node: ast.expr) -> str | None:
    """Return the text of a string or f-string, its expressions in braces; None for others."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = []
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                parts.append("{" + ast.unparse(value.value) + "}")
            else:
                parts.append(str(ast.literal_eval(value)))
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = template(node.left), template(node.right)
        return "".join(side or "{...}" for side in sides) if any(sides) else None
    return None


def messages(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield (line, kind, template) of every message in a module."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name.endswith(("Error", "Rejected", "Damage")):
            kind, candidates = "error", node.args
        elif name in NOTES:
            kind, candidates = "note", node.args
        elif name in ("Option", "Argument"):
            kind = "help"
            candidates = [each.value for each in node.keywords if each.arg == "help"]
        else:
            continue
        for argument in candidates:
            text = template(argument)
            if text and " " in text:
                yield node.lineno, kind, text


def main() -> None:
    """Print them, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("error", "note", "help"))
    arguments = parser.parse_args()
    for path in sorted(SOURCE.rglob("*.py")):
        for line, kind, text in sorted(messages(ast.parse(path.read_text("utf-8")))):
            if arguments.kind in (None, kind):
                print(f"{path.relative_to(SOURCE)}:{line}  {kind:5}  {' '.join(text.split())}")


if __name__ == "__main__":
    main()
