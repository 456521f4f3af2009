"""One training run, top to bottom.

What happens at step k is a pure function of (configuration, seed, k): see `streams.py`. So a run
that was killed and resumed goes through the very weights it would have gone through. Under torchrun
every process runs this with its slice of each batch, and rank 0 writes the files: `distributed.py`.
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
from catgan.runs.device import choose_precision
from catgan.runs.directory import RunDirectory
from catgan.runs.report import write_report
from catgan.runs.sampler import Sampler
from catgan.training import distributed, losses
from catgan.training.augment import augment, augment_reals
from catgan.training.display import Display
from catgan.training.ema import ema_decay, update_ema
from catgan.training.eye_colors import EyeColorLoss
from catgan.training.guard import Guard, measure
from catgan.training.initialize import initial_networks
from catgan.training.metric_averager import MetricAverager
from catgan.training.overfitting import OverfittingMonitor
from catgan.training.real_feature_cache import RealFeatureCache
from catgan.training.recorder import Recorder
from catgan.training.schedules import due, generator_learning_rate, generator_parameter_groups
from catgan.training.signals import StopSignals
from catgan.training.starting_point import StartingPoint
from catgan.training.streams import BatchRandom, Stream, batch_indices, stream_seed, torch_generator
from catgan.training.tensorboard import TensorBoard


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, or stopped by time or by a signal (its number)."""

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
    start_time = time.monotonic()
    seed, batch_size = config.training.seed, config.training.batch_size
    total_images, output, loss = config.training.images, config.output, config.loss

    # -- 1. Machine --------------------------------------------------------------------------------
    torch.set_flush_denormal(True)  # denormal numbers can slow a processor tenfold
    precision = precision or choose_precision(config.training.precision, device)
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    world = distributed.world()  # one process, unless torchrun started more
    rank_slice = world.batch_slice(batch_size)  # the part of every batch for this process

    # -- 2. Data -----------------------------------------------------------------------------------
    training_set = dataset.indices("train")
    low, high = pixel_range(config.network)

    def load_reals(first: int, count: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return images first ... first + count of the shuffled epochs, and their indices."""
        indices = batch_indices(seed, first, count, len(training_set))[part]
        pixels = torch.from_numpy(dataset.images[training_set[indices]]).to(device)
        pixels = pixels.permute(0, 3, 1, 2)  # N, C, H, W, in channels-last memory
        return low + pixels.float() * ((high - low) / 255), torch.from_numpy(indices)

    # -- 3. Networks and optimizers ----------------------------------------------------------------
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(run.lock.release)
        cleanup.callback(display.end)
        checkpoint = None
        if world.is_main_process:
            run.lock.acquire()
            run.clean()
            if resume and run.checkpoints.names():
                checkpoint = run.checkpoints.load("latest", display.note)
                check_resumable(from_table(checkpoint.config, str(checkpoint.path)), config)
        fresh = world.is_main_process and checkpoint is None  # other ranks get rank 0's weights
        statistics_images = (lambda *which: load_reals(*which)[0]) if fresh else None
        total, prepare = len(training_set), display.prepare
        G, D = initial_networks(
            config, device, precision, statistics_images, total, prepare, starting
        )
        distributed.synchronize_layers(G, D)
        G_ema = copy.deepcopy(G).requires_grad_(False)
        opt, fused = config.optimizer, device.type in ("cpu", "cuda")
        adam = functools.partial(torch.optim.Adam, betas=(opt.beta1, opt.beta2), fused=fused)
        G_opt = adam(generator_parameter_groups(G), opt.generator_learning_rate)
        D_opt = adam(D.parameters(), opt.discriminator_learning_rate)
        players: Players = {"generator": (G, G_opt), "discriminator": (D, D_opt)}
        modules = {"generator": G, "ema": G_ema, "discriminator": D}
        feature_cache = RealFeatureCache(D, config.augment, len(training_set), device)

        def extract_features(
            images: Tensor, random: BatchRandom, indices: Tensor | None = None
        ) -> list[Tensor]:
            """Augment images; pass them through what of D is frozen. Reals come with `indices`."""
            how, views = (config.augment, random, (low, high)), None
            if indices is None:
                images = augment(images, *how)
            else:
                images, views = augment_reals(images, indices, *how, seed)
            with autocast:
                images = images.contiguous(memory_format=torch.channels_last)
                return feature_cache.features(images, views)

        def discriminate(features: list[Tensor]) -> Tensor:
            """Return the logits of D's trained part, float32."""
            with autocast:
                return D(features).float()

        # -- 4. Resume -----------------------------------------------------------------------------
        images_seen, averager = 0, MetricAverager(device, batch_size)
        if checkpoint is not None:
            checkpoint.restore(modules, players)
            run.checkpoints.continue_from(checkpoint)
            images_seen = checkpoint.images
            averager.restore(checkpoint.window)
        if resume and world.is_main_process:
            run.rewind(images_seen if checkpoint else -1)  # before the first one, all of it
        images_seen = distributed.broadcast_state(modules, players, images_seen)
        guard, sampler = Guard(run), Sampler(G_ema, config.network, device)
        recorder = Recorder(
            config, run, display, sampler, autocast, modules, players, averager, guard, reals
        )
        overfitting = OverfittingMonitor(dataset, D, discriminate, device)
        eye_color_loss = EyeColorLoss(loss.eye_colors, (low, high), load_reals, total)
        if images_seen == 0 and world.is_main_process:
            recorder.make_grid(0)
            if starting is not None:
                recorder.checkpoint(0)  # the score of the weights that the run starts from
        logs_events = tensorboard and world.is_main_process
        events = TensorBoard(run.path, images_seen) if logs_events else None
        display.begin(images_seen, total_images)
        stop = cleanup.enter_context(StopSignals(start_time + 60 * minutes))

        # -- 5. Training steps ---------------------------------------------------------------------
        while images_seen < total_images and not stop.asked(recorder.is_past_its_best):
            step, step_start = images_seen // batch_size, time.monotonic()
            torch.manual_seed(stream_seed(seed, Stream.LAYERS, step))  # for dropout
            random = BatchRandom(torch_generator(seed, Stream.AUGMENT, step), world)
            noise = torch_generator(seed, Stream.NOISE, step)
            z = torch.randn(batch_size, config.network.latent_size, generator=noise)[rank_slice]

            # Both players use one pass of G and one of the frozen backbone.
            with autocast:
                fake = G(z.to(device)).float()
            real, indices = load_reals(images_seen, batch_size, rank_slice)
            real_features = extract_features(real, random, indices)
            fake_features = extract_features(fake, random)

            # Update D.
            D.requires_grad_(True)
            detached = [features.detach() for features in fake_features]
            real_logits, fake_logits = discriminate(real_features), discriminate(detached)
            D_loss = losses.discriminator_loss(loss.discriminator, real_logits, fake_logits)
            strength = losses.penalty_strength(loss, images_seen)
            penalty = torch.zeros_like(D_loss)
            if strength:  # R1 and R2 at once, on a part of the batch
                every = loss.penalty_every
                pairs = zip(real_features, detached, strict=True)
                part = [torch.cat([one[::every], other[::every]]) for one, other in pairs]
                penalty = strength * losses.gradient_penalty(discriminate, part)
            D_opt.zero_grad(set_to_none=True)
            (D_loss + penalty).backward()
            distributed.average_gradients(D)
            D_opt.step()

            # Update G, with the updated D.
            D.requires_grad_(False)
            G_loss = losses.generator_loss(
                loss.generator,
                functools.partial(discriminate, real_features),
                discriminate(fake_features),
            )
            for group in G_opt.param_groups:
                group["lr"] = generator_learning_rate(opt, images_seen, group["late"])
            G_opt.zero_grad(set_to_none=True)
            (G_loss + eye_color_loss(fake)).backward()
            distributed.average_gradients(G)
            G_opt.step()

            images_seen += batch_size
            half_life, ramp = config.training.ema_half_life, config.training.ema_ramp
            update_ema(G_ema, G, ema_decay(batch_size, images_seen, half_life, ramp))

            # -- 6. Log, sample grid, checkpoint: rank 0 alone -------------------------------------
            both = torch.stack([D_loss, G_loss])
            metrics, logit = measure(loss, both, real_logits, fake_logits, real, fake)
            if not world.is_main_process:
                continue
            averager.add(metrics, time.monotonic() - step_start)
            display.step(images_seen)
            if due(output.log_images, images_seen, batch_size):
                row = averager.row(images_seen) | overfitting.measure(logit.item())
                guard.watch(row)
                run.append_row(row)
                display.row(row)
                if events:
                    events.row(row)
            if due(output.grid_images, images_seen, batch_size):
                recorder.make_grid(images_seen)
            if due(output.checkpoint_images, images_seen, batch_size):
                recorder.checkpoint(images_seen)

        # -- 7. End --------------------------------------------------------------------------------
        if world.is_main_process:
            if not run.grid_path(images_seen).exists():
                recorder.make_grid(images_seen)
            if run.checkpoints.pointer("latest") != f"{images_seen:09d}":
                recorder.checkpoint(images_seen, scored=images_seen >= total_images)
            write_report(run)
        distributed.wait_for_all()  # torchrun would end rank 0, still saving, if another left early
    finished = images_seen >= total_images or recorder.is_past_its_best
    return Outcome(images_seen, finished, stop.received)
