"""Measure the training speed of projected-128, and the time of each phase of a step.

    python benchmarks/train_throughput.py            # about five minutes on 2 cores

Three measurements take turns, so that all meet the same state of the machine:

- catgan: a step as in `training/loop.py`: one backbone pass per generated batch, `auto` precision,
  channels-last, cached features of real images;
- textbook: the same networks, losses and penalties, implemented as in the papers: the images are
  generated and passed through the backbone once for each network's update, the real images once a
  step, both penalties use the whole batch, in float32 with torch's convolutions and default memory
  layout; everything but the convolutions (blur, noise, eigenfaces) is the same code. It has a
  process of its own, as catgan changes how its process allocates memory (`memory.py`);
- roofline: matrix products of 2048 x 2048, the processor's peak. catgan's share of it counts the
  FLOP of its matrix products and convolutions, with the formulas of torch's counter.

Two more lines measure the real training loop, including its log, at the same time: in its first
epoch, when features of real images are not cached yet, and later.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from catgan.config import Config, load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.memory import kept_memory
from catgan.networks.build import build_discriminator, build_generator
from catgan.networks.capabilities import bfloat16_works
from catgan.networks.layers import convolution, frozen
from catgan.runs.device import choose_precision, describe_machine
from catgan.runs.directory import RunDirectory
from catgan.training.augment import augment, augment_reals
from catgan.training.loop import train
from catgan.training.losses import discriminator_loss, generator_loss, gradient_penalty
from catgan.training.real_feature_cache import RealFeatureCache
from catgan.training.streams import BatchRandom

_CONTIGUOUS = Tensor.contiguous
CPU = torch.device("cpu")
RANGE = (-1.0, 1.0)


class Phases:
    """A stopwatch that sums the wall time of each phase of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def begin(self) -> None:
        """Start a step."""
        self.steps.append({})
        self.last = time.perf_counter()

    def mark(self, phase: str) -> None:
        """Add the time since the last mark to `phase`."""
        now = time.perf_counter()
        self.steps[-1][phase] = self.steps[-1].get(phase, 0.0) + now - self.last
        self.last = now

    def median(self, phase: str) -> float:
        """Return the median over steps of the seconds in `phase`."""
        return statistics.median(step[phase] for step in self.steps)


