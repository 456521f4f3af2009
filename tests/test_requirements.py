"""The lock files hold what constraints.txt and pyproject.toml say, each with its sums."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import catgan

ROOT = Path(__file__).parents[1]
LOCKS = [
    "locked", "torch-cpu", "gpu", "serve", "tools", "fuzz", "jax", "tensorflow", "triton",
]  # fmt: skip


def entries(name: str) -> dict[str, str]:
    """A lock file's requirements: by name, the whole text with the sums."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    found = re.split(r"\n(?=\w)", re.sub(r"^#.*\n", "", text).strip())
    return {entry.split("==")[0]: entry for entry in found}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_has_a_version_and_sums(name: str) -> None:
    assert entries(name)
    for entry in entries(name).values():
        assert re.fullmatch(
            r"[\w.-]+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry
        )


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    locked = {
        name: re.split(r"[ ;]", entry.split("==", 1)[1])[0]
        for name, entry in entries("locked").items()
    }
    pinned = constraints()
    assert {name: locked.get(name) for name in pinned} == pinned, "run `make lock`"
    elsewhere = {"colorama", "httpx2-jsfetch"}  # on Windows, in a browser
    assert set(locked) - set(pinned) <= elsewhere, "add these to constraints.txt"


def test_a_container_takes_what_the_lock_has() -> None:
    locked, serving = entries("locked"), entries("serve")
    assert "torch" not in serving
    for name, entry in serving.items():  # where something else needs it too, its marker differs
        same = [re.sub(r" ; [^\\\n]+", " ", text).split() for text in (entry, locked[name])]
        assert same[0] == same[1], "run `make lock`"


def test_both_builds_of_torch_are_of_one_version() -> None:
    (cpu,) = entries("torch-cpu").values()
    assert cpu.startswith(f"torch=={constraints()['torch']}+cpu ")


def test_pre_commit_has_the_locked_version_of_ruff() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"rev: v(\S+)", text) == [constraints()["ruff"]]


def test_the_citation_has_the_version_of_the_package() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {catgan.__version__}\n" in text


def test_the_lock_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    large = extras.pop("litert")  # in an environment of its own
    assert "litert" not in "".join(extras["all"])

    def names(*groups: list[str]) -> set[str]:
        found = {normal(re.split(r"[\[<>=]", each)[0]) for group in groups for each in group}
        return found - {"catgan"}

    everything = names(project["dependencies"], *extras.values())
    assert everything <= set(entries("locked")), "run `make lock`"
    assert names(large) | names(extras["keras"]) <= set(entries("tensorflow")), "run `make lock`"


def test_no_lock_names_a_place_to_fetch_from() -> None:
    for name in LOCKS:
        assert "://" not in (ROOT / "requirements" / f"{name}.txt").read_text()
