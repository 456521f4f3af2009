"""Training in several processes under torchrun. In a single process nothing here does anything.

Every process holds all weights and computes its slice of each batch. A step equals that of one
process with the whole batch, up to rounding, if `loss.penalty_every` divides a slice
(docs/guides/distributed.md). `DistributedDataParallel` is not used: it wraps one `forward` and one
`backward` per step, while the discriminator here is entered at two layers, differentiated twice for
its penalties, and called by both players. Collectives between backward pass and optimizer do the
same, and stay visible in the loop. CPU tensors travel by gloo, GPU tensors by NCCL. Processes
exchange JSON and tensors, nothing pickled. Rank 0 alone writes the run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from catgan.errors import CatganError, quoted
from catgan.networks.layers.dropout import Dropout
from catgan.runs.checkpoint import Players, optimizer_tensors
from catgan.runs.directory import is_run
from catgan.training.streams import World

# How long a process waits for the others. A process that dies is noticed at once; only a machine
# that falls silent is waited for. Rank 0 scores a checkpoint meanwhile, which takes seconds.
TIMEOUT = timedelta(minutes=10)
HEARTBEAT_SECONDS = 5.0  # between two heartbeats in `keep_alive`

_job: dist.Store | None = None  # the processes' common store, inside `process_group`
_blocks = itertools.count()

# Found in messages of gloo and NCCL when a peer is gone.
LOST_PROCESS_PATTERN = (
    r"connect|timed? ?out|broken pipe|network|no route|unreachable|"
    r"remote (process|worker|peer)|communicator was aborted"
)


class LostProcessError(CatganError):
    """Another process of the job ended, or does not respond."""


@contextlib.contextmanager
def process_group() -> Iterator[World]:
    """Join the processes that torchrun started, if it did; yield this process's `World`.

    When the job fails, the first process to notice raises its error, and the others exit silently,
    so that a person reads one line and not one per process.
    """
    world_size = os.environ.get("WORLD_SIZE", "1")
    if world_size.strip() == "1":
        yield World()
        return
    try:
        with _collective():
            store, rank, processes = next(iter(rendezvous("env://", timeout=TIMEOUT)))
    except ValueError:  # a variable is missing or not a number
        raise CatganError(
            f"WORLD_SIZE={quoted(world_size)} is set in the environment, but not by torchrun: "
            "start with torchrun -m catgan train, or unset WORLD_SIZE"
        ) from None
    # torchrun keeps one store for all its restarts: entries of earlier ones must not be read.
    store = dist.PrefixStore(f"catgan, restart {_restarts()}", store)
    global _job
    _job = store
    try:
        if _may_restart() and int(os.environ["LOCAL_WORLD_SIZE"]) < processes:
            raise CatganError(  # each machine's torchrun counts restarts separately
                "torchrun --max-restarts is for one machine: with several, leave it out and let "
                "the cluster start the job again with --resume"
            )
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _collective():
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=processes, timeout=TIMEOUT
            )
        yield World(rank, processes)
    except BaseException as error:
        if not _is_first_to_fail(store):
            raise SystemExit(getattr(error, "exit_code", 1)) from None
        raise
    dist.destroy_process_group()


def end_process(code: str | int | None) -> None:
    """End this process with an exit code, if it belongs to a job; otherwise do nothing.

    It ends at once, without shutting down the interpreter: a gloo thread that releases its last
    tensor meanwhile would ask for the interpreter, and the process would abort (SIGABRT) instead of
    returning its code.
    """
    if _job is None:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def world() -> World:
    """Return this process's rank and the number of processes: 0 of 1 outside `process_group`."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


def run_to_resume(out: Path | None, resume: Path | None) -> Path | None:
    """Return the run to resume: `resume`, or `out` where torchrun restarts a job begun there.

    Raises:
        CatganError: torchrun may restart the job, which would not find its run.
    """
    if _may_restart() and not (out or resume):
        raise CatganError("torchrun --max-restarts must find the run again: name it with --out")
    return out if out and _restarts() and is_run(out) else resume


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _may_restart() -> bool:
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


# -- exchange between processes --------------------------------------------------------------------


