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


def near(images, expected):
    """Equal but for pixels that float32 rounds to the other side."""
    return images.shape == expected.shape and abs(images.astype(int) - expected).max() <= 1


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "cats.onnx")


@pytest.fixture
def cats(path):
    return catgan.load(path)


def test_a_cat_is_what_the_model_makes_of_the_seed_s_latents(cats):
    images = cats.sample(seeds=[7, 2**63 - 1])
    assert images.shape == (2, SIDE, SIDE, 3)
    assert images.dtype == np.uint8
    assert near(images, images_of(latents([7, 2**63 - 1], SIZE)))
    assert np.array_equal(cats.latents([7]), latents([7], SIZE))


def test_truncation_pulls_toward_the_mean(cats):
    z = latents([7], SIZE)
    assert near(cats.sample([7], truncation=0.5), images_of(z, 0.5))
    assert np.array_equal(cats.sample([7], truncation=0)[0], cats.sample([8], truncation=0)[0])
    spread = [cats.sample(range(20), psi).std(0).mean() for psi in (0.3, 0.6, 1.0)]
    assert spread == sorted(spread)


def test_a_seed_is_the_same_bytes_whatever_the_batch_the_session_and_the_process(path, cats):
    together = cats.sample(range(10))
    assert np.array_equal(together[3:5], cats.sample([3, 4]))
    assert np.array_equal(together, catgan.load(str(path)).sample(range(10)))
    script = (
        "import sys, catgan; "
        "sys.stdout.buffer.write(catgan.load(sys.argv[1]).sample([3, 4]).tobytes())"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, check=True
    ).stdout
    assert theirs == together[3:5].tobytes()


def test_grids_morphs_and_loops(cats):
    assert cats.grid(range(6), columns=3).shape == (2 * SIDE + 2, 3 * SIDE + 4, 3)
    way = cats.morph(3, 9, frames=5)
    assert np.array_equal(way[[0, -1]], cats.sample([3, 9]))
    loop = cats.loop([3, 9, 27], frames=6)
    assert np.array_equal(loop[[0, 2, 4]], cats.sample([3, 9, 27]))
    assert len(loop) == 6


def test_moves_add_directions(cats):
    z = latents([7], SIZE)
    z[0, 1] += 2
    z[0, 0] -= 1
    assert near(cats.sample([7], moves={1: 2.0, 0: -1.0}), images_of(z))
    with pytest.raises(CatganError, match=f"0 to {DIRECTIONS - 1}"):
        cats.sample([7], moves={DIRECTIONS: 1})


def test_progress_counts_images(cats):
    seen = []
    cats.sample(range(3), on_progress=seen.append)
    assert seen == [1, 2, 3]
    assert cats.sample([]).shape == (0, SIDE, SIDE, 3)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**400])
def test_seeds_out_of_range_are_one_line(cats, seed):
    with pytest.raises(CatganError, match="out of range"):
        cats.sample([seed])


@pytest.mark.parametrize(
    "seed", [0.5, 1.0, "7", None, float("nan"), True, np.True_, np.float32(7), [7]]
)
def test_seeds_that_are_no_whole_numbers_are_one_line(cats, seed):
    for seeds in ([seed], (7, seed)):
        with pytest.raises(CatganError, match="is no whole number"):
            cats.sample(seeds)


@pytest.mark.parametrize(
    "truncation",
    [-0.1, 1.1, float("nan"), "a", None, True, np.True_, [0.5], np.zeros(1), 1j, 10**400],
)
def test_truncations_that_are_none_are_one_line(cats, truncation):
    for draw in (
        lambda: cats.sample([1], truncation),
        lambda: cats.grid([1], truncation=truncation),
        lambda: cats.morph(1, 2, 2, truncation),
        lambda: cats.loop([1, 2], 2, truncation),
        lambda: cats.synthesize(cats.latents([1]), truncation),
    ):
        with pytest.raises(
            CatganError, match=r"truncation = .* choose a number from 0 to 1"
        ) as error:
            draw()
        assert "\n" not in str(error.value)


def test_seeds_that_are_no_list_are_one_line(cats):
    many = range(10**30)
    for seeds in (7, "7", b"7", {7}, {7: 1}, None, np.array(7), np.array([[7]]), iter([7]), many):
        for draw in (cats.latents, cats.sample, cats.grid, cats.loop):
            with pytest.raises(CatganError, match=r"write, say, seeds=\[7\]|at once"):
                draw(seeds)
    with pytest.raises(CatganError, match="is no whole number"):
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
def test_seeds_may_be_any_list_of_whole_numbers(cats, seeds):
    assert np.array_equal(cats.sample(seeds), cats.sample([7, 8]))
    assert np.array_equal(cats.latents(seeds), cats.latents([7, 8]))


def test_numbers_of_numpy_s_are_numbers(cats):
    expected = cats.sample([7], 0.5, {1: 2.0})
    theirs = cats.sample([7], np.float32(0.5), {np.int64(1): np.float64(2)})
    assert np.array_equal(theirs, expected)
    assert len(cats.morph(np.int32(3), np.int64(9), frames=np.int16(4))) == 4
    assert cats.grid([1, 2], columns=np.int64(1)).shape == (2 * SIDE + 2, SIDE, 3)
    assert np.array_equal(cats.synthesize(cats.latents([7]).tolist()), cats.sample([7]))


@pytest.mark.parametrize("frames", [2.5, 2.0, True, "4", None, float("nan"), 10**30, np.array(4)])
def test_frames_that_are_no_number_of_frames_are_one_line(cats, frames):
    for draw in (lambda: cats.morph(1, 2, frames), lambda: cats.loop([1, 2], frames)):
        with pytest.raises(
            CatganError, match=r"frames = .* choose a whole number from 2 to 10,000"
        ):
            draw()


