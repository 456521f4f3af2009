"""How fast does projected-128 train here, and where does the time go?

    python benchmarks/train_throughput.py            # about five minutes on 2 cores

Three things in one process, taking turns, so that they meet the same machine:

- catgan: a step as `training/loop.py` takes it: one look at the generated images serves both
  players, in `auto` precision, channels-last, and real images that it has seen before;
- textbook: the same networks, losses and penalties as one writes them from the papers: the
  generated images are made and looked at once for each player, the real ones once a step, both
  penalties on the whole batch, float32, torch's own convolutions, everything in its default memory
  layout; what is not a convolution (smoothing, noise, eigenfaces) is the same code;
- roofline: matrix products of 2048 x 2048, what the processor can do at best.

Two more lines of catgan are the real training loop, with its log and everything, in the same
minutes: in its first epoch, when each real image is looked at for the first time, and later.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import Config, load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
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
    """Wall time between marks, summed by phase for each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def begin(self) -> None:
        """Start the clock of a step."""
        self.steps.append({})
        self.last = time.perf_counter()

    def mark(self, phase: str) -> None:
        """The time since the last mark was `phase`'s."""
        now = time.perf_counter()
        self.steps[-1][phase] = self.steps[-1].get(phase, 0.0) + now - self.last
        self.last = now

    def median(self, phase: str) -> float:
        """Seconds of a step."""
        return statistics.median(step[phase] for step in self.steps)


class Trainer:
    """The players of one way to train, and a step."""

    def __init__(self, config: Config, reals: Tensor, *, textbook: bool) -> None:
        self.config, self.textbook, self.reals = config, textbook, reals
        self.precision = torch.float32 if textbook else choose_precision("auto", CPU)
        self.layout = torch.contiguous_format if textbook else torch.channels_last
        self.autocast = torch.autocast("cpu", self.precision, enabled=not textbook)
        torch.manual_seed(0)
        network, optimizer = config.network, config.optimizer
        self.generator = build_generator(network, [reals]).to(memory_format=self.layout)
        discriminator = build_discriminator(network, lambda: reals, self.precision)
        self.discriminator = discriminator.to(memory_format=self.layout)
        betas = (optimizer.beta1, optimizer.beta2)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(player.parameters(), rate, betas, fused=not textbook)
            for player, rate in (
                (self.generator, optimizer.generator_learning_rate),
                (self.discriminator, optimizer.discriminator_learning_rate),
            )
        )
        self.amounts = BatchRandom(torch.Generator().manual_seed(0))
        self.memory = RealFeatureCache(self.discriminator, config.augment, len(reals), CPU)

    def generate(self) -> Tensor:
        """A batch of images."""
        z = torch.randn(self.config.training.batch_size, self.config.network.latent_size)
        with self.autocast:
            return self.generator(z).float()

    def look(self, images: Tensor, chosen: Tensor | None = None) -> list[Tensor]:
        """Features of augmented images, of which the `chosen` real ones may be remembered."""
        how, names = (self.config.augment, self.amounts, RANGE), None
        if self.textbook or chosen is None:
            pictures = augment(images, *how)
        else:
            pictures, names = augment_reals(images, chosen, *how, seed=0)
        return self.memory.features(pictures.contiguous(memory_format=self.layout), names)

    def look_at_all(self) -> None:
        """Remember every real image and its mirror image, as after some epochs."""
        for mirrored, images in enumerate((self.reals, self.reals.flip(3))):
            self.memory.features(images, 2 * torch.arange(len(images)) + mirrored)

    def judge(self, features: list[Tensor]) -> Tensor:
        """Outputs of the heads."""
        with self.autocast:
            return self.discriminator(features).float()

    def step(self, phases: Phases) -> None:
        """One update of each player; for the textbook, everything of its own for each."""
        kind, size = self.config.loss.discriminator, self.config.training.batch_size
        phases.begin()
        chosen = torch.randint(len(self.reals), (size,))
        real = self.reals[chosen].contiguous(memory_format=self.layout)
        phases.mark("real images")
        if self.textbook:
            with torch.no_grad():
                generated = self.generate()
        else:
            generated = self.generate()
        phases.mark("generator, forward")
        seen_real = self.look(real, chosen)
        phases.mark("look at the real ones")
        seen_generated = self.look(generated)
        phases.mark("look at the generated ones")
        self.discriminator.requires_grad_(True)
        detached = [features.detach() for features in seen_generated]
        on_real, on_generated = self.judge(seen_real), self.judge(detached)
        loss = discriminator_loss(kind, on_real, on_generated)
        phases.mark("heads, forward")
        if self.textbook:
            for seen in (seen_real, detached):
                loss = loss + self.config.loss.penalty / 2 * gradient_penalty(self.judge, seen)
        else:
            every = self.config.loss.penalty_every
            seen = zip(seen_real, detached, strict=True)
            some = [torch.cat([real[::every], made[::every]]) for real, made in seen]
            loss = loss + self.config.loss.penalty * gradient_penalty(self.judge, some)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        phases.mark("heads, penalties and backward")
        self.discriminator_optimizer.step()
        phases.mark("Adam")
        self.discriminator.requires_grad_(False)
        if self.textbook:
            generated = self.generate()
            phases.mark("generator, forward")
            seen_generated = self.look(generated)
            phases.mark("look at the generated ones")
        seen = [features.detach().requires_grad_() for features in seen_generated]
        loss = generator_loss(kind, lambda: self.judge(seen_real), self.judge(seen))
        gradients = torch.autograd.grad(loss, seen)
        phases.mark("heads, for the generator")
        (gradient,) = torch.autograd.grad(seen_generated, generated, gradients)
        phases.mark("look, backward")
        self.generator_optimizer.zero_grad()
        generated.backward(gradient)
        phases.mark("generator, backward")
        self.generator_optimizer.step()
        phases.mark("Adam")


