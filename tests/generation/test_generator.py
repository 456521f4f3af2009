from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifacts import DIRECTIONS, SIDE, SIZE, artifact, card, images_of, model, write
from onnx import TensorProto

import catgan
from catgan.errors import CatganError
from catgan.generation.artifact import seal
from catgan.generation.generator import Generator, embedded_generator
from catgan.generation.latents import latents


def nearly_equal(images, expected):
    """Return whether images are equal except for float32 rounding."""
    return images.shape == expected.shape and abs(images.astype(int) - expected).max() <= 1


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "cats.onnx")


@pytest.fixture
def cats(path):
    return catgan.load(path)


def test_sample_runs_the_model_on_the_latents_of_seeds(cats):
    images = cats.sample(seeds=[7, 2**63 - 1])
    assert images.shape == (2, SIDE, SIDE, 3)
    assert images.dtype == np.uint8
    assert nearly_equal(images, images_of(latents([7, 2**63 - 1], SIZE)))
    assert np.array_equal(cats.latents([7]), latents([7], SIZE))


def test_truncation_pulls_toward_the_mean(cats):
    z = latents([7], SIZE)
    assert nearly_equal(cats.sample([7], truncation=0.5), images_of(z, 0.5))
    assert np.array_equal(cats.sample([7], truncation=0)[0], cats.sample([8], truncation=0)[0])
    variety = [cats.sample(range(20), psi).std(0).mean() for psi in (0.3, 0.6, 1.0)]
    assert variety == sorted(variety)


def test_image_of_a_seed_is_bit_equal_across_batches_sessions_and_processes(path, cats):
    batch = cats.sample(range(10))
    assert np.array_equal(batch[3:5], cats.sample([3, 4]))
    assert np.array_equal(batch, catgan.load(str(path)).sample(range(10)))
    script = (
        "import sys, catgan; "
        "sys.stdout.buffer.write(catgan.load(sys.argv[1]).sample([3, 4]).tobytes())"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, check=True
    ).stdout
    assert output == batch[3:5].tobytes()


def test_grids_morphs_and_loops(cats):
    assert cats.grid(range(6), columns=3).shape == (2 * SIDE + 2, 3 * SIDE + 4, 3)
    morph = cats.morph(3, 9, frames=5)
    assert np.array_equal(morph[[0, -1]], cats.sample([3, 9]))
    loop = cats.loop([3, 9, 27], frames=6)
    assert np.array_equal(loop[[0, 2, 4]], cats.sample([3, 9, 27]))
    assert len(loop) == 6


def test_moves_add_directions(cats):
    z = latents([7], SIZE)
    z[0, 1] += 2
    z[0, 0] -= 1
    assert nearly_equal(cats.sample([7], moves={1: 2.0, 0: -1.0}), images_of(z))
    with pytest.raises(CatganError, match=f"0 to {DIRECTIONS - 1}"):
        cats.sample([7], moves={DIRECTIONS: 1})


def test_progress_counts_images(cats):
    counts = []
    cats.sample(range(3), on_progress=counts.append)
    assert counts == [1, 2, 3]
    assert cats.sample([]).shape == (0, SIDE, SIDE, 3)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**400])
def test_seeds_out_of_range_are_rejected(cats, seed):
    with pytest.raises(CatganError, match=r"invalid seed .* whole number from 0 to"):
        cats.sample([seed])


@pytest.mark.parametrize(
    "seed", [0.5, 1.0, "7", None, float("nan"), True, np.True_, np.float32(7), [7]]
)
def test_seeds_other_than_integers_are_rejected(cats, seed):
    for seeds in ([seed], (7, seed)):
        with pytest.raises(CatganError, match=r"invalid seed .* whole number"):
            cats.sample(seeds)


@pytest.mark.parametrize(
    "truncation",
    [-0.1, 1.1, float("nan"), "a", None, True, np.True_, [0.5], np.zeros(1), 1j, 10**400],
)
def test_invalid_truncation_is_rejected_in_one_line(cats, truncation):
    for call in (
        lambda: cats.sample([1], truncation),
        lambda: cats.grid([1], truncation=truncation),
        lambda: cats.morph(1, 2, 2, truncation),
        lambda: cats.loop([1, 2], 2, truncation),
        lambda: cats.synthesize(cats.latents([1]), truncation),
    ):
        with pytest.raises(
            CatganError, match=r"truncation = .* expected a number from 0 to 1"
        ) as error:
            call()
        assert "\n" not in str(error.value)


