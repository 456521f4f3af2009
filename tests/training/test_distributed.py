"""Two processes take the steps of one; a job of two survives failures."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import torch
import torch.distributed as dist
from command_line import catgan
from small_runs import make_run
from torch import nn

import catgan as package
from catgan.config import load_recipe, override
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.errors import CatganError
from catgan.networks.layers.dropout import Dropout
from catgan.runs.directory import RunDirectory
from catgan.training import distributed, signals, start
from catgan.training.distributed import LostProcessError, SynchronizedBatchNorm
from catgan.training.streams import BatchRandom, Stream, World, torch_generator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import distributed_worker as worker  # noqa: E402

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(package.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


# -- agreement -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Run every case of `distributed_worker` in this process and then in two."""
    directory = tmp_path_factory.mktemp("both")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in torchrun's processes: more would sum in another order
    for case in worker.CASES:
        (directory / case).mkdir()
        write_procedural_cats(
            directory / case / "dataset", 30, worker.config_of(case).network.resolution
        )
        worker.record(case, directory / case)
    torch.set_num_threads(threads)
    command = [*TORCHRUN, str(HERE / "distributed_worker.py"), str(directory)]
    job = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert job.returncode == 0, job.stderr[-4000:]
    return directory


@pytest.mark.parametrize("case", worker.CASES)
def test_two_processes_have_the_gradients_of_one(both, case):
    """To 1e-5 of each tensor; where a tensor cancels to nearly 0, to 1e-6 of its network's."""
    one, two = (
        safetensors.torch.load_file(both / case / f"gradients-{processes}.safetensors")
        for processes in (1, 2)
    )
    assert one.keys() == two.keys()
    assert sum("running" not in name for name in one) > 30  # two networks, two steps
    largest = max(gradient.norm() for gradient in one.values())
    assert largest > 0
    for name in one:
        difference = (one[name] - two[name]).norm()
        assert difference <= max(1e-5 * one[name].norm(), 1e-6 * largest), name


@pytest.mark.parametrize("case", worker.CASES)
def test_two_processes_have_the_log_and_batch_statistics_of_one(both, case):
    one, two = (RunDirectory(both / case / f"run-{processes}") for processes in (1, 2))
    assert [row["images"] for row in one.rows()] == [8, 16]
    for a, b in zip(one.rows(), two.rows(), strict=True):
        a.pop("machine"), b.pop("machine")
        # r_v divides by a difference of means, which amplifies rounding errors.
        assert b.pop("overfitting", 0) == pytest.approx(a.pop("overfitting", 0), rel=1e-3, abs=1e-4)
        assert b == pytest.approx(a, rel=1e-5)
    a, b = (run.checkpoints.load("latest", print).tensors for run in (one, two))
    for part in a:
        assert a[part].keys() == b[part].keys()
        for name, tensor in a[part].items():
            if part != "optimizer":  # moments are of gradients, compared above
                torch.testing.assert_close(b[part][name], tensor, rtol=1e-5, atol=1e-6)


def test_collectives(both):
    for rank in range(2):
        told = json.loads((both / f"collectives-{rank}.json").read_text())
        assert told == {
            "rank": rank,
            "shared": {"of": 0, "text": "cät"},
            "highest": 15,
            "scalars": [0.0, 10.0],
            "batch": [[0.0, 1.0], [2.0, 3.0], [10.0, 11.0], [12.0, 13.0]],
            "mean": [[5.0, 6.0], [7.0, 8.0]],
            "gradient": [[1.5, 1.5], [1.5, 1.5]],  # half of 1 + 2, the factors of the losses
        }


def test_keep_alive_waits_for_a_busy_process_but_not_for_a_hung_one(both):
    """Longer than the timeout of a collective."""
    main, other = (json.loads((both / f"long-{rank}.json").read_text()) for rank in range(2))
    assert main == {"waited": True, "gave up": False}
    assert other == {"waited": True, "gave up": True}