class Trainer:
    """Generator, discriminator and optimizers of one implementation, and its training step."""

    def __init__(self, config: Config, reals: Tensor, *, textbook: bool) -> None:
        self.config, self.textbook, self.reals = config, textbook, reals
        self.precision = torch.float32 if textbook else choose_precision("auto", CPU)
        self.layout = torch.contiguous_format if textbook else torch.channels_last
        reduced = self.precision != torch.float32
        self.autocast = torch.autocast("cpu", self.precision, enabled=reduced)
        torch.manual_seed(0)
        network, optimizer = config.network, config.optimizer
        self.generator = build_generator(network, [reals]).to(memory_format=self.layout)
        discriminator = build_discriminator(network, lambda: reals, self.precision)
        self.discriminator = discriminator.to(memory_format=self.layout)
        betas = (optimizer.beta1, optimizer.beta2)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(module.parameters(), rate, betas, fused=not textbook)
            for module, rate in (
                (self.generator, optimizer.generator_learning_rate),
                (self.discriminator, optimizer.discriminator_learning_rate),
            )
        )
        self.random = BatchRandom(torch.Generator().manual_seed(0))
        self.cache = RealFeatureCache(self.discriminator, config.augment, len(reals), CPU)

    def generate(self) -> Tensor:
        """Return a batch of generated images."""
        z = torch.randn(self.config.training.batch_size, self.config.network.latent_size)
        with self.autocast:
            return self.generator(z).float()

    def features(self, images: Tensor, indices: Tensor | None = None) -> list[Tensor]:
        """Return backbone features of augmented images; `indices` of real images use the cache."""
        options, keys = (self.config.augment, self.random, RANGE), None
        if self.textbook or indices is None:
            augmented = augment(images, *options)
        else:
            augmented, keys = augment_reals(images, indices, *options, seed=0)
        return self.cache.features(augmented.contiguous(memory_format=self.layout), keys)

    def fill_cache(self) -> None:
        """Cache the features of every real image and its mirror image, as after some epochs."""
        for mirrored, images in enumerate((self.reals, self.reals.flip(3))):
            self.cache.features(images, 2 * torch.arange(len(images)) + mirrored)

    def discriminate(self, features: list[Tensor]) -> Tensor:
        """Return the logits of the discriminator's heads."""
        with self.autocast:
            return self.discriminator(features).float()

    def step(self, phases: Phases) -> None:
        """Update discriminator and generator once."""
        kind, size = self.config.loss.discriminator, self.config.training.batch_size
        phases.begin()
        indices = torch.randint(len(self.reals), (size,))
        real = self.reals[indices].contiguous(memory_format=self.layout)
        phases.mark("real images")
        if self.textbook:
            with torch.no_grad():
                generated = self.generate()
        else:
            generated = self.generate()
        phases.mark("generator, forward")
        real_features = self.features(real, indices)
        phases.mark("backbone, real images")
        generated_features = self.features(generated)
        phases.mark("backbone, generated images")
        self.discriminator.requires_grad_(True)
        detached = [each.detach() for each in generated_features]
        real_logits = self.discriminate(real_features)
        generated_logits = self.discriminate(detached)
        loss = discriminator_loss(kind, real_logits, generated_logits)
        phases.mark("heads, forward")
        weight = self.config.loss.penalty
        if self.textbook:
            for each in (real_features, detached):
                loss = loss + weight / 2 * gradient_penalty(self.discriminate, each)
        else:
            every = self.config.loss.penalty_every
            subset = [
                torch.cat([real[::every], generated[::every]])
                for real, generated in zip(real_features, detached, strict=True)
            ]
            loss = loss + weight * gradient_penalty(self.discriminate, subset)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        phases.mark("heads, penalties and backward")
        self.discriminator_optimizer.step()
        phases.mark("Adam")
        self.discriminator.requires_grad_(False)
        if self.textbook:
            generated = self.generate()
            phases.mark("generator, forward")
            generated_features = self.features(generated)
            phases.mark("backbone, generated images")
        leaves = [each.detach().requires_grad_() for each in generated_features]
        loss = generator_loss(
            kind, lambda: self.discriminate(real_features), self.discriminate(leaves)
        )
        gradients = torch.autograd.grad(loss, leaves)
        phases.mark("heads, generator's loss")
        (gradient,) = torch.autograd.grad(generated_features, generated, gradients)
        phases.mark("backbone, backward")
        self.generator_optimizer.zero_grad()
        generated.backward(gradient)
        phases.mark("generator, backward")
        self.generator_optimizer.step()
        phases.mark("Adam")


class TextbookProcess:
    """The textbook implementation in a process of its own, which waits between its steps."""

    def __init__(self, config: Config, data: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_textbook, args=(config, data, other), daemon=True)
        self.process.start()
        other.close()  # so that the end of the process ends the connection
        self.connection.recv()  # after its first step

    def step(self, phases: Phases) -> float:
        """Carry out a step, add its phases to `phases`, and return its seconds."""
        self.connection.send(None)
        seconds, step = self.connection.recv()
        phases.steps.append(step)
        return seconds


def _textbook(config: Config, data: Path, connection: Connection) -> None:
    torch.set_flush_denormal(True)
    trainer = Trainer(config, read_reals(data).contiguous(), textbook=True)
    phases = Phases()
    with_torch_kernels(lambda: trainer.step(phases))
    connection.send(None)
    with contextlib.suppress(EOFError):  # at the end of the benchmark
        while True:
            connection.recv()
            started = time.perf_counter()
            with_torch_kernels(lambda: trainer.step(phases))
            connection.send((time.perf_counter() - started, phases.steps[-1]))


def read_reals(data: Path) -> Tensor:
    """Return the images of a dataset, (N, 3, H, W) in [-1, 1], in channels-last memory."""
    pixels = torch.from_numpy(Dataset.open(data).images.copy()).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def with_torch_kernels(step: Callable[[], None]) -> None:
    """Run `step` with torch's own kernels instead of ours."""
    with (
        mock.patch.object(frozen, "fused_convolution", return_value=None),
        mock.patch.object(convolution, "MATRIX_PRODUCT_SIDE", 0),
        mock.patch.object(convolution.UpsamplingConvolution, "forward", _upsample_and_convolve),
        mock.patch.object(Tensor, "contiguous", _default_contiguous),
    ):
        step()


def _upsample_and_convolve(layer: convolution.UpsamplingConvolution, image: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(image, scale_factor=2), layer.weight, padding=1)


def _default_contiguous(tensor: Tensor, **_: torch.memory_format) -> Tensor:
    """Ignore a requested memory format."""
    return _CONTIGUOUS(tensor)


