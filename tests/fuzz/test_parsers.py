"""A minute of the fuzzing that `make fuzz` does for hours: the same inputs every time."""

from __future__ import annotations

import json
import tarfile
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from fuzz.strategies import damaged, other_json
from fuzz.targets import TARGETS, Target, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catgan.errors import CatganError
from catgan.generation.artifact import check_artifact

BY_NAME = {target.name: target for target in TARGETS}
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


@pytest.mark.parametrize("target", list(filter(is_json, TARGETS)), ids=lambda target: target.name)
def test_json_with_other_values_ends_in_one_line(target: Target) -> None:
    @quick
    @given(other_json(target.seeds()))
    def survives(data: bytes) -> None:
        run(target, data)

    survives()


def again(target: Target, data: bytes, place: Path) -> None:
    """`check`, within the time that such an input may take."""
    began = time.process_time()
    check(target, data, place)
    assert time.process_time() - began < SLOW / 1000


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_stays_mended(path: Path, tmp_path: Path) -> None:
    again(BY_NAME[path.parent.name], path.read_bytes(), tmp_path)


def extended_header(content: bytes) -> bytes:
    """A tar of one extended header."""
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512 + 1024)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("tar", extended_header(b"1" * 2**18), id="digits for minutes"),
        pytest.param("config", b"a." * 2**15 + b"a = 1\n", id="keys for half a minute"),
        pytest.param("journal", b"[" * 20_000 + b"\n", id="nested too deep"),
        pytest.param("run", b"{}\n--\n" + b"[" * 20_000 + b"\n", id="nested too deep"),
    ],
)
def test_what_was_found_at_length_stays_mended(name: str, data: bytes, tmp_path: Path) -> None:
    again(BY_NAME[name], data, tmp_path)


def test_many_fields_do_not_become_much_memory() -> None:
    model = b"\x08\0" * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(CatganError, match="more fields than"):
            check_artifact(model, "cats.onnx")
        assert tracemalloc.get_traced_memory()[1] < 160 * 2**20
    finally:
        tracemalloc.stop()
