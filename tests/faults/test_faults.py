"""Every injected fault ends as promised, and costs nothing that was saved."""

from __future__ import annotations

import pytest
from faults.faults import FAULTS, CannotInflictError
from faults.scene import Stage, differences, leftovers

from catgan.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("faults"))


def test_the_comparison_sees_a_difference(stage):
    assert differences(stage.straight, stage.straight) == []
    assert differences(stage.begun, stage.straight) == ["latest is 000000032 and 000000064"]
    assert differences(stage.begun, stage.scene().run) == []
    other = stage.scene()
    other.resume("--set", "output.log_images=16")
    assert differences(other.run, stage.straight) == ["log rows"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault(stage, fault):
    scene = stage.scene()
    try:
        with fault.inflict(scene):
            ended = scene.resume(*fault.words)
    except CannotInflictError as error:
        pytest.skip(str(error))
    assert ended.code == fault.code, ended
    if fault.code in (0, 128 + 15):
        assert ended.error == ""
        assert any(fault.says in line for line in ended.said)
    elif fault.code == 130:
        assert ended.error == ""  # whoever insists is not told what they know
    else:
        assert len(ended.error.splitlines()) == 1
        assert ended.error.startswith("catgan: error: ")
        assert fault.says in ended.error
    # What was saved before is still there, and sound.
    if fault.code:
        notes = []
        store = RunDirectory.open(scene.run).checkpoints
        if fault.mendable:
            assert store.load("latest", notes.append).images >= 32
            assert notes == []
            assert scene.resume().code == 0
    if fault.mendable:
        assert differences(scene.run, stage.straight) == []
        assert leftovers(scene.run) == []
        assert [path.name for path in scene.run.glob(".lock*")] == [".lock"]
