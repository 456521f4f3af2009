"""A job on two machines, each a network namespace with torchrun in it, joined by a virtual cable.

    sudo python tests/faults/two_nodes.py        # Linux, root, iproute2; about three minutes

1. Two nodes with one process each train, are stopped by SIGTERM to one node, and save.
2. The run goes on; one node is killed altogether: the other ends with one line, and no hang.
3. The run goes on; the cable is cut: what trains ends after the timeout, with one line a node.
4. What is left is resumed by one process.

The second node has its own copy of the dataset and never sees the run's directory, as machines
without shared storage would not. Prints a line a case; exits with 1 when one fails, with 77 when
this machine cannot do it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import catgan as package
from catgan.data.synthetic.procedural import write_procedural_cats

NODES = ("catgan-a", "catgan-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
SKIPPED = 77  # what test harnesses take for "skipped"
SETTINGS = [
    "training.batch_size=8",
    "training.images=4000000",
    "network.resolution=32",
    "network.channels=8",
    "network.maximum_channels=16",
    "network.latent_size=8",
    "output.log_images=40",
    "output.grid_images=800000",
    "output.checkpoint_images=80",
    "output.grid_seeds=1",
    "output.score_samples=0",
]
# The command with a timeout that a test can wait for.
COMMAND = """
import sys
from datetime import timedelta
from catgan.training import distributed
distributed.TIMEOUT = timedelta(seconds=20)
from catgan.cli.app import main
main()
"""


def ip(*words: str) -> None:
    """Run iproute2's `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def network():
    """Two namespaces and a cable between them."""
    remove()
    ends = ("catgan0", "catgan1")
    for node in NODES:
        ip("netns", "add", node)
    try:
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for node, end, address in zip(NODES, ends, ADDRESSES, strict=True):
            ip("link", "set", end, "netns", node)
            ip("-n", node, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", node, "link", "set", "lo", "up")
            ip("-n", node, "link", "set", end, "up")
        yield
    finally:
        remove()


def remove() -> None:
    """Take down what is there of the network, and what runs in it."""
    for rank, node in enumerate(NODES):
        for pid in pids_on(rank):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", node], check=False, capture_output=True)


def pids_on(rank: int) -> list[int]:
    """The processes of a node."""
    found = subprocess.run(
        ["ip", "netns", "pids", NODES[rank]], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


class Job:
    """One torchrun in each namespace."""

    def __init__(self, place: Path, port: int, arguments: list[str]) -> None:
        script = place / "command.py"
        script.write_text(COMMAND)
        environment = os.environ | {
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        }
        self.nodes, self.outputs = [], []
        for rank, node in enumerate(NODES):
            cable = environment | {"GLOO_SOCKET_IFNAME": f"catgan{rank}"}
            output = place / f"node-{rank}-{port}.txt"
            command = [
                *("ip", "netns", "exec", node, sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1"),
                *(f"--master-addr={ADDRESSES[0]}", f"--master-port={port}"),
                *(str(script), "train", "cats", *arguments),
            ]
            with output.open("w") as file:
                self.nodes.append(
                    subprocess.Popen(
                        command,
                        cwd=place / str(rank),
                        env=cable,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
            self.outputs.append(output)

    def said(self) -> list[str]:
        """What each node printed."""
        return [output.read_text(errors="replace") for output in self.outputs]

    def errors(self) -> list[list[str]]:
        """The error lines of each node."""
        return [re.findall(r"catgan: error: .*", text) for text in self.said()]

    def wait(self, seconds: float) -> list[int]:
        """Exit codes; fails when a node hangs."""
        end = time.monotonic() + seconds
        return [node.wait(max(end - time.monotonic(), 0.1)) for node in self.nodes]

    def workers(self) -> list[int]:
        """Processes that torchrun started and that have not ended."""
        agents = [node.pid for node in self.nodes]
        return [pid for rank in range(2) for pid in pids_on(rank) if pid not in agents]

    def kill(self, rank: int) -> None:
        """End everything on a node at once, as a power cut would."""
        for pid in pids_on(rank):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], job: Job, seconds: float = 240) -> None:
    """Wait for something while the job runs."""
    end = time.monotonic() + seconds
    while not condition():
        ended = [node.poll() for node in job.nodes]
        if any(code is not None for code in ended) or time.monotonic() > end:
            print(*job.said(), sep="\n---\n")
            raise SystemExit(f"FAILED: waited in vain, nodes ended with {ended}")
        time.sleep(0.2)


def require(condition: bool, what: str, job: Job) -> None:
    """Fail unless `condition`."""
    if not condition:
        print(*job.said(), sep="\n---\n")
        raise SystemExit(f"FAILED: {what}")


def newest(run: Path) -> int:
    """Images seen at the newest checkpoint."""
    names = [p.name for p in (run / "checkpoints").glob("*") if p.name.isdigit()]
    return max(map(int, names), default=0)


def torture(place: Path) -> None:
    """All cases, one after the other, on one run."""
    for rank in range(2):
        write_procedural_cats(place / str(rank) / "cats", 60, 32)
    run = place / "0" / "run"
    begin = ["--recipe=lsgan-64", "--out=run", *(f"--set={setting}" for setting in SETTINGS)]
    go_on = ["--resume=run"]

    job = Job(place, 29511, begin)
    until(lambda: newest(run) >= 160, job)
    job.nodes[1].send_signal(signal.SIGTERM)
    job.wait(120)
    stopped = re.search(r"stopped after ([\d,]+)", job.said()[0])
    require(stopped is not None, "the first node did not stop in order", job)
    assert stopped is not None
    images = int(stopped[1].replace(",", ""))
    require(newest(run) == images, "the step it stopped at was not saved", job)
    require(job.errors() == [[], []], "an orderly end is no error", job)
    require("images" not in job.said()[1].split("torch")[0], "the second node printed", job)
    require(not (place / "1" / "run").exists(), "the second node wrote a run", job)
    print(f"two nodes, SIGTERM to the second: both stopped, saved after {images} images")

    job = Job(place, 29512, go_on)
    until(lambda: newest(run) > images + 160, job)
    job.kill(1)
    code = job.wait(120)[0]
    require(code != 0, "the first node ended well", job)
    require(len(job.errors()[0]) == 1, "not one line", job)
    print(f"second node killed: {job.errors()[0][0]}")

    images = newest(run)
    job = Job(place, 29513, go_on)
    until(lambda: newest(run) > images + 160, job)
    ip("-n", NODES[1], "link", "set", "catgan1", "down")
    end = time.monotonic() + 240
    while not (ended := all(job.errors()) and not job.workers()) and time.monotonic() < end:
        time.sleep(1)
    require(ended, "a node still waits", job)
    require([len(lines) for lines in job.errors()] == [1, 1], "not one line a node", job)
    print(f"cable cut: {job.errors()[1][0]}")
    for rank in range(2):  # torchrun itself may wait longer for the other one's
        job.kill(rank)

    images = newest(run) + 80
    alone = [sys.executable, str(place / "command.py"), "train", "cats", *go_on]
    alone += [f"--set=training.images={images}"]
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}
    end = subprocess.run(
        alone, cwd=place / "0", env=environment, capture_output=True, text=True, check=False
    )
    require(end.returncode == 0 and f"finished after {images:,}" in end.stdout, end.stderr, job)
    print(f"one process: finished after {images} images")


def main() -> None:
    """Set up, run, take down."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        print("SKIPPED: two_nodes.py needs Linux, root and iproute2")
        raise SystemExit(SKIPPED)
    try:
        with network(), tempfile.TemporaryDirectory() as directory:
            torture(Path(directory))
    except subprocess.CalledProcessError as error:
        print(f"SKIPPED: no network namespaces here: {error.stderr.decode().strip()}")
        raise SystemExit(SKIPPED) from None
    print("two nodes: all well")


if __name__ == "__main__":
    main()