def test_seeds_other_than_a_list_are_rejected(cats):
    many = range(10**30)
    for seeds in (7, "7", b"7", {7}, {7: 1}, None, np.array(7), np.array([[7]]), iter([7]), many):
        for method in (cats.latents, cats.sample, cats.grid, cats.loop):
            with pytest.raises(CatganError, match=r"for example seeds=\[7\]|expected at most"):
                method(seeds)
    with pytest.raises(CatganError, match=r"invalid seed .* whole number"):
        cats.morph([1], 2)


@pytest.mark.parametrize(
    "seeds",
    [
        (7, 8),
        range(7, 9),
        np.array([7, 8]),
        np.array([7, 8], np.uint8),
        [np.int64(7), np.uint64(8)],
    ],
)
def test_seeds_may_be_any_sequence_of_integers(cats, seeds):
    assert np.array_equal(cats.sample(seeds), cats.sample([7, 8]))
    assert np.array_equal(cats.latents(seeds), cats.latents([7, 8]))


def test_numpy_scalars_are_accepted(cats):
    expected = cats.sample([7], 0.5, {1: 2.0})
    images = cats.sample([7], np.float32(0.5), {np.int64(1): np.float64(2)})
    assert np.array_equal(images, expected)
    assert len(cats.morph(np.int32(3), np.int64(9), frames=np.int16(4))) == 4
    assert cats.grid([1, 2], columns=np.int64(1)).shape == (2 * SIDE + 2, SIDE, 3)
    assert np.array_equal(cats.synthesize(cats.latents([7]).tolist()), cats.sample([7]))


@pytest.mark.parametrize("frames", [2.5, 2.0, True, "4", None, float("nan"), 10**30, np.array(4)])
def test_invalid_frames_are_rejected(cats, frames):
    for call in (lambda: cats.morph(1, 2, frames), lambda: cats.loop([1, 2], frames)):
        with pytest.raises(
            CatganError, match=r"frames = .* expected a whole number from 2 to 10,000"
        ):
            call()


def test_loop_needs_a_frame_per_seed(cats):
    with pytest.raises(CatganError, match="3 frames cannot show 10 seeds: use at least as many"):
        cats.loop(range(10), frames=3)
    assert np.array_equal(cats.loop(range(3), frames=3), cats.sample(range(3)))


@pytest.mark.parametrize("columns", [0, -1, 2.5, True, "2", 10**9, 10**30])
def test_invalid_columns_are_rejected_before_generation(cats, columns, monkeypatch):
    monkeypatch.setattr(Generator, "synthesize", None)
    with pytest.raises(CatganError, match=r"columns = .* expected a whole number|fewer .*columns"):
        cats.grid([1, 2], columns)


@pytest.mark.parametrize(
    "moves", [[1], 1, "0", {-1: 1}, {True: 1}, {0.0: 1}, {"0": 1}, {None: 1}, {(0,): 1}]
)
def test_moves_along_unknown_directions_are_rejected(cats, moves):
    with pytest.raises(CatganError, match=r"moves=\{0: 2.0\}|has no direction"):
        cats.sample([7], moves=moves)


@pytest.mark.parametrize("amount", ["2", None, True, [1], 1e39, -1e7, 1j, 10**400])
def test_invalid_move_amounts_are_rejected(cats, amount):
    with pytest.raises(CatganError, match=r"amount of direction 0 = .* expected a number"):
        cats.sample([7], moves={0: amount})


@pytest.mark.parametrize(
    "z",
    [
        None,
        "z",
        np.zeros(SIZE),
        np.zeros((1, SIZE), bool),
        np.zeros((1, SIZE), complex),
        np.full((1, SIZE), "a"),
        np.full((1, SIZE), None),
        np.full((1, SIZE), 1e300),
        [[0.0] * SIZE, [0.0]],
    ],
)
def test_invalid_latents_are_rejected(cats, z):
    for method in (cats.synthesize, lambda wrong: cats.move(wrong, {})):
        with pytest.raises(CatganError, match=r"^latents: expected"):
            method(z)


@pytest.mark.parametrize("path", [3, b"cats.onnx", 2.5, ["cats.onnx"], True])
def test_paths_of_another_type_are_rejected(path):
    with pytest.raises(CatganError, match=r"name a \.onnx file"):
        catgan.load(path)