def test_a_loop_shows_every_seed(cats):
    with pytest.raises(CatganError, match="3 frames cannot show 10 seeds: take at least as many"):
        cats.loop(range(10), frames=3)
    assert np.array_equal(cats.loop(range(3), frames=3), cats.sample(range(3)))


@pytest.mark.parametrize("columns", [0, -1, 2.5, True, "2", 10**9, 10**30])
def test_columns_that_make_no_sheet_are_one_line_before_anything_is_drawn(
    cats, columns, monkeypatch
):
    monkeypatch.setattr(Generator, "synthesize", None)
    with pytest.raises(CatganError, match=r"columns = .* choose a whole number|fewer .*columns"):
        cats.grid([1, 2], columns)


@pytest.mark.parametrize(
    "moves", [[1], 1, "0", {-1: 1}, {True: 1}, {0.0: 1}, {"0": 1}, {None: 1}, {(0,): 1}]
)
def test_moves_along_nothing_are_one_line(cats, moves):
    with pytest.raises(CatganError, match=r"moves=\{0: 2.0\}|has no direction"):
        cats.sample([7], moves=moves)


@pytest.mark.parametrize("amount", ["2", None, True, [1], 1e39, -1e7, 1j, 10**400])
def test_moves_by_no_number_are_one_line(cats, amount):
    with pytest.raises(CatganError, match=r"the move along direction 0 = .* choose a number"):
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
def test_latents_that_are_none_are_one_line(cats, z):
    for use in (cats.synthesize, lambda wrong: cats.move(wrong, {})):
        with pytest.raises(CatganError, match=r"^latents must be"):
            use(z)


@pytest.mark.parametrize("path", [3, b"cats.onnx", 2.5, ["cats.onnx"], True])
def test_what_is_no_path_is_one_line(path):
    with pytest.raises(CatganError, match=r"name a \.onnx file"):
        catgan.load(path)


def test_paths_to_what_is_no_file_are_one_line(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")  # to open it would wait for a writer
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
def test_memory_that_is_not_there_is_not_the_file_s_fault(cats, monkeypatch, error):
    class Session:
        def run(self, *_):
            raise error

    monkeypatch.setitem(vars(cats), "session", Session())
    with pytest.raises(CatganError, match="more memory than is free") as raised:
        cats.sample([7])
    assert "export" not in str(raised.value)


def test_other_mistakes_are_one_line(cats):
    with pytest.raises(CatganError, match="at least one"):
        cats.grid([])
    for amount in (float("nan"), float("inf")):
        with pytest.raises(CatganError, match="choose a number"):
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
def test_a_model_that_is_not_the_card_s_is_refused(tmp_path, wrong):
    path = write(tmp_path / "wrong.onnx", seal(wrong.SerializeToString(), card()))
    with pytest.raises(CatganError, match="not the generator"):
        catgan.load(path).sample([1])


def test_what_onnx_runtime_refuses_is_one_line(tmp_path):
    proto = model()
    proto.graph.node[1].op_type = "NoSuchOperator"
    path = write(tmp_path / "odd.onnx", seal(proto.SerializeToString(), card()))
    with pytest.raises(CatganError, match="ONNX Runtime") as error:
        catgan.load(path).sample([1])
    assert "\n" not in str(error.value)


def test_the_package_s_own_generator_is_found_or_missed_in_one_line(monkeypatch, path):
    where = "catgan.generation.generator.embedded_generator"
    monkeypatch.setattr(where, lambda: None)
    with pytest.raises(CatganError, match="carries no generator"):
        catgan.load()
    monkeypatch.setattr(where, lambda: path)
    assert catgan.load().card.name == "tiny cats"


@pytest.mark.skipif(embedded_generator() is None, reason="no generator is embedded yet")
def test_the_embedded_generator_draws_and_says_its_license():
    cats = catgan.load()
    assert embedded_generator().stat().st_size <= 10_000_000
    assert cats.card.license not in ("", "unknown")
    assert cats.sample([7]).std() > 20


@pytest.mark.skipif(embedded_generator() is None, reason="no generator is embedded yet")
def test_a_seed_of_the_embedded_generator_is_the_same_bytes_wherever_it_is_drawn():
    """Beside other seeds, by several threads at once, and in a process with one processor."""
    cats = catgan.load()
    together = cats.sample(range(6))
    with ThreadPoolExecutor(3) as pool:
        by_threads = list(pool.map(lambda seed: cats.sample([seed])[0], range(6)))
    assert np.array_equal(np.stack(by_threads), together)
    script = (
        "import os, sys, catgan\n"
        "if hasattr(os, 'sched_setaffinity'):\n"
        "    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "sys.stdout.buffer.write(catgan.load().sample([5, 2]).tobytes())"
    )
    theirs = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert theirs == together[[5, 2]].tobytes()


def test_importing_catgan_imports_nothing_heavy_and_drawing_no_torch(path):
    script = (
        "import sys, catgan\n"
        "assert not {'numpy', 'onnxruntime', 'PIL', 'torch', 'typer'} & set(sys.modules)\n"
        "catgan.load(sys.argv[1]).sample([1])\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_a_generator_reads_its_card_without_a_session(path):
    generator = catgan.load(path)
    assert isinstance(generator, Generator)
    assert "session" not in vars(generator)
    assert dict(generator.card.lines())["license"] == "MIT"
    assert artifact() == path.read_bytes()
