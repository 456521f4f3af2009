"""One training run, top to bottom.

What happens at step k is a pure function of (configuration, seed, k): see `streams.py`. So a run
that was killed and resumed goes through the very weights it would have gone through. Under torchrun
every process runs this with its share of each batch, and the first one keeps: `distributed.py`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from catgan.config import Config, check_resumable, from_table
from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.quick import RealsStatistics
from catgan.networks.build import pixel_range
from catgan.runs.checkpoint import Players
from catgan.runs.directory import RunDirectory
from catgan.runs.report import write_report
from catgan.runs.sampler import Sampler
from catgan.training import distributed, losses
from catgan.training.augment import augment, augment_reals
from catgan.training.device import choose_precision
from catgan.training.display import Display
from catgan.training.ema import ema_decay, update_ema
from catgan.training.guard import Guard, measure
from catgan.training.initialize import initial_networks
from catgan.training.memory import Memory
from catgan.training.overfitting import OverfittingMonitor
from catgan.training.recorder import Recorder
from catgan.training.schedules import (
    due,
    generator_learning_rate,
    generator_parameter_groups,
)
from catgan.training.signals import StopSignals
from catgan.training.starting_point import StartingPoint
from catgan.training.streams import Draws, Stream, batch_indices, stream_seed, torch_generator
from catgan.training.tally import Tally
from catgan.training.tensorboard import TensorBoard


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
    precision: torch.dtype | None = None,
    reals: RealsStatistics | None = None,
    starting: StartingPoint | None = None,
    resume: bool = False,
    minutes: float = math.inf,
    tensorboard: bool = False,
) -> Outcome:
    """Train until `config.training.images`, `minutes` of wall time, or a signal.

    `run` is a fresh directory, or with `resume` one that holds checkpoints; it is locked meanwhile.
    The dataset's resolution is the network's. `precision` is that of the configuration unless
    given. With `reals`, checkpoints are scored against them. A fresh run begins with `starting`.
    Raises `TrainingFailedError` on divergence or collapse, `CatganError` for files it cannot use.
    """
    began = time.monotonic()
    settings, seed, rules = config.training, config.training.seed, config.loss
    batch_size, output = settings.batch_size, config.output

    # -- 1. The machine ----------------------------------------------------------------------------
    torch.set_flush_denormal(True)  # denormal numbers can slow a processor tenfold
    precision = precision or choose_precision(settings.precision, device)
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    world = distributed.world()  # one process, unless torchrun started more
    mine = world.of(batch_size)  # this one's share of every batch

    # -- 2. The data -------------------------------------------------------------------------------
    training_images = dataset.indices("train")
    low, high = pixel_range(config.network)

    def real_images(first: int, count: int, share: slice = slice(None)) -> tuple[Tensor, Tensor]:
        chosen = batch_indices(seed, first, count, len(training_images))[share]
        pixels = torch.from_numpy(dataset.images[training_images[chosen]]).to(device)
        pixels = pixels.permute(0, 3, 1, 2)  # N, C, H, W, in channels-last memory
        return low + pixels.float() * ((high - low) / 255), torch.from_numpy(chosen)

    # -- 3. The players ----------------------------------------------------------------------------
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(run.lock.release)
        at_the_end.callback(display.end)
        checkpoint = None
        if world.leads:
            run.lock.acquire()
            run.clean()
            if resume and run.checkpoints.names():
                checkpoint = run.checkpoints.load("latest", display.note)
                check_resumable(from_table(checkpoint.config, str(checkpoint.path)), config)
        fresh = world.leads and checkpoint is None  # other processes get the first one's weights
        looked_at = (lambda *which: real_images(*which)[0]) if fresh else None
        generator, discriminator = initial_networks(
            config, device, precision, looked_at, len(training_images), display.prepare, starting
        )
        distributed.span_the_batch(generator, discriminator)
        average = copy.deepcopy(generator).requires_grad_(False)
        rate, fused = config.optimizer, device.type in ("cpu", "cuda")
        adam = functools.partial(torch.optim.Adam, betas=(rate.beta1, rate.beta2), fused=fused)
        generator_optimizer = adam(
            generator_parameter_groups(generator), rate.generator_learning_rate
        )
        discriminator_optimizer = adam(discriminator.parameters(), rate.discriminator_learning_rate)
        players: Players = {
            "generator": (generator, generator_optimizer),
            "discriminator": (discriminator, discriminator_optimizer),
        }
        modules = {"generator": generator, "ema": average, "discriminator": discriminator}
        sampler = Sampler(average, config.network, device)
        memory = Memory(discriminator, config.augment, len(training_images), device)

        def look(images: Tensor, amounts: Draws, chosen: Tensor | None = None) -> list[Tensor]:
            how, names = (config.augment, amounts, (low, high)), None
            if chosen is None:
                pictures = augment(images, *how)
            else:
                pictures, names = augment_reals(images, chosen, *how, seed)
            with autocast:
                pictures = pictures.contiguous(memory_format=torch.channels_last)
                return memory.features(pictures, names)

        def judge(features: list[Tensor]) -> Tensor:
            with autocast:
                return discriminator(features).float()

        # -- 4. Where it goes on -------------------------------------------------------------------
        images, tally = 0, Tally(device, batch_size)
        if checkpoint is not None:
            checkpoint.restore(modules, players)
            run.checkpoints.go_on_from(checkpoint)
            images = checkpoint.images
            tally.restore(checkpoint.window)
        if resume and world.leads:
            run.rewind(images if checkpoint else -1)  # before the first one, all of it
        images = distributed.copy_from_first(modules, players, images)
        guard = Guard(run)

        recorder = Recorder(
            config, run, display, sampler, autocast, modules, players, tally, guard, reals
        )
        overfitting = OverfittingMonitor(dataset, discriminator, judge, device)

        # -- 5. The steps --------------------------------------------------------------------------
        if images == 0 and world.leads:
            recorder.sheet(0)
            if starting is not None:
                recorder.checkpoint(0)  # what came of the weights is measured against this
        events = TensorBoard(run.path, images) if tensorboard and world.leads else None
        display.begin(images, settings.images)
        stop = at_the_end.enter_context(StopSignals(began + 60 * minutes))
        while images < settings.images and not stop.asked(recorder.is_past_its_best):
            step, step_began = images // batch_size, time.monotonic()
            torch.manual_seed(stream_seed(seed, Stream.LAYERS, step))  # dropout draws from it
            noise = torch_generator(seed, Stream.NOISE, step)
            amounts = Draws(torch_generator(seed, Stream.AUGMENT, step), world)
            z = torch.randn(batch_size, config.network.latent_size, generator=noise)[mine]

            with autocast:
                generated = generator(z.to(device)).float()
            real, chosen = real_images(images, batch_size, mine)
            seen_real, seen_generated = look(real, amounts, chosen), look(generated, amounts)

            # The discriminator learns to tell real from generated ...
            discriminator.requires_grad_(True)
            detached = [features.detach() for features in seen_generated]
            on_real, on_generated = judge(seen_real), judge(detached)
            d_loss = losses.discriminator_loss(rules.discriminator, on_real, on_generated)
            penalised, strength = d_loss, losses.penalty_strength(rules, images)
            if strength:  # R1 and R2 together, on a part of the batch
                every = rules.penalty_every
                seen = zip(seen_real, detached, strict=True)
                some = [torch.cat([real[::every], made[::every]]) for real, made in seen]
                penalised = penalised + strength * losses.gradient_penalty(judge, some)
            discriminator_optimizer.zero_grad(set_to_none=True)
            penalised.backward()
            distributed.average_gradients(discriminator)
            discriminator_optimizer.step()

            # ... and the generator, with the same images, to be taken for real.
            discriminator.requires_grad_(False)
            g_loss = losses.generator_loss(
                rules.generator, functools.partial(judge, seen_real), judge(seen_generated)
            )
            for group in generator_optimizer.param_groups:
                group["lr"] = generator_learning_rate(rate, images, group["late"])
            generator_optimizer.zero_grad(set_to_none=True)
            g_loss.backward()
            distributed.average_gradients(generator)
            generator_optimizer.step()

            images += batch_size
            decay = ema_decay(batch_size, images, settings.ema_half_life, settings.ema_ramp)
            update_ema(average, generator, decay)

            # -- 6. What is kept of it, by the first process ---------------------------------------
            both = torch.stack([d_loss, g_loss])
            measures, logit = measure(rules, both, on_real, on_generated, real, generated)
            if not world.leads:
                continue
            tally.add(measures, time.monotonic() - step_began)  # without what is kept of it
            display.step(images)
            if due(output.log_images, images, batch_size):
                row = tally.row(images)
                row |= overfitting.measure(logit.item())
                guard.watch(row)
                run.append_row(row)
                display.row(row)
                if events:
                    events.row(row)
            if due(output.sheet_images, images, batch_size):
                recorder.sheet(images)
            if due(output.checkpoint_images, images, batch_size):
                recorder.checkpoint(images)

        # -- 7. The end ----------------------------------------------------------------------------
        if world.leads:
            if not run.sheet_path(images).exists():
                recorder.sheet(images)
            if run.checkpoints.pointer("latest") != f"{images:09d}":
                recorder.checkpoint(images, scored=images >= settings.images)
            write_report(run)
        distributed.wait_for_all()  # torchrun would end the first, saving, if another left early
    ended = images >= settings.images or recorder.is_past_its_best
    return Outcome(images, ended, stop.received)