def broadcast_json(value: Any) -> Any:
    """Return rank 0's `value`, of JSON types, in every process."""
    if world().processes == 1:
        return value
    data = json.dumps(value).encode() if world().is_main_process else b""
    size = torch.tensor([len(data)])
    _broadcast(size)
    text = torch.tensor(list(data or bytes(int(size))), dtype=torch.uint8)
    _broadcast(text)
    return json.loads(text.numpy().tobytes())


def wait_for_all() -> None:
    """Return once every process has called this."""
    all_reduce_max(0)


@contextlib.contextmanager
def keep_alive() -> Iterator[None]:
    """Run a block that may take hours in some processes; the others wait at its end.

    A collective would time out after `TIMEOUT`. Here a process counts as lost only when it has sent
    no heartbeat for that long. All processes must enter the block, and they leave it at the same
    time.

    Raises:
        LostProcessError: another process failed or fell silent.
    """
    if _job is None:
        yield
        return
    own, block, done = world(), next(_blocks), threading.Event()

    def send_heartbeats() -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone: the main thread reports it
            while not done.wait(HEARTBEAT_SECONDS):
                _job.add(f"beat {own.rank}", 1)

    sender = threading.Thread(target=send_heartbeats, daemon=True)
    sender.start()
    try:
        yield
        with _collective():
            _wait_at_barrier(_job, f"block {block}", own)
    finally:
        done.set()
        sender.join(timeout=10)  # else it could use the store while the process ends


def _wait_at_barrier(store: dist.Store, barrier: str, own: World) -> None:
    store.add(barrier, 1)
    beats, last_heard = [0] * own.processes, [time.monotonic()] * own.processes
    while store.add(barrier, 0) < own.processes:
        time.sleep(0.1)
        for rank in range(own.processes):
            if (beat := store.add(f"beat {rank}", 0)) != beats[rank]:
                beats[rank], last_heard[rank] = beat, time.monotonic()
        silent = time.monotonic() - min(last_heard)
        if store.add("failed", 0) or silent > TIMEOUT.total_seconds():
            raise LostProcessError(
                "another process of this job failed or fell silent while this one waited for it: "
                "see its message, then start again"
            )


def all_reduce_max(number: int) -> int:
    """Return the maximum of `number` over all processes."""
    if world().processes == 1:
        return number
    maximum = torch.tensor([number])
    with _collective():
        dist.all_reduce(maximum, dist.ReduceOp.MAX)
    return int(maximum)


@torch.no_grad()
def broadcast_state(modules: dict[str, nn.Module], players: Players, images: int) -> int:
    """Copy rank 0's weights to every process, and return rank 0's images seen.

    If images have been seen, copy Adam's state, too. So no other process reads the run's directory,
    and results do not depend on two machines initializing the same weights to the last bit.
    """
    if world().processes == 1:
        return images
    images = broadcast_json(images)
    tensors = [tensor for module in modules.values() for tensor in module.state_dict().values()]
    if images:
        for module, optimizer in players.values():
            for parameter in module.parameters():
                if not optimizer.state[parameter]:
                    on = parameter.device if optimizer.defaults["fused"] else "cpu"
                    moments = [torch.zeros_like(parameter) for _ in range(2)]
                    optimizer.state[parameter] = {
                        "step": torch.zeros((), device=on),
                        "exp_avg": moments[0],
                        "exp_avg_sq": moments[1],
                    }
        tensors += optimizer_tensors(players).values()
    for tensor in tensors:
        copied = tensor.clone(memory_format=torch.contiguous_format)
        data = copied.view(-1).view(torch.uint8)  # any type travels as bytes
        _broadcast(data)
        tensor.copy_(copied)
    return images


# -- a step ----------------------------------------------------------------------------------------


