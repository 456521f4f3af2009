"""One training run, top to bottom.

What happens at step k is a pure function of (configuration, seed, k): see `streams.py`. So a run
that was killed and resumed goes through the very weights it would have gone through.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from catgan.config import Config, check_resumable, from_table
from catgan.data.dataset import Dataset
from catgan.evaluation.quick import RealsStatistics, quick_score
from catgan.generation.sheet import save_image, sheet
from catgan.networks.build import build_discriminator, build_generator, pixel_range
from catgan.training.augment import augment
from catgan.training.checkpoint import Players, optimizer_tensors
from catgan.training.device import choose_precision
from catgan.training.display import Display
from catgan.training.ema import ema_decay, update_ema
from catgan.training.guard import Guard, accuracies, diversity
from catgan.training.losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    penalty_strength,
)
from catgan.training.report import write_report
from catgan.training.run_directory import RunDirectory
from catgan.training.sampling import Sampler
from catgan.training.signals import StopSignals
from catgan.training.streams import Stream, batch_indices, stream_seed, torch_generator
from catgan.training.tally import Tally
from catgan.training.tensorboard import TensorBoard

REALS_FOR_STATISTICS = 256  # images that a projected discriminator is standardised on


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, or stopped by `time` or by a signal (its number)."""

    images: int
    finished: bool
    signal: int | None = None