def test_paths_to_other_things_than_files_are_rejected_in_one_line(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")  # opening it would wait for a writer
    (tmp_path / "folder").mkdir()
    for name in ("pipe.onnx", "folder", "nowhere", "a\0b", "x" * 300):
        with pytest.raises(CatganError, match="cannot be read") as error:
            catgan.load(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(CatganError, match="cannot be read"):
        catgan.load("")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("Failed to allocate memory for requested buffer")]
)
def test_out_of_memory_does_not_blame_the_file(cats, monkeypatch, error):
    class Session:
        def run(self, *_):
            raise error

    monkeypatch.setitem(vars(cats), "session", Session())
    with pytest.raises(CatganError, match="more memory than is free") as raised:
        cats.sample([7])
    assert "export" not in str(raised.value)


def test_other_invalid_arguments_are_rejected(cats):
    with pytest.raises(CatganError, match="at least one"):
        cats.grid([])
    for amount in (float("nan"), float("inf")):
        with pytest.raises(CatganError, match="expected a number"):
            cats.sample([7], moves={0: amount})
    with pytest.raises(CatganError, match="finite"):
        cats.synthesize(np.full((1, SIZE), np.nan))
    with pytest.raises(CatganError, match="shape"):
        cats.synthesize(np.zeros((1, SIZE + 1)))
    with pytest.raises(CatganError, match="two seeds"):
        cats.loop([3])
    for frames in (1, 10**6):
        with pytest.raises(CatganError, match="frames"):
            cats.morph(1, 2, frames)


@pytest.mark.parametrize("wrong", [model(side=4), model(output=TensorProto.FLOAT)])
def test_model_that_contradicts_its_card_is_rejected(tmp_path, wrong):
    path = write(tmp_path / "wrong.onnx", seal(wrong.SerializeToString(), card()))
    with pytest.raises(CatganError, match="not the generator"):
        catgan.load(path).sample([1])


def test_onnx_runtime_errors_are_one_line(tmp_path):
    proto = model()
    proto.graph.node[1].op_type = "NoSuchOperator"
    path = write(tmp_path / "odd.onnx", seal(proto.SerializeToString(), card()))
    with pytest.raises(CatganError, match="ONNX Runtime") as error:
        catgan.load(path).sample([1])
    assert "\n" not in str(error.value)


def test_load_without_a_path_opens_the_bundled_generator(monkeypatch, path):
    function = "catgan.generation.generator.embedded_generator"
    monkeypatch.setattr(function, lambda: None)
    with pytest.raises(CatganError, match="no bundled generator"):
        catgan.load()
    monkeypatch.setattr(function, lambda: path)
    assert catgan.load().card.name == "tiny cats"


@pytest.mark.skipif(embedded_generator() is None, reason="no generator is bundled")
def test_bundled_generator_samples_and_has_a_license():
    cats = catgan.load()
    assert embedded_generator().stat().st_size <= 24_000_000
    assert cats.card.license not in ("", "unknown")
    assert cats.sample([7]).std() > 20
    assert cats.sample([7], truncation=0).std() > 20  # the mean image was black once


@pytest.mark.skipif(embedded_generator() is None, reason="no generator is bundled")
def test_image_of_a_bundled_seed_is_bit_equal_in_batches_threads_and_one_processor():
    cats = catgan.load()
    batch = cats.sample(range(6))
    with ThreadPoolExecutor(3) as pool:
        by_threads = list(pool.map(lambda seed: cats.sample([seed])[0], range(6)))
    assert np.array_equal(np.stack(by_threads), batch)
    script = (
        "import os, sys, catgan\n"
        "if hasattr(os, 'sched_setaffinity'):\n"
        "    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "sys.stdout.buffer.write(catgan.load().sample([5, 2]).tobytes())"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert output == batch[[5, 2]].tobytes()


def test_importing_catgan_is_light_and_sampling_imports_no_torch(path):
    script = (
        "import sys, catgan\n"
        "assert not {'numpy', 'onnxruntime', 'PIL', 'torch', 'typer'} & set(sys.modules)\n"
        "catgan.load(sys.argv[1]).sample([1])\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_card_is_read_without_a_session(path):
    generator = catgan.load(path)
    assert isinstance(generator, Generator)
    assert "session" not in vars(generator)
    assert dict(generator.card.lines())["license"] == "MIT"
    assert artifact() == path.read_bytes()