def average_gradients(module: nn.Module) -> None:
    """Replace every parameter's gradient by its mean over the processes."""
    if world().processes == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message
    with _collective():
        dist.all_reduce(flat)
    flat /= world().processes
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def gather_batch(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return each float32 tensor (B, ...) of this process's slice for the whole batch, detached."""
    if world().processes == 1:
        return tensors
    own = torch.cat([tensor.detach().flatten() for tensor in tensors])
    gathered = [torch.empty_like(own) for _ in range(world().processes)]
    with _collective():
        dist.all_gather(gathered, own)
    sizes = [tensor.numel() for tensor in tensors]
    parts = zip(*(part.split(sizes) for part in gathered), strict=True)
    return [
        torch.cat(part).view(-1, *tensor.shape[1:])
        for tensor, part in zip(tensors, parts, strict=True)
    ]


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes, through which gradients flow to all."""
    if world().processes == 1:
        return tensor
    return _AllReduceSum.apply(tensor) / world().processes


def synchronize_layers(*networks: nn.Module) -> None:
    """Make layers that mix images or sample random numbers do so over the whole batch."""
    if world().processes == 1:
        return
    for parent in [module for network in networks for module in network.modules()]:
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SynchronizedBatchNorm.from_layer(child))
            elif isinstance(child, Dropout):
                child.world = (world().rank, world().processes)


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of the whole batch of all processes.

    torch's own SyncBatchNorm needs a GPU, and cannot be differentiated twice, as the gradient
    penalties require.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    @classmethod
    def from_layer(cls, layer: nn.BatchNorm2d) -> SynchronizedBatchNorm:
        """Return a synchronized layer that shares the parameters and statistics of `layer`."""
        synchronized = cls(layer.num_features, layer.eps, layer.momentum, layer.affine)
        synchronized._parameters, synchronized._buffers = layer._parameters, layer._buffers
        return synchronized.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name nn.BatchNorm2d gives it
        """Normalize this process's slice (B, C, H, W), in training by whole-batch statistics."""
        if not self.training:
            return super().forward(input)
        x, group = input.float(), world()
        own = torch.stack(torch.var_mean(x, (0, 2, 3), correction=0))
        # Gather by summing tables that are zero except for one row each: the gradient of a sum over
        # processes is again a sum over processes, so this can be differentiated to any order.
        table = F.pad(own[None], (0, 0, 0, 0, group.rank, group.processes - 1 - group.rank))
        variances, means = _AllReduceSum.apply(table).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        with torch.no_grad():
            count = group.processes * x[:, 0].numel()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        y = (x - mean[:, None, None]) * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)


class _AllReduceSum(torch.autograd.Function):
    """The sum of a tensor over the processes, in each of them.

    Backward sums, too: each process gets the gradient of the sum of all processes' losses.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        with _collective():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _AllReduceSum.apply(gradients[0])


# -- failures --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _collective() -> Iterator[None]:
    """Report in one line if another process is gone during a collective operation.

    Any other error belongs to this process, its memory or its code, and is raised unchanged.
    """
    try:
        yield
    except RuntimeError as error:  # what gloo raises, and the base of what NCCL and stores do
        if not _is_lost_process(error):
            raise
        reason = re.sub(r"^\[[^]]*\]\s*", "", str(error).strip().splitlines()[0]).split(". ")[0]
        raise LostProcessError(
            f"another process of this job ended or does not respond ({reason}): see its message, "
            "then resume from the last checkpoint with catgan train --resume"
        ) from None


def _is_lost_process(error: RuntimeError) -> bool:
    """Return whether a connection broke or timed out. Gloo marks that by text only."""
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
        return False
    return isinstance(error, dist.DistNetworkError | dist.DistStoreError) or bool(
        re.search(LOST_PROCESS_PATTERN, str(error), re.IGNORECASE)
    )


def _broadcast(tensor: Tensor) -> None:
    with _collective():
        dist.broadcast(tensor, 0)


def _is_first_to_fail(store: dist.Store) -> bool:
    """Return whether this process is the first of the job to fail."""
    numbers: list[int] = []

    def take_a_number() -> None:
        with contextlib.suppress(RuntimeError):
            numbers.append(store.add("failed", 1))

    # In a thread, since a store on a machine that fell silent blocks for a quarter of an hour.
    asking = threading.Thread(target=take_a_number, daemon=True)
    asking.start()
    asking.join(timeout=10)
    if not numbers:  # the machine with the store is gone: then one line per machine
        return os.environ.get("LOCAL_RANK", "0") == "0"
    return numbers[0] == 1
