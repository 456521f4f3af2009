"""Correct which eigenface coefficients occur together, after training.

Every coefficient of generated images has the mean and standard deviation that it has in photos, and
the strongest ones are uncorrelated. Still some combinations are more frequent than in photos, and
others rarer; a discriminator, which sees patches and a batch at a time, does not notice. Here a
small network moves the coefficients a little, so that generated and real low-resolution images are
distributed alike. With everything else fixed, steps cost so little that each can compare many
hundreds of images.

They are compared by energy distance (Szekely and Rizzo, "Energy statistics: A class of statistics
based on distances", 2013), which is 0 for equal distributions alone, and whose gradient needs no
statistics of earlier batches. It is measured between the coefficients themselves and between
spatial means of random convolutions. Each step has new random weights, so that the correction suits
no network in particular.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_RELU_SLOPE = 0.2
STEPS = 400
BATCH_SIZE = 768  # of generated and of real images, at each step
LEARNING_RATE = 1e-3  # of the first 4/5 of the steps; then it falls to a fifth, linearly
COMPARED_COEFFICIENTS = 64  # the strongest ones: there the weak ones would count as much as they
CONVOLUTION_CHANNELS = (32, 64, 96)  # of the random convolutions, each of stride 2
MIN_STD = 1e-6
MIN_SQUARE = 1e-6  # lower limit of a squared distance: at 0 its root has no gradient


class Correction(nn.Module):
    """Map coefficients (B, count) to corrected ones: three layers, added to their input.

    Before `learn` the last layer is zero, and coefficients pass unchanged. The weights are buffers,
    which the training of the generator leaves alone.
    """

    weight0: Tensor
    bias0: Tensor
    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        sizes = (count, width, width, count)
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            self.register_buffer(f"weight{layer}", torch.zeros(outputs, inputs))
            self.register_buffer(f"bias{layer}", torch.zeros(outputs))

    def forward(self, coefficients: Tensor) -> Tensor:
        """Return the corrected coefficients, (B, count)."""
        x = F.leaky_relu(F.linear(coefficients, self.weight0, self.bias0), LEAKY_RELU_SLOPE)
        x = F.leaky_relu(F.linear(x, self.weight1, self.bias1), LEAKY_RELU_SLOPE)
        return coefficients + F.linear(x, self.weight2, self.bias2)

    def learn(
        self,
        generated: Tensor,
        real: Tensor,
        to_low_res_images: Callable[[Tensor], Tensor],
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Learn to turn `generated` coefficients (N, count) into ones distributed as `real` ones.

        `real` (M, count) are those of photos, in the same standard deviations.
        `to_low_res_images` maps coefficients to images (B, 3, side, side) before tanh. The result
        is a function of the arguments. `on_progress` is called with steps done and in total.
        """
        rng = torch.Generator().manual_seed(0)
        for buffer in self.buffers():
            buffer.zero_()
        for weight in (self.weight0, self.weight1):  # He's initialization
            weight.normal_(0, (2 / weight.shape[1]) ** 0.5, generator=rng)
        weights = {name: buffer.clone().requires_grad_() for name, buffer in self.named_buffers()}
        optimizer = torch.optim.Adam(weights.values(), LEARNING_RATE)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, 1.2 - step / STEPS)
            before = generated[torch.randint(len(generated), (BATCH_SIZE,), generator=rng)]
            target = real[torch.randint(len(real), (BATCH_SIZE,), generator=rng)]
            corrected = torch.func.functional_call(self, weights, before)
            kernels = random_kernels(rng)
            seen, seen_target = (
                spatial_means(torch.tanh(to_low_res_images(coefficients)), kernels)
                for coefficients in (corrected, target)
            )
            stds = seen_target.std(0) + MIN_STD
            loss = energy_distance(seen / stds, seen_target / stds)
            strongest = slice(COMPARED_COEFFICIENTS)
            loss = loss + energy_distance(corrected[:, strongest], target[:, strongest])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            on_progress(step + 1, STEPS)
        with torch.no_grad():
            for name, buffer in self.named_buffers():
                buffer.copy_(weights[name])


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the energy distance of the distributions that vectors (N, K) and (M, K) come from.

    2 E|a - b| - E|a - a'| - E|b - b'|, a scalar. Estimated without bias, so it may be below 0.
    """
    within = sum(_distances(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return 2 * _distances(a, b).mean() - within


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # `torch.cdist` is exact next to 0, too, but its gradient takes many times as long.
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return squares.clamp_min(MIN_SQUARE).sqrt()


def random_kernels(rng: torch.Generator) -> list[Tensor]:
    """Return random 3 x 3 kernels, uniform with He's variance, for `spatial_means`."""
    kernels, inputs = [], 3
    for outputs in CONVOLUTION_CHANNELS:
        bound = math.sqrt(6 / (9 * inputs))
        kernels.append(torch.empty(outputs, inputs, 3, 3).uniform_(-bound, bound, generator=rng))
        inputs = outputs
    return kernels


def spatial_means(images: Tensor, kernels: list[Tensor]) -> Tensor:
    """Return the means over positions of the maps after each convolution, (B, channels of all)."""
    means = []
    for kernel in kernels:
        images = F.leaky_relu(F.conv2d(images, kernel, stride=2, padding=1), LEAKY_RELU_SLOPE)
        means.append(images.mean((2, 3)))
    return torch.cat(means, 1)
