"""catgan sends nothing: each command in an empty home, without a network."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from faces_photos import photo_of
from PIL import Image

import catgan
from catgan.cli.app import MODULES
from catgan.web import site

HERE = Path(__file__).parent
SOURCE = Path(catgan.__file__).parents[1]
WEB_RUNTIME = Path(site.__file__).parent / "runtime" / "ort.wasm.gz"

# All of the environment that a command sees. ONNX Runtime gathers nothing where CI or a variable
# of its kind is set, so none of them may come along.
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

TINY = [
    "network.resolution=32", "network.channels=4", "network.maximum_channels=8",
    "network.latent_size=8", "training.batch_size=8", "training.images=16",
    "output.log_images=8", "output.grid_seeds=4", "output.score_samples=0",
]  # fmt: skip
SETTINGS = ["--recipe", "lsgan-64", *(word for setting in TINY for word in ("--set", setting))]
RAW = ["--extractor", "raw-64"]
GATES = [word for gate in ("close=99", "sharpness=0") for word in ("--gate", gate)]

LIGHT = [
    ["recipes"],
    ["info"],
    ["sample", "--seeds", "1"],
    ["morph", "--seeds", "1,2", "--frames", "2"],
    ["edit", "--move", "0=1"],
    ["web", "site"],
]
HEAVY = [
    ["prepare", "photos", "cats", "--size", "32"],
    ["prepare", "roll", "faces", "--size", "32", "--faces", *GATES],
    ["inspect", "cats", *RAW],
    ["train", "photos", "-o", "run", "--tensorboard", *SETTINGS],
    ["export", "run", "-o", "exported/cats.onnx"],
    *(
        ["export", "exported/cats.onnx", "--format", name, "-o", f"exported/cats.{ending}"]
        for name, ending, needed in (
            ("keras", "keras", "keras"),
            ("litert", "tflite", "tensorflow"),
            ("triton", "triton", "onnx"),
        )
        if find_spec(needed)
    ),
    ["sample", "run", "--seeds", "1"],
    ["evaluate", "run", "--against", "cats", "--samples", "12", *RAW],
    ["compare", "run", "photos", "--against", "cats", "--samples", "30", *RAW],
]
FETCHING = {"download"}  # asked for, it reaches the network: that is what it is for
STAYING = {"serve"}  # until a signal: tests/serve/test_server.py looks at its home


@functools.cache
def isolation() -> tuple[str, ...]:
    """What to put before a command to run it in a network namespace of its own; maybe nothing."""
    unshare = shutil.which("unshare")
    for words in ([unshare, "--net"], [unshare, "--map-root-user", "--net"]):
        if unshare and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return tuple(map(str, words))
    return ()


def python(place, *words, home=None, **variables):
    """Run Python in `place`, with an empty home and, where the machine can, without a network."""
    for name in ("home", "temporary"):
        (place / name).mkdir(exist_ok=True)
    home = str(home or place / "home")
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"), home)
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(place / "temporary"))
    environment |= {"PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    environment |= ({"ISOLATED": "1"} if isolation() else {}) | variables
    return subprocess.run(
        [*isolation(), sys.executable, *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def report(place, commands, **options):
    """What each command did beside its work, as commands_in_empty_home.py tells it."""
    program = HERE / "commands_in_empty_home.py"
    done = python(place, program, place / "report.json", json.dumps(commands), **options)
    assert done.returncode == 0, done.stderr
    steps = json.loads((place / "report.json").read_text())
    for step in steps:
        without_runtime = step["command"][0] == "web" and not WEB_RUNTIME.is_file()
        assert step["code"] == (2 if without_runtime else 0), (step, done.stderr)
    return steps, done.stderr


OWNERS = {
    "catgan",  # prepared photos and features: CATGAN_CACHE_DIR moves it
    "matplotlib",  # which fonts there are: MPLCONFIGDIR moves it
    "fontconfig",  # asked for them by matplotlib, where it is installed
    "keras",  # its defaults, by TensorBoard where TensorFlow is installed: KERAS_HOME moves it
}


def owner(place, file):
    """Whose cache a file in the home is, by its path; else the path."""
    parts = [part.lstrip(".") for part in Path(file).relative_to(place).parts]
    return next((name for name in OWNERS if name in parts), file)


def test_every_command_is_run_below():
    assert {words[0] for words in LIGHT + HEAVY} == MODULES.keys() - FETCHING - STAYING


def test_drawing_leaves_no_file_and_asks_for_no_name(tmp_path):
    steps, _ = report(tmp_path, LIGHT)
    for step in steps:
        assert (step["files"], step["asked"], step["packets"]) == ([], [], 0), step


def test_training_leaves_caches_alone_and_asks_for_no_name(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "roll").mkdir()
    for index in range(30):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index:02d}.png")
    Image.fromarray(photo_of((8, 140, 60, 200))).save(tmp_path / "roll" / "one.png")
    steps, _ = report(tmp_path, HEAVY)
    for step in steps:
        assert (step["asked"], step["packets"]) == ([], 0), step
        allowed = OWNERS if "--tensorboard" in step["command"] else OWNERS - {"keras"}
        assert {owner(tmp_path, file) for file in step["files"]} <= allowed, step


def test_a_home_that_cannot_be_written_is_passed_over_in_silence(tmp_path):
    words = ("-m", "catgan", "sample", "--seeds", "1", "-o", "cat.png")
    done = python(tmp_path, *words, home=os.devnull)
    assert done.returncode == 0, done.stderr
    assert "telemetry" not in done.stderr
    assert (tmp_path / "cat.png").is_file()


# What follows shows that the tests above can fail.

needs_isolation = pytest.mark.skipif(
    not isolation(), reason="no network namespaces: look-ups by native code were NOT watched"
)


@needs_isolation
def test_look_ups_by_native_code_are_counted(tmp_path):
    script = (
        "import ctypes, commands_in_empty_home as watched\n"
        "assert watched.packets() == 0\n"
        "library = ctypes.CDLL(None)\n"
        "answer = ctypes.c_void_p()\n"
        "assert library.getaddrinfo(b'example.org', b'80', None, ctypes.byref(answer)) != 0\n"
        "assert watched.packets() > 0\n"
    )
    done = python(tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr


@needs_isolation
@pytest.mark.skipif(
    tuple(map(int, version("onnxruntime").split(".")[:2])) < (1, 31),
    reason="this ONNX Runtime has no telemetry",
)
def test_telemetry_that_the_user_asks_for_is_seen(tmp_path):
    """`ORT_DISABLE_TELEMETRY=0` is the user's own decision, and is left alone."""
    ((step,), _) = report(tmp_path, [["sample", "--seeds", "1"]], ORT_DISABLE_TELEMETRY="0")
    assert any("Microsoft" in Path(file).parts for file in step["files"]), step