class FlopCounter(TorchDispatchMode):
    """Counts FLOP like torch's FlopCounterMode, whose hooks fail for second-order gradients."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`; add its FLOP if it is a matrix product or a convolution."""
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def step_gflop(trainer: Trainer) -> float:
    """Return the GFLOP of a step: matrix products and convolutions, forward and backward.

    Runs without oneDNN's fused convolutions, which the counter does not know.
    """
    with (
        mock.patch.object(frozen, "fused_convolution", return_value=None),
        FlopCounter() as counter,
    ):
        trainer.step(Phases())
    return counter.total / 1e9


def matrix_product_gflops(precision: torch.dtype) -> float:
    """Return GFLOP/s of a 2048 x 2048 matrix product."""
    a, b = torch.randn(2, 2048, 2048).to(precision)
    started = time.perf_counter()
    a @ b
    return 2 * 2048**3 / (time.perf_counter() - started) / 1e9


class Silent:
    """A display that prints nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def loop_rates(config: Config, data: Path, warmup: int, steps: int) -> list[float]:
    """Return the images a second of `steps` steps of the real loop, after `warmup` steps."""
    batch = config.training.batch_size
    settings = [f"training.images={(warmup + steps) * batch}", f"output.log_images={batch}"]
    settings += ["output.grid_seeds=1", "output.score_samples=0"]
    config = override(config, settings)
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory.create(Path(directory), config, {"dataset": {}, "machine": {}})
        train(config, Dataset.open(data), run, Silent(), device=CPU)
        return [row["machine"]["images_per_second"] for row in run.rows()][warmup:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="projected-128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of catgan in each round")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    config = load_recipe(arguments.recipe)
    size = config.training.batch_size
    with tempfile.TemporaryDirectory() as directory, kept_memory():
        data = Path(directory) / "cats"
        write_procedural_cats(data, 256, config.network.resolution)
        few = Path(directory) / "few"  # so few that all are cached after a step
        write_procedural_cats(few, 8, config.network.resolution)
        catgan_trainer = Trainer(config, read_reals(data), textbook=False)
        textbook = TextbookProcess(config, data)
        catgan_trainer.step(Phases())
        catgan_trainer.fill_cache()
        gflop = step_gflop(catgan_trainer)
        catgan_phases, textbook_phases = Phases(), Phases()
        first_epoch: list[float] = []
        later: list[float] = []
        totals: dict[str, list[float]] = {"catgan": [], "textbook": []}
        roofline: dict[torch.dtype, list[float]] = {torch.float32: []}
        if bfloat16_works():
            roofline[torch.bfloat16] = []
        for _ in range(arguments.rounds):
            for _ in range(arguments.steps):
                started = time.perf_counter()
                catgan_trainer.step(catgan_phases)
                totals["catgan"].append(time.perf_counter() - started)
            totals["textbook"].append(textbook.step(textbook_phases))
            for precision, gflops in roofline.items():
                gflops.append(matrix_product_gflops(precision))
            first_epoch += loop_rates(config, data, 2, arguments.steps)
            later += loop_rates(config, few, 4, arguments.steps)

    machine = describe_machine(CPU)
    print(
        f"{arguments.recipe}: batch {size}, {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}, {str(catgan_trainer.precision).removeprefix('torch.')}"
    )
    medians = {name: statistics.median(seconds) for name, seconds in totals.items()}
    print("\n                                     img/s")
    print(f"  textbook                        {size / medians['textbook']:8.1f}")
    print(
        f"  catgan                          {size / medians['catgan']:8.1f}   "
        f"{medians['textbook'] / medians['catgan']:.2f}x"
    )
    print(f"  catgan, the real training loop  {statistics.median(later):8.1f}")
    print(f"    in its first epoch            {statistics.median(first_epoch):8.1f}")
    for precision, gflops in roofline.items():
        name = str(precision).removeprefix("torch.")
        print(f"  roofline: {name:8s} products {statistics.median(gflops):8.0f} GFLOP/s")
    rate = gflop / medians["catgan"]
    share = rate / statistics.median(roofline[catgan_trainer.precision])
    print(
        f"  a step: {gflop / size:.2f} GFLOP an image, {rate:.0f} GFLOP/s, "
        f"{share:.0%} of the roofline"
    )
    print("\nmilliseconds an image               catgan  textbook")
    for phase in catgan_phases.steps[0]:
        cells = [1000 * each.median(phase) / size for each in (catgan_phases, textbook_phases)]
        print(f"  {phase:32s}{cells[0]:8.2f}  {cells[1]:8.2f}")


if __name__ == "__main__":
    main()
