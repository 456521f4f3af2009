"""The documents: every relative link and anchor resolves, and every path they name exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from typer.main import get_command

from catgan.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# Text files that refer to documents; CHANGELOG.md tells of pages that have moved since.
SOURCES = [
    path
    for pattern in ("src/**/*", "tests/**/*.py", "tools/*.py", "benchmarks/*.py", "deploy/*")
    for path in ROOT.glob(pattern)
    if path.suffix in {".py", ".toml", ".jinja", ".md", ".yaml"} or path.name == "Containerfile"
] + [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return CODE_BLOCK.sub("", page.read_text("utf-8"))


def anchor(heading: str) -> str:
    """The anchor that a heading gets on code hosts."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)}


def links(page: Path) -> list[str]:
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_anchor_resolves(page):
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert {page.resolve() for page in ROOT.glob("docs/**/*.md")} - {index} == listed


def test_pages_that_the_source_names_exist():
    for path in SOURCES:
        for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text("utf-8")):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    if page.name == "CHANGELOG.md":  # it tells of files that have moved since
        return
    named = re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|js|jinja|yaml))`", prose(page))
    named += re.findall(r"(?:benchmarks|tools)/\w+\.py", page.read_text("utf-8"))
    assert [name for name in named if not exists(name)] == []


def exists(name: str) -> bool:
    return any((root / name).is_file() for root in (ROOT, ROOT / "src" / "catgan"))


def commands(page: Path) -> list[list[str]]:
    """The words after `catgan` of each command in a page's code blocks and inline code."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    lines = [line for block in CODE_BLOCK.findall(text) for line in block.splitlines()]
    lines += re.findall(r"`(catgan [^`]+)`", CODE_BLOCK.sub("", text))
    found = [re.search(r"(?:^|-m )catgan ([a-z].*)", line) for line in lines]
    return [match[1].partition(" #")[0].split() for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_that_a_page_shows_exist(page):
    known = get_command(app).commands
    for name, *words in commands(page):
        assert name in known, name
        options = {option for each in known[name].params for option in each.opts}
        options |= {option for each in known[name].params for option in each.secondary_opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options | {"--help"}, (name, words)


def programs(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_import_what_exists(page):
    for program in programs(page):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("catgan"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


def test_the_first_program_runs():
    names = {}
    exec(programs(ROOT / "README.md")[0], names)  # noqa: S102
    assert names["images"].shape == (3, 128, 128, 3)
    assert len(names["frames"]) == 24


def test_the_map_names_every_room():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for room in (ROOT / "src" / "catgan").iterdir():
        if room.is_dir() and (room / "__init__.py").exists():
            assert f"\n| `{room.name}/` |" in page, room.name


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120
