"""Training in several processes under torchrun. In a single process nothing here does anything.

Every process holds all weights and has its share of each batch; the steps that they take together
are those of one process with the whole batch, up to rounding, where `loss.penalty_every` divides a
share (docs/guides/distributed.md). `DistributedDataParallel` is not used: it wraps one `forward`
and one `backward` a step, where here a discriminator is entered at two places, differentiated twice
for its penalties, and called by both players. Collectives between backward pass and optimizer do
the same, and stand in the loop where they happen.

CPU tensors travel by gloo, those of GPUs by NCCL. What is said between processes is JSON and
tensors, nothing pickled. The first process alone writes the run.
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
from catgan.training.streams import Share

# How long a process waits for the others before it gives them up. A process that dies is noticed at
# once; only a machine that falls silent is waited for. The first process scores a checkpoint
# meanwhile, which takes seconds.
TIMEOUT = timedelta(minutes=10)
BEAT_SECONDS = 5.0  # between two signs of life of a process that does something long

_job: dist.Store | None = None  # what the processes of the job share, once they have `joined`
_blocks = itertools.count()

# In messages of gloo and NCCL, when a peer is gone.
LOST_PROCESS = (
    r"connect|timed? ?out|broken pipe|network|no route|unreachable|"
    r"remote (process|worker|peer)|communicator was aborted"
)


class LostProcessError(CatganError):
    """Another process of the job ended, or does not answer."""


@contextlib.contextmanager
def joined() -> Iterator[Share]:
    """Be one of the processes that torchrun started, if it did; yields this one's share.

    When the job fails, the process that notices first raises what it noticed, and the others exit
    without a word, so that a person reads one line and not one from each.
    """
    told = os.environ.get("WORLD_SIZE", "1")
    if told.strip() == "1":
        yield Share()
        return
    try:
        with _together():
            store, rank, processes = next(iter(rendezvous("env://", timeout=TIMEOUT)))
    except ValueError:  # a variable is missing, or is no number
        raise CatganError(
            f"WORLD_SIZE={quoted(told)} is set in the environment, but not by torchrun: start with "
            "torchrun -m catgan train, or unset WORLD_SIZE"
        ) from None
    # torchrun keeps one store for all its restarts: what the dead wrote there must not be read.
    store = dist.PrefixStore(f"catgan, restart {_restarts()}", store)
    global _job
    _job = store
    try:
        if _may_restart() and int(os.environ["LOCAL_WORLD_SIZE"]) < processes:
            raise CatganError(  # each machine's torchrun counts restarts for itself
                "torchrun --max-restarts is for one machine: with several, leave it out and let "
                "the cluster start the job again with --resume"
            )
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _together():
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=processes, timeout=TIMEOUT
            )
        yield Share(rank, processes)
    except BaseException as error:
        if not _speaks_first(store):
            raise SystemExit(getattr(error, "exit_code", 1)) from None
        raise
    dist.destroy_process_group()


def end_process(code: str | int | None) -> None:
    """End this process with an exit code, if it is one of a job; else do nothing.

    At once, without taking the interpreter down: a thread of gloo's that lets go of its last tensor
    meanwhile asks for the interpreter, and the process is aborted (SIGABRT) in place of its code.
    """
    if _job is None:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def world() -> Share:
    """Which share of each batch is this process's: all of it, unless `joined`."""
    return Share(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Share()


def run_to_resume(out: Path | None, resume: Path | None) -> Path | None:
    """`resume`; or `out` where torchrun starts the job again that began there.

    Raises `CatganError` for a job that torchrun may start again and that would not find its run.
    """
    if _may_restart() and not (out or resume):
        raise CatganError("torchrun --max-restarts must find the run again: name it with --out")
    return out if out and _restarts() and is_run(out) else resume


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _may_restart() -> bool:
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


# -- what all processes know -----------------------------------------------------------------------


def share(value: Any) -> Any:
    """The first process's `value`, of JSON's types, in every process."""
    if world().processes == 1:
        return value
    data = json.dumps(value).encode() if world().is_main_process else b""
    size = torch.tensor([len(data)])
    _broadcast(size)
    text = torch.tensor(list(data or bytes(int(size))), dtype=torch.uint8)
    _broadcast(text)
    return json.loads(text.numpy().tobytes())


def wait_for_all() -> None:
    """Return when every process is here."""
    highest(0)


@contextlib.contextmanager
def may_take_long() -> Iterator[None]:
    """Do something that may take hours in some processes; the others wait at the end of the block.

    A collective would give up after `TIMEOUT`. Here a process is given up only when for so long it
    has shown no sign of life. All processes enter the block, and leave it together.

    Raises:
        LostProcessError: another process failed or fell silent.
    """
    if _job is None:
        yield
        return
    here, block, done = world(), next(_blocks), threading.Event()

    def show_signs_of_life() -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone: the main thread will say so
            while not done.wait(BEAT_SECONDS):
                _job.add(f"beat {here.rank}", 1)

    beating = threading.Thread(target=show_signs_of_life, daemon=True)
    beating.start()
    try:
        yield
        with _together():
            _wait_at(_job, f"block {block}", here)
    finally:
        done.set()
        beating.join(timeout=10)  # or it would use the store while the process ends


def _wait_at(store: dist.Store, place: str, here: Share) -> None:
    store.add(place, 1)
    beats, heard = [0] * here.processes, [time.monotonic()] * here.processes
    while store.add(place, 0) < here.processes:
        time.sleep(0.1)
        for rank in range(here.processes):
            if (beat := store.add(f"beat {rank}", 0)) != beats[rank]:
                beats[rank], heard[rank] = beat, time.monotonic()
        silent = time.monotonic() - min(heard)
        if store.add("failed", 0) or silent > TIMEOUT.total_seconds():
            raise LostProcessError(
                "another process of this job failed or fell silent while this one waited for it: "
                "see what it said, then start again"
            )


def highest(number: int) -> int:
    """The highest of all processes' numbers."""
    if world().processes == 1:
        return number
    of_all = torch.tensor([number])
    with _together():
        dist.all_reduce(of_all, dist.ReduceOp.MAX)
    return int(of_all)


@torch.no_grad()
def copy_from_first(modules: dict[str, nn.Module], players: Players, images: int) -> int:
    """Give every process the first one's images seen, which it hands back, and its weights.

    With images seen, Adam's state, too. So no other process reads the run's directory, and nothing
    hangs on two machines computing a start alike to the last bit.
    """
    if world().processes == 1:
        return images
    images = share(images)
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
    together = torch.cat([gradient.flatten() for gradient in gradients])  # one message, not many
    with _together():
        dist.all_reduce(together)
    together /= world().processes
    parts = together.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def whole_batch(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each float32 tensor (B, ...) of this process's share as that of the whole batch, detached."""
    if world().processes == 1:
        return tensors
    mine = torch.cat([tensor.detach().flatten() for tensor in tensors])
    of_all = [torch.empty_like(mine) for _ in range(world().processes)]
    with _together():
        dist.all_gather(of_all, mine)
    sizes = [tensor.numel() for tensor in tensors]
    parts = zip(*(part.split(sizes) for part in of_all), strict=True)
    return [
        torch.cat(part).view(-1, *tensor.shape[1:])
        for tensor, part in zip(tensors, parts, strict=True)
    ]


def span_the_batch(*networks: nn.Module) -> None:
    """Make layers that mix images, or draw numbers for them, do so for the whole batch."""
    if world().processes == 1:
        return
    for parent in [module for network in networks for module in network.modules()]:
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SynchronizedBatchNorm.of(child))
            elif isinstance(child, Dropout):
                child.share = (world().rank, world().processes)


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of the whole batch, however many processes share it.

    torch's own SyncBatchNorm needs a GPU, and cannot be differentiated twice, which the gradient
    penalties ask for.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> SynchronizedBatchNorm:
        """The same layer, parameters and statistics and all, synchronized."""
        made = cls(layer.num_features, layer.eps, layer.momentum, layer.affine)
        made._parameters, made._buffers = layer._parameters, layer._buffers
        return made.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name nn.BatchNorm2d gives it
        """(B, C, H, W), of this process's share, normalized while training by the whole batch."""
        if not self.training:
            return super().forward(input)
        x, here = input.float(), world()
        mine = torch.stack(torch.var_mean(x, (0, 2, 3), correction=0))
        # Gathered as a sum of tables that are 0 but for one row each: the gradient of a sum over
        # processes is a sum over processes, so this can be differentiated as often as one likes.
        table = F.pad(mine[None], (0, 0, 0, 0, here.rank, here.processes - 1 - here.rank))
        variances, means = _Sum.apply(table).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        with torch.no_grad():
            count = here.processes * x[:, 0].numel()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        y = (x - mean[:, None, None]) * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes, in each of them.

    Backward sums, too: so what each process gets is the gradient of all processes' losses.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        with _together():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0])


# -- failures --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """What all processes must take part in: says so in one line when one of them is gone.

    Another error is of this process, its memory or its code, and is raised as it is.
    """
    try:
        yield
    except RuntimeError as error:  # what gloo raises, and the base of what NCCL and stores do
        if not _is_lost_process(error):
            raise
        reason = re.sub(r"^\[[^]]*\]\s*", "", str(error).strip().splitlines()[0]).split(". ")[0]
        raise LostProcessError(
            f"another process of this job ended or does not answer ({reason}): see what it said, "
            "then go on from the last checkpoint with catgan train --resume"
        ) from None


def _is_lost_process(error: RuntimeError) -> bool:
    """Whether a connection broke or timed out. Gloo has no classes for that, only words."""
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
        return False
    return isinstance(error, dist.DistNetworkError | dist.DistStoreError) or bool(
        re.search(LOST_PROCESS, str(error), re.IGNORECASE)
    )


def _broadcast(tensor: Tensor) -> None:
    with _together():
        dist.broadcast(tensor, 0)


def _speaks_first(store: dist.Store) -> bool:
    """Whether this process is the first of the job to fail."""
    numbers: list[int] = []

    def take_a_number() -> None:
        with contextlib.suppress(RuntimeError):
            numbers.append(store.add("failed", 1))

    # In a thread, as a store on a machine that fell silent answers after a quarter of an hour.
    asking = threading.Thread(target=take_a_number, daemon=True)
    asking.start()
    asking.join(timeout=10)
    if not numbers:  # the machine with the store is gone: one line a machine, then
        return os.environ.get("LOCAL_RANK", "0") == "0"
    return numbers[0] == 1