def test_no_heartbeat_after_the_block(monkeypatch):
    """A thread that uses the store while Python exits would abort the process (SIGABRT)."""

    class SlowStore:
        asked = threading.Event()

        def add(self, key, number):
            if key.startswith("beat"):
                self.asked.set()
                time.sleep(0.3)
            return 1

    monkeypatch.setattr(distributed, "_job", SlowStore())
    monkeypatch.setattr(distributed, "HEARTBEAT_SECONDS", 0.001)
    before = threading.active_count()
    with distributed.keep_alive():
        assert SlowStore.asked.wait(timeout=60)
    assert threading.active_count() <= before


def test_every_machine_checks_its_pixels(tmp_path, monkeypatch):
    """A corrupt copy on another machine was once used silently."""
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    write_procedural_cats(tmp_path / "cats", 12, 32)
    settings = ["network.resolution=32", "training.batch_size=4", "output.score_samples=0"]
    arguments = (tmp_path / "cats", "lsgan-64", settings, tmp_path / "run", "cpu")
    plan = start.new_run(*arguments, lambda *_: None)
    told = start._plan_message(plan)
    images = tmp_path / "cats" / "images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    monkeypatch.setattr(distributed, "world", lambda: World(1, 2))
    monkeypatch.setattr(distributed, "broadcast_json", lambda _: told)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(CatganError, match="has changed on disk"):
        start.on_all_ranks(pytest.fail, tmp_path / "cats", "cpu")
    content[-1] ^= 1
    images.write_bytes(content)
    assert start.on_all_ranks(pytest.fail, tmp_path / "cats", "cpu").config == plan.config


@pytest.mark.parametrize(
    ("end", "code"),
    [("sys.exit(5)", 5), ("sys.exit()", 0), ("sys.exit('no')", 1), ("pass", 0)],
)
def test_a_process_ends_with_its_exit_code_despite_running_threads(end, code):
    """A thread that needs the interpreter while it shuts down aborts the process."""
    script = f"""
import sys, threading, time
from catgan.cli import app as cli
from catgan.training import distributed

distributed._job = object()

def app():
    print("said", end="")  # not flushed by itself, into a pipe
    threading.Thread(target=time.sleep, args=(60,)).start()
    {end}
    sys.exit(0)

cli.app = app
cli.main()
"""
    job = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True,
        check=False, timeout=50,
    )  # fmt: skip
    assert (job.returncode, job.stdout, job.stderr) == (code, "said", "")


def test_slices_of_random_numbers_make_up_the_whole_batch():
    def batch_random(world):
        return BatchRandom(torch_generator(3, Stream.AUGMENT, 1), world)

    for sample in (lambda d, n: d.uniform(2, n), lambda d, n: d.integers(-3, 4, 2, n)):
        parts = [sample(batch_random(World(rank, 3)), 4) for rank in range(3)]
        assert torch.equal(torch.cat(parts, -1), sample(batch_random(World()), 12))
    assert [World(rank, 3).batch_slice(12) for rank in range(3)] == [
        slice(0, 4),
        slice(4, 8),
        slice(8, 12),
    ]


def test_slices_of_dropout_masks_make_up_the_whole_batch():
    layer, x = Dropout(0.5).train(), torch.ones(6, 3, 5, 7).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    whole = layer(x)
    parts = []
    for rank in range(3):
        layer.world = (rank, 3)
        torch.manual_seed(1)
        parts.append(layer(x[2 * rank : 2 * rank + 2]))
    assert torch.equal(torch.cat(parts), whole)
    assert 0.3 < (whole == 0).float().mean() < 0.7


