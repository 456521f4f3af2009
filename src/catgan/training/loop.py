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
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from catgan.config import Config, check_resumable, from_table
from catgan.data.dataset import Dataset
from catgan.errors import CatganError
from catgan.evaluation.quick import RealsStatistics, quick_score
from catgan.generation.sheet import save_image, sheet
from catgan.networks.build import build_discriminator, build_generator, pixel_range
from catgan.training.augment import augment
from catgan.training.checkpoint import Players, Window, optimizer_tensors
from catgan.training.device import choose_precision, memory_mib
from catgan.training.display import Display
from catgan.training.ema import ema_decay, update_ema
from catgan.training.losses import decision_threshold, discriminator_loss, generator_loss
from catgan.training.report import write_report
from catgan.training.run_directory import RunDirectory
from catgan.training.sampling import Sampler
from catgan.training.signals import StopSignals
from catgan.training.streams import Stream, batch_indices, stream_seed, torch_generator
from catgan.training.tensorboard import TensorBoard

# What is averaged between two rows of the log, in this order.
MEASURES = ("discriminator_loss", "generator_loss", "real_accuracy", "generated_accuracy")


class TrainingDivergedError(CatganError):
    """The losses are no longer finite. The last checkpoint is from before."""

    exit_code = 3


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
    `TrainingDivergedError` on NaN or infinity, `CatganError` for what cannot be read or written.
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

    def real_images(images_seen: int) -> Tensor:
        chosen = batch_indices(seed, images_seen, batch_size, len(training_images))
        pixels = torch.from_numpy(dataset.images[training_images[chosen]]).to(device)
        pixels = pixels.permute(0, 3, 1, 2)  # N, C, H, W, in channels-last memory
        return low + pixels.float() * ((high - low) / 255)

    # -- 3. The players ----------------------------------------------------------------------------
    torch.manual_seed(stream_seed(seed, Stream.INITIALISATION, 0))
    generator = build_generator(config.network).to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    discriminator = build_discriminator(config.network).to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
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

    def judge(pictures: Tensor, amounts: torch.Generator) -> Tensor:
        pictures = augment(pictures, config.augment, amounts, (low, high))
        with autocast:
            return discriminator(pictures.contiguous(memory_format=memory_format)).float()

    # -- 4. Where it goes on -----------------------------------------------------------------------
    images = 0
    sums = torch.zeros(len(MEASURES), device=device)  # of the measures since the last row
    steps_in_sums = 0
    run.checkpoints.clean()
    if resume and run.checkpoints.names():
        checkpoint = run.checkpoints.load("latest", display.note)
        check_resumable(from_table(checkpoint.config, str(checkpoint.path)), config)
        checkpoint.restore(modules, players)
        images, steps_in_sums = checkpoint.images, checkpoint.window.steps
        sums += torch.tensor(checkpoint.window.sums, device=device)
    if resume:
        run.rewind(images)

    def draw_sheet() -> None:
        cats = sampler(range(output.sheet_seeds))
        save_image(sheet(cats), run.sheet_path(images))

    def check_finite(tensors: Iterable[Tensor], what: str) -> None:
        if not all(torch.isfinite(tensor).all() for tensor in tensors):
            raise TrainingDivergedError(
                f"{run.path}: training diverged before {images} images, {what} are not finite; "
                "what was saved before stays: start anew with lower optimizer.*_learning_rate, "
                "or with --set training.precision=float32"
            )

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
            check_finite(state.values(), f"weights of {part}")
        window = Window(sums.tolist(), steps_in_sums)
        keep, asked = output.checkpoints_kept, dataclasses.asdict(config)
        run.checkpoints.save(images, asked, window, tensors, keep=keep, score=score)
        write_report(run)

    def due(interval: int) -> bool:
        return images // interval > (images - batch_size) // interval

    # -- 5. The steps ------------------------------------------------------------------------------
    if images == 0:
        draw_sheet()
    events = TensorBoard(run.path, images) if tensorboard else None
    steps_timed, seconds = 0, 0.0  # since the last row
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

            # The discriminator learns to tell real from generated ...
            discriminator.requires_grad_(True)
            with autocast:
                generated = generator(z).float()
            on_real = judge(real_images(images), augmentation)
            on_generated = judge(generated.detach(), augmentation)
            loss_of_discriminator = discriminator_loss(
                config.loss.discriminator, on_real, on_generated
            )
            discriminator_optimizer.zero_grad(set_to_none=True)
            loss_of_discriminator.backward()
            discriminator_optimizer.step()

            # ... and the generator, with the same images, to be taken for real.
            discriminator.requires_grad_(False)
            on_generated_again = judge(generated, augmentation)
            loss_of_generator = generator_loss(config.loss.generator, on_generated_again)
            generator_optimizer.zero_grad(set_to_none=True)
            loss_of_generator.backward()
            generator_optimizer.step()

            images += batch_size
            decay = ema_decay(batch_size, images, settings.ema_half_life, settings.ema_ramp)
            update_ema(average, generator, decay)

            # -- 6. What is kept of it -------------------------------------------------------------
            threshold = decision_threshold(config.loss.discriminator)
            with torch.no_grad():
                right_on_real = (on_real > threshold).float().mean()
                right_on_generated = (on_generated <= threshold).float().mean()
                sums += torch.stack(
                    [loss_of_discriminator, loss_of_generator, right_on_real, right_on_generated]
                )
            steps_in_sums, steps_timed = steps_in_sums + 1, steps_timed + 1
            seconds += time.monotonic() - step_began  # without sheets, scores and checkpoints
            display.step(images)
            if due(output.log_images):
                check_finite([sums], "losses")
                means = [total / steps_in_sums for total in sums.tolist()]
                row = {"images": images, **dict(zip(MEASURES, means, strict=True))}
                row["machine"] = {  # what a repetition of the run need not repeat
                    "images_per_second": round(steps_timed * batch_size / seconds, 2),
                    "memory_mib": memory_mib(device),
                    "unix_time": round(time.time(), 1),
                }
                run.append_row(row)
                display.row(row)
                if events:
                    events.row(row)
                sums.zero_()
                steps_in_sums, steps_timed, seconds = 0, 0, 0.0
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