def as_textbook(step: Callable[[], None]) -> None:
    """Take `step` with torch's own kernels in place of ours."""
    with (
        mock.patch.object(frozen, "fused_convolution", return_value=None),
        mock.patch.object(convolution, "MATRIX_PRODUCT_SIDE", 0),
        mock.patch.object(convolution.EnlargingConvolution, "forward", _enlarge_plainly),
        mock.patch.object(Tensor, "contiguous", _contiguous_plainly),
    ):
        step()


def _enlarge_plainly(layer: convolution.EnlargingConvolution, image: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(image, scale_factor=2), layer.weight, padding=1)


def _contiguous_plainly(tensor: Tensor, **_: torch.memory_format) -> Tensor:
    return _CONTIGUOUS(tensor)


def gemm(precision: torch.dtype) -> float:
    """GFLOP/s of a 2048 x 2048 product."""
    a, b = torch.randn(2, 2048, 2048).to(precision)
    began = time.perf_counter()
    a @ b
    return 2 * 2048**3 / (time.perf_counter() - began) / 1e9


class Silent:
    """A display for the real loop."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def loop_rates(config: Config, data: Path, before: int, steps: int) -> list[float]:
    """img/s of so many steps of the real loop, after some others."""
    batch = config.training.batch_size
    settings = [f"training.images={(before + steps) * batch}", f"output.log_images={batch}"]
    settings += ["output.grid_seeds=1", "output.score_samples=0"]
    config = override(config, settings)
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory.create(Path(directory), config, {"dataset": {}, "machine": {}})
        train(config, Dataset.open(data), run, Silent(), device=CPU)
        return [row["machine"]["images_per_second"] for row in run.rows()][before:]


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
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "cats"
        write_procedural_cats(data, 256, config.network.resolution)
        few = Path(directory) / "few"  # that come again at once
        write_procedural_cats(few, 8, config.network.resolution)
        pixels = torch.from_numpy(Dataset.open(data).images.copy()).permute(0, 3, 1, 2)
        reals = pixels.float() / 127.5 - 1
        ours = Trainer(config, reals, textbook=False)
        plain = Trainer(config, copy.deepcopy(reals).contiguous(), textbook=True)
        warm = Phases()
        ours.step(warm)
        as_textbook(lambda: plain.step(warm))
        ours.look_at_all()
        phases, textbook = Phases(), Phases()
        first_epoch: list[float] = []
        later: list[float] = []
        totals: dict[str, list[float]] = {"catgan": [], "textbook": []}
        roofline: dict[torch.dtype, list[float]] = {torch.float32: []}
        if bfloat16_works():
            roofline[torch.bfloat16] = []
        for _ in range(arguments.rounds):
            for _ in range(arguments.steps):
                began = time.perf_counter()
                ours.step(phases)
                totals["catgan"].append(time.perf_counter() - began)
            began = time.perf_counter()
            as_textbook(lambda: plain.step(textbook))
            totals["textbook"].append(time.perf_counter() - began)
            for precision, found in roofline.items():
                found.append(gemm(precision))
            first_epoch += loop_rates(config, data, 2, arguments.steps)
            later += loop_rates(config, few, 4, arguments.steps)

    machine = describe_machine(CPU)
    print(
        f"{arguments.recipe}: batch {size}, {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}, {str(ours.precision).removeprefix('torch.')}"
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
    for precision, found in roofline.items():
        name = str(precision).removeprefix("torch.")
        print(f"  roofline: {name:8s} products {statistics.median(found):8.0f} GFLOP/s")
    print("\nmilliseconds an image               catgan  textbook")
    for phase in phases.steps[0]:
        cells = [1000 * times.median(phase) / size for times in (phases, textbook)]
        print(f"  {phase:32s}{cells[0]:8.2f}  {cells[1]:8.2f}")


if __name__ == "__main__":
    main()