@pytest.fixture
def group_of_one():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_synchronized_batch_norm_equals_batch_norm(group_of_one):
    """Output, gradient, second gradient and statistics; in evaluation mode, too."""
    torch.manual_seed(0)
    theirs = nn.BatchNorm2d(5)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    copy = nn.BatchNorm2d(5)
    copy.load_state_dict(theirs.state_dict())
    ours = SynchronizedBatchNorm.from_layer(copy)
    x = 7 + torch.randn(4, 5, 3, 3)
    results = []
    for layer in (theirs, ours):
        image = x.clone().requires_grad_()
        seen = layer(image).tanh()
        (gradient,) = torch.autograd.grad(seen.square().sum(), image, create_graph=True)
        gradient.square().sum().backward()
        found = [seen, gradient, image.grad, layer.weight.grad, *layer.state_dict().values()]
        results.append([*found, layer.eval()(x)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


# -- the job ---------------------------------------------------------------------------------------

SETTINGS = [
    "--recipe=lsgan-64",
    *(
        f"--set={setting}"
        for setting in (
            "network.resolution=32",
            "network.channels=8",
            "network.maximum_channels=16",
            "network.latent_size=8",
            "training.batch_size=8",
            "training.images=2000000",
            "output.log_images=40",
            "output.grid_images=800000",
            "output.checkpoint_images=80",
            "output.grid_seeds=1",
            "output.score_samples=0",
        )
    ),
]


def wait_until(condition, process, seconds=100):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the job ended"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def workers_of(job):
    """Return the job's processes by rank."""
    found = {}
    for child in psutil.Process(job.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RANK" in child.environ():
                found[child.environ()["RANK"]] = child
    return found


def test_a_job_survives_a_killed_worker_and_sigterm_and_resumes_in_one_process(tmp_path):
    write_procedural_cats(tmp_path / "cats", 60, 32)
    run = RunDirectory(tmp_path / "run")
    command = [*TORCHRUN, "--max-restarts=1", "-m", "catgan", "train", str(tmp_path / "cats")]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        job = subprocess.Popen(
            [*command, f"--out={run.path}", *SETTINGS], stdout=out, stderr=err, env=ENVIRONMENT
        )
        try:
            wait_until(lambda: run.checkpoints.names(), job)
            first = workers_of(job)
            assert first.keys() == {"0", "1"}
            first["1"].kill()
            wait_until(lambda: "2 processes" in (tmp_path / "out").read_text(), job)
            reached = int(run.checkpoints.names()[-1])
            wait_until(lambda: int(run.checkpoints.names()[-1]) > reached, job)
            again = workers_of(job)
            assert not {p.pid for p in first.values()} & {p.pid for p in again.values()}
            job.send_signal(signal.SIGTERM)
            assert job.wait(timeout=100) != 0
        finally:
            left = [job, *workers_of(job).values()] if job.poll() is None else []
            for process in left:
                process.kill()
    out, err = (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
    assert out.count("catgan 0.") == 2, out  # rank 0 alone, before and after
    assert out.count("stopped after") == 1, out
    assert len(re.findall("catgan: error", err)) == 1, err  # from the process that was not killed
    assert "another process of this job ended" in err
    stopped_at = int(re.search(r"stopped after ([\d,]+)", out)[1].replace(",", ""))
    assert run.checkpoints.pointer("latest") == f"{stopped_at:09d}"
    rows = [row["images"] for row in run.rows()]
    assert rows == list(range(40, rows[-1] + 1, 40))  # no row twice, none missing
    # The rest in one process.
    total = stopped_at + 80
    said = catgan("train", "--resume", run.path, "--set", f"training.images={total}")
    assert "processes: 2 when the run began, 1 now" in said
    assert f"finished after {total:,} images" in said
    assert run.rows()[-1]["images"] // 40 == total // 40


def run_on_two_machines(directory, *words):
    """Run the command as two processes in separate directories; return codes and outputs."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    jobs = []
    for rank in (0, 1):
        environment = ENVIRONMENT | {
            "RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
        }  # fmt: skip
        command = [sys.executable, "-m", "catgan", "train", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        jobs.append(
            subprocess.Popen(
                command, cwd=directory / str(rank), env=environment, text=True, **pipes
            )
        )
    said = [job.communicate(timeout=200) for job in jobs]
    return [job.returncode for job in jobs], said


def test_a_process_with_other_images_ends_the_job_with_one_line(tmp_path):
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
        write_procedural_cats(
            tmp_path / str(rank) / "cats", 30 + rank, 32
        )  # the same name, other images
    codes, said = run_on_two_machines(tmp_path, "cats", "--out=run", *SETTINGS)
    assert all(code > 0 for code in codes), (codes, said)
    errors = "".join(err for _, err in said).strip().splitlines()
    assert len(errors) == 1, said
    assert "has other images than rank 0" in errors[0]
    assert not (tmp_path / "1" / "run").exists()


# -- weights to start from -------------------------------------------------------------------------

STARTED = [
    f"--set={setting}"
    for setting in (
        "training.precision=float32",
        "training.batch_size=8",
        "training.images=24",
        "output.log_images=8",
        "output.grid_images=800000",
        "output.checkpoint_images=16",
        "output.checkpoints_kept=9",
        "output.grid_seeds=1",
        "output.score_samples=0",
        "augment.diffaugment_cutout=true",
        # So small that weights stay close, whatever Adam does with gradients near 0.
        "optimizer.generator_learning_rate=1e-7",
        "optimizer.discriminator_learning_rate=1e-7",
    )
]


@pytest.fixture
def two_machines(tmp_path):
    """Directories `0` and `1` of two processes with the same cats; only `0` has the weights."""
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
        write_procedural_cats(tmp_path / str(rank) / "cats", 40, 32)
    make_run(tmp_path / "0" / "source", "lsgan-64")
    return tmp_path


def assert_trained_alike(one, two):
    """Initial weights are bit-equal, later ones up to rounding errors."""
    assert [row["images"] for row in one.rows()] == [8, 16, 24]
    for a, b in zip(one.rows(), two.rows(), strict=True):
        a.pop("machine"), b.pop("machine")
        assert b == pytest.approx(a, rel=1e-4)
    assert one.checkpoints.names() == two.checkpoints.names() == [
        "000000000", "000000016", "000000024",
    ]  # fmt: skip
    for name in one.checkpoints.names():
        a, b = (run.checkpoints.load(str(int(name)), print).tensors for run in (one, two))
        for part in ("generator", "ema", "discriminator"):
            for key, tensor in a[part].items():
                if name == "000000000":
                    assert torch.equal(tensor, b[part][key]), (part, key)
                else:
                    torch.testing.assert_close(b[part][key], tensor, rtol=1e-4, atol=1e-5)


def test_a_job_starts_from_weights_that_the_main_process_alone_can_read(two_machines, monkeypatch):
    """As in one process; a job stopped before its first checkpoint starts from them again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(two_machines / "0")
    words = ["cats", "--from=source", *STARTED]
    try:
        catgan("train", *words, "--out", "one")
        # Created and stopped before a step: `--resume` finds no checkpoint.
        settings = [word.removeprefix("--set=") for word in STARTED]
        early = start.new_run(
            Path("cats"), None, settings, Path("early"), "cpu", lambda *_: None, "source"
        )
        early.run.lock.release()
    finally:
        torch.set_num_threads(threads)
    one = RunDirectory(two_machines / "0" / "one")
    source = RunDirectory(two_machines / "0" / "source").checkpoints.load("latest", print).tensors
    begun = one.checkpoints.load("0", print).tensors
    for part in ("ema", "discriminator"):
        assert all(torch.equal(begun[part][key], source[part][key]) for key in source[part])

    codes, said = run_on_two_machines(two_machines, *words, "--out=two")
    assert codes == [0, 0], said
    assert "starts from source (64 images seen of procedural-cats, CC BY-NC 4.0)" in said[0][0]
    assert "finished after 24 images" in said[0][0]
    assert said[1] == ("", "")
    two = RunDirectory(two_machines / "0" / "two")
    assert_trained_alike(one, two)
    assert two.facts()["lineage"] == one.facts()["lineage"]

    codes, said = run_on_two_machines(two_machines, "cats", "--resume=early")
    assert codes == [0, 0], said
    assert_trained_alike(one, RunDirectory(two_machines / "0" / "early"))
    assert sorted(path.name for path in (two_machines / "1").iterdir()) == ["cats"]

    # Once there is a checkpoint, the source is no longer needed.
    shutil.rmtree(two_machines / "0" / "source")
    codes, said = run_on_two_machines(
        two_machines, "cats", "--resume=two", "--set=training.images=32"
    )
    assert codes == [0, 0], said
    assert "resumes after 24 of 32 images" in said[0][0]
    catgan("train", "cats", "--resume", "one", "--set", "training.images=32")
    assert two.rows()[-1]["discriminator_loss"] == pytest.approx(
        one.rows()[-1]["discriminator_loss"], rel=1e-4
    )


def test_a_job_without_the_weights_to_start_from_ends_with_one_line(two_machines):
    home = two_machines / "1"
    words = ["-m", "catgan", "train", "cats", "--from=source", "--out=run", *STARTED]
    job = subprocess.run(
        [*TORCHRUN, *words], cwd=home, env=ENVIRONMENT, capture_output=True, text=True,
        check=False, timeout=200,
    )  # fmt: skip
    assert job.returncode > 0
    (error,) = re.findall("catgan: error: .*", job.stderr)
    assert "--from 'source': expected bundled, an exported .onnx file" in error
    assert not (home / "run").exists()


# -- rejections ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("processes", "nearest"), [(3, 33), (5, 30), (64, 64)])
def test_an_indivisible_batch_size_is_rejected(tmp_path, monkeypatch, processes, nearest):
    monkeypatch.setattr(distributed, "world", lambda: World(0, processes))
    words = f"batch_size = 32 .* {processes} processes: try --set training.batch_size={nearest},"
    with pytest.raises(CatganError, match=words) as error:
        start.new_run(None, "lsgan-64", [], tmp_path / "run", "cpu", print)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
    fits = override(load_recipe("lsgan-64"), [f"training.batch_size={nearest}"])
    start._check_batch_size(fits)


def test_a_job_that_may_restart_needs_out(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert "--out" in catgan("train", "--recipe", "lsgan-64", code=2)


@pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="POSIX: a signal stands in for Ctrl-Break"
)
def test_windows_ctrl_break_stops_as_ctrl_c_does(monkeypatch):
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with signals.StopSignals(float("inf")) as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.asked()
            assert stop.received == signal.SIGUSR1
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_torchruns_second_sigterm_does_not_end_a_save(monkeypatch):
    with signals.StopSignals(float("inf")) as stop:
        assert not stop.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked()
        assert stop.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    monkeypatch.setattr(distributed, "world", lambda: World(0, 2))
    with signals.StopSignals(float("inf")) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "words",
    [
        "[/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4748. This is ...",
        "[/gloo/unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation to complete",
        "[../pair.cc:1] writev [::1]:2: Connection reset by peer",
        "Application timeout caused pair closure",
        "[/gloo/pair.cc:3] Broken pipe",
        "NCCL error: a network error or a remote process exiting prematurely",
    ],
)
def test_a_broken_connection_is_a_lost_process(words):
    ended = pytest.raises(LostProcessError, match="another process of this job ended")
    with ended as error, distributed._collective():
        raise RuntimeError(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("NCCL error: unhandled cuda error. Last error: Cuda failure 'out of memory'"),
        RuntimeError("ProcessGroupGloo::allreduce: invalid tensor type at index 1"),
        RuntimeError(
            "[enforce fail at /gloo/pair.cc:447] op.preamble.length <= op.nbytes. 12 vs 8"
        ),
    ],
)
def test_other_errors_of_a_collective_are_raised_unchanged(error):
    with pytest.raises(RuntimeError) as raised, distributed._collective():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("size", ["2", "many", ""])
def test_world_size_without_torchrun_is_one_line(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    rejected = pytest.raises(CatganError, match=r"not by torchrun.* unset WORLD_SIZE")
    with rejected, distributed.process_group():
        raise AssertionError("joined")