def train(
    config: Config,
    dataset: Dataset,
    run: RunDirectory,
    display: Display,
    *,
    device: torch.device,
    reals: RealsStatistics | None = None,
    resume: bool = False,
    minutes: float = math.inf,
    tensorboard: bool = False,
) -> Outcome:
    """Train until `config.training.images`, `minutes` of wall time, or a signal.

    `run` is a fresh directory, or with `resume` one that holds checkpoints. The dataset's
    resolution is the network's. With `reals`, checkpoints are scored against them. Raises
    `TrainingFailedError` on NaN, infinity or collapse, `CatganError` for what cannot be read or
    written.
    """
    began = time.monotonic()
    settings, seed = config.training, config.training.seed
    batch_size, output = settings.batch_size, config.output

    # -- 1. The machine ----------------------------------------------------------------------------
    torch.set_flush_denormal(True)  # denormal numbers can slow a processor tenfold
    precision = choose_precision(settings.precision, device)
    memory_format = torch.channels_last  # what networks/convolution.py gathers from
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)

    # -- 2. The data -------------------------------------------------------------------------------
    training_images = dataset.indices("train")
    low, high = pixel_range(config.network)

    def real_images(images_seen: int, count: int) -> Tensor:
        chosen = batch_indices(seed, images_seen, count, len(training_images))
        pixels = torch.from_numpy(dataset.images[training_images[chosen]]).to(device)
        pixels = pixels.permute(0, 3, 1, 2)  # N, C, H, W, in channels-last memory
        return low + pixels.float() * ((high - low) / 255)

    # -- 3. The players ----------------------------------------------------------------------------
    torch.manual_seed(stream_seed(seed, Stream.INITIALISATION, 0))
    generator = build_generator(config.network).to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    sample = real_images(0, REALS_FOR_STATISTICS).cpu()  # where networks are built
    discriminator = build_discriminator(config.network, sample, precision)
    discriminator = discriminator.to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    average = copy.deepcopy(generator).requires_grad_(False)
    betas = (config.optimizer.beta1, config.optimizer.beta2)
    fused = device.type in ("cpu", "cuda")
    generator_optimizer = torch.optim.Adam(
        generator.parameters(), config.optimizer.generator_learning_rate, betas, fused=fused
    )
    discriminator_optimizer = torch.optim.Adam(
        discriminator.parameters(), config.optimizer.discriminator_learning_rate, betas, fused=fused
    )
    players: Players = {
        "generator": (generator, generator_optimizer),
        "discriminator": (discriminator, discriminator_optimizer),
    }
    modules = {"generator": generator, "ema": average, "discriminator": discriminator}
    sampler = Sampler(average, config.network, device)

    def look(pictures: Tensor, amounts: torch.Generator) -> list[Tensor]:
        pictures = augment(pictures, config.augment, amounts, (low, high))
        with autocast:
            return discriminator.features(pictures.contiguous(memory_format=memory_format))

    def judge(features: list[Tensor]) -> Tensor:
        with autocast:
            return discriminator(features).float()

    # -- 4. Where it goes on -----------------------------------------------------------------------
    images = 0
    tally = Tally(device, batch_size)
    run.checkpoints.clean()
    if resume and run.checkpoints.names():
        checkpoint = run.checkpoints.load("latest", display.note)
        check_resumable(from_table(checkpoint.config, str(checkpoint.path)), config)
        checkpoint.restore(modules, players)
        images = checkpoint.images
        tally.restore(checkpoint.window)
    if resume:
        run.rewind(images)
    guard = Guard(run)

    def draw_sheet() -> None:
        cats = sampler(range(output.sheet_seeds))
        save_image(sheet(cats), run.sheet_path(images))

    def score() -> float | None:
        if reals is None:
            return None
        quick = quick_score(sampler, reals, count=output.score_samples)
        name = quick.fingerprint.extractor.frechet_name
        run.append_row({"images": images, "score": quick.frechet, "scored_by": name})
        display.note(f"{name} {quick.frechet:.1f} after {images:,} images")
        return quick.frechet

    def save_checkpoint(score: float | None) -> None:
        tensors = {part: module.state_dict() for part, module in modules.items()}
        tensors["optimizer"] = optimizer_tensors(players)
        for part, state in tensors.items():  # what is lost must not replace what is not
            guard.check_finite(state.values(), f"weights of {part}", images)
        keep, asked = output.checkpoints_kept, dataclasses.asdict(config)
        run.checkpoints.save(images, asked, tally.window(), tensors, keep=keep, score=score)
        write_report(run)

    def due(interval: int) -> bool:
        return images // interval > (images - batch_size) // interval

    # -- 5. The steps ------------------------------------------------------------------------------
    if images == 0:
        draw_sheet()
    events = TensorBoard(run.path, images) if tensorboard else None
    display.begin(images, settings.images)
    with StopSignals() as stop, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(display.end)
        while (
            images < settings.images
            and stop.received is None
            and time.monotonic() - began < 60 * minutes
        ):
            step, step_began = images // batch_size, time.monotonic()
            torch.manual_seed(stream_seed(seed, Stream.LAYERS, step))  # dropout draws from it
            noise = torch_generator(seed, Stream.NOISE, step)
            augmentation = torch_generator(seed, Stream.AUGMENT, step)
            z = torch.randn(batch_size, config.network.latent_size, generator=noise).to(device)

            with autocast:
                generated = generator(z).float()
            real = real_images(images, batch_size)
            seen_real, seen_generated = look(real, augmentation), look(generated, augmentation)

            # The discriminator learns to tell real from generated ...
            discriminator.requires_grad_(True)
            detached = [features.detach() for features in seen_generated]
            on_real, on_generated = judge(seen_real), judge(detached)
            loss_of_discriminator = discriminator_loss(
                config.loss.discriminator, on_real, on_generated
            )
            penalised = loss_of_discriminator
            strength = penalty_strength(config.loss, images)
            if strength:  # R1 and R2 together, on a part of the batch
                every = config.loss.penalty_every
                seen = zip(seen_real, detached, strict=True)
                some = [torch.cat([real[::every], made[::every]]) for real, made in seen]
                penalised = penalised + strength * gradient_penalty(judge, some)
            discriminator_optimizer.zero_grad(set_to_none=True)
            penalised.backward()
            discriminator_optimizer.step()

            # ... and the generator, with the same images, to be taken for real.
            discriminator.requires_grad_(False)
            loss_of_generator = generator_loss(
                config.loss.generator, on_real, judge(seen_generated)
            )
            generator_optimizer.zero_grad(set_to_none=True)
            loss_of_generator.backward()
            generator_optimizer.step()

            images += batch_size
            decay = ema_decay(batch_size, images, settings.ema_half_life, settings.ema_ramp)
            update_ema(average, generator, decay)

            # -- 6. What is kept of it -------------------------------------------------------------
            measures = [loss_of_discriminator, loss_of_generator]
            measures += accuracies(config.loss.discriminator, on_real, on_generated)
            measures += [diversity(generated) / diversity(real).clamp_min(1e-4)]
            tally.add(measures, time.monotonic() - step_began)  # without what is kept of it
            display.step(images)
            if due(output.log_images):
                row = tally.row(images)
                guard.watch(row)
                run.append_row(row)
                display.row(row)
                if events:
                    events.row(row)
            if due(output.sheet_images):
                draw_sheet()
            if due(output.checkpoint_images):
                save_checkpoint(score())

        # -- 7. The end ----------------------------------------------------------------------------
        if not run.sheet_path(images).exists():
            draw_sheet()
        if run.checkpoints.pointer("latest") != f"{images:09d}":
            save_checkpoint(score() if images >= settings.images else None)
    write_report(run)
    return Outcome(images, images >= settings.images, stop.received)
