"""A minute of the fuzzing that `make fuzz` does for hours: the same inputs every time."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from fuzz.strategies import damaged, other_json
from fuzz.targets import TARGETS, Target, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*/*"))
SLOW = 5_000  # milliseconds; what a file of some kilobytes may take, on a busy machine too

quick = settings(
    max_examples=80,
    derandomize=True,
    database=None,
    deadline=SLOW,
    suppress_health_check=list(HealthCheck),
)


def run(target: Target, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        check(target, data, Path(place))


def is_json(target: Target) -> bool:
    try:
        return isinstance(json.loads(target.seeds()[0].split(b"\n")[0]), dict)
    except ValueError:
        return False


ALL = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@ALL
def test_sound_input_is_read(target: Target, tmp_path: Path) -> None:
    for number, seed in enumerate(target.seeds()):
        place = tmp_path / str(number)
        place.mkdir()
        target.parse(seed, place)


@ALL
def test_damaged_input_ends_in_one_line(target: Target) -> None:
    @quick
    @given(damaged(target.seeds()))
    def survives(data: bytes) -> None:
        run(target, data)

    survives()


@ALL
def test_any_bytes_end_in_one_line(target: Target) -> None:
    @settings(quick, max_examples=25)
    @given(st.binary(max_size=200))
    def survives(data: bytes) -> None:
        run(target, data)

    survives()


@pytest.mark.parametrize("target", filter(is_json, TARGETS), ids=lambda target: target.name)
def test_json_with_other_values_ends_in_one_line(target: Target) -> None:
    @quick
    @given(other_json(target.seeds()))
    def survives(data: bytes) -> None:
        run(target, data)

    survives()


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_stays_mended(path: Path, tmp_path: Path) -> None:
    (target,) = (target for target in TARGETS if target.name == path.parent.name)
    check(target, path.read_bytes(), tmp_path)
