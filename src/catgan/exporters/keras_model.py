"""A generator as a Keras 3 model of built-in layers, its weights copied.

Inputs: `z`, float32 (N, latent_size), and `truncation`, float32 (N, 1), one for each image. Output:
float32 (N, resolution, resolution, 3) images in [0, 1]. Only layers that Keras itself brings: no
`Lambda`, no class of catgan's, no bare `keras.ops`. So the file loads with `safe_mode=True`.

Three things are written in another way than elsewhere in catgan:

- A transposed convolution with padding "same" has been wrong under Keras' torch backend, so it is
  one with padding "valid" whose border is cut off.
- A border is repeated by `Cropping2D` and `Concatenate`, as Keras pads with zeros alone.
- What PyTorch flattens as (channels, rows, columns) is (rows, columns, channels) in Keras; weights
  of dense layers before and after maps are put in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from catgan.config import NetworkConfig
from catgan.exporters.keras_runtime import load_keras
from catgan.generation.generator import INPUTS, OUTPUT
from catgan.networks.base import COARSEST_SIDE, BaseGenerator
from catgan.networks.build import pixel_range
from catgan.networks.layers.filters import SMOOTHING, enlarging_matrix, line_filter_matrix
from catgan.networks.projected import generator as projected
from catgan.networks.projected.eigenfaces import MIN_COMPONENT_STD, Eigenfaces

if TYPE_CHECKING:
    import keras

Symbol = Any  # keras.KerasTensor: what a layer gives before any numbers are known
_CHANNELS_LAST: dict[str, Any] = {"data_format": "channels_last"}


def keras_model(generator: BaseGenerator, network: NetworkConfig, mean: Tensor) -> keras.Model:
    """Return the generator, on the CPU, as a Keras model in inference mode.

    `mean` (1, latent_size) is the style that truncation pulls toward.
    """
    keras = load_keras()
    layers = _Layers(keras)
    z = keras.Input((network.latent_size,), name=INPUTS[0])
    truncation = keras.Input((1,), name=INPUTS[1])
    # mean + truncation * (style - mean)
    scaled = layers.add("Multiply", [_MAPPINGS[network.family](layers, z), truncation])
    toward = layers.dense(truncation, -mean.T, mean[0], name="toward_the_mean", trainable=False)
    style = layers.add("Add", [scaled, toward])
    pixels = _SYNTHESES[network.family](layers, generator, style)
    low, high = pixel_range(network)
    images = layers.add(
        "Rescaling", pixels, scale=1 / (high - low), offset=-low / (high - low), name=OUTPUT
    )
    return keras.Model([z, truncation], images, name="catgan")


class _Layers:
    """Adds built-in layers to a graph, each with its weights and a name of its own.

    Names are counted for each model, not for the process as Keras does, so that the same generator
    gives the same file.
    """

    def __init__(self, keras: Any) -> None:
        self.keras = keras
        self.counts: dict[str, int] = {}

    def add(
        self,
        kind: str,
        inputs: Any,
        weights: Sequence[Tensor] = (),
        *,
        name: str | None = None,
        **options: Any,
    ) -> Symbol:
        """Return what a layer of the class `kind` makes of `inputs`."""
        layer = self.make(kind, name=name, **options)
        outputs = layer(inputs)
        if weights:
            layer.set_weights([_numbers(each) for each in weights])
        return outputs

    def make(self, kind: str, *, name: str | None = None, **options: Any) -> Any:
        """Return a layer that is not in the graph yet."""
        name = name or kind.lower()
        count = self.counts.get(name, 0)
        self.counts[name] = count + 1
        name = f"{name}_{count}" if count else name
        return getattr(self.keras.layers, kind)(name=name, **options)

    def dense(
        self, x: Symbol, weight: Tensor, bias: Tensor | None = None, **options: Any
    ) -> Symbol:
        """`F.linear`; `weight` is (outputs, inputs)."""
        weights = [weight.T] if bias is None else [weight.T, bias]
        return self.add(
            "Dense", x, weights, units=len(weight), use_bias=bias is not None, **options
        )

    def convolution(
        self, x: Symbol, weight: Tensor, bias: Tensor | None = None, **options: Any
    ) -> Symbol:
        """Convolve with `weight` (outputs, inputs, k, k), k odd, zeros around the map."""
        weights = [weight.permute(2, 3, 1, 0)] + ([] if bias is None else [bias])
        return self.add(
            "Conv2D", x, weights,
            filters=len(weight), kernel_size=weight.shape[2], padding="same",
            use_bias=bias is not None, **_CHANNELS_LAST, **options,
        )  # fmt: skip

    def reshape(self, x: Symbol, *shape: int) -> Symbol:
        """Another shape for each element of the batch."""
        return self.add("Reshape", x, target_shape=shape)

    def matrix_along_axes(self, x: Symbol, matrix: Tensor, name: str) -> Symbol:
        """`matrix` (outputs, inputs) along rows, then along columns, of square maps."""
        _, _, width, channels = x.shape
        side = len(matrix)
        for equation, shape in (
            ("bhwc,hy->bywc", (side, width, channels)),
            ("bhwc,wx->bhxc", (side, side, channels)),
        ):
            x = self.add(
                "EinsumDense", x, [matrix.T],
                equation=equation, output_shape=shape, name=name, trainable=False,
            )  # fmt: skip
        return x

    def scale(self, x: Symbol, vector: Tensor, name: str) -> Symbol:
        """Multiply (B, count) by a constant vector."""
        count = len(vector)
        x = self.add(
            "DepthwiseConv1D", self.reshape(x, 1, count), [vector.reshape(1, count, 1)],
            kernel_size=1, use_bias=False, name=name, trainable=False, **_CHANNELS_LAST,
        )  # fmt: skip
        return self.reshape(x, count)

    def norm(self, x: Symbol, norm: nn.BatchNorm2d, name: str) -> Symbol:
        """Batch normalization in inference mode."""
        affine = [norm.weight, norm.bias] if norm.affine else []
        return self.add(
            "BatchNormalization", x,
            [*affine, norm.get_buffer("running_mean"), norm.get_buffer("running_var")],
            epsilon=norm.eps, momentum=0.9, center=norm.affine, scale=norm.affine, name=name,
        )  # fmt: skip

    def unit(self, x: Symbol, name: str, *, size: int, length: float, epsilon: float) -> Symbol:
        """x / sqrt(mean(x^2) + epsilon), times `length`."""
        return self.add(
            "RMSNormalization", x, [torch.full((size,), length)],
            epsilon=epsilon, name=name, trainable=False,
        )  # fmt: skip

    def leaky_relu(self, x: Symbol, slope: float) -> Symbol:
        """Leaky ReLU."""
        return self.add("LeakyReLU", x, negative_slope=slope)

    def smooth(self, x: Symbol) -> Symbol:
        """Filter with (1, 2, 1) / 4 along both axes, the border repeated: `smooth`."""
        _, height, width, channels = x.shape
        for axis, size in ((1, height), (2, width)):
            ends = []
            for cut in ((0, size - 1), (size - 1, 0)):
                cropping = (cut, (0, 0)) if axis == 1 else ((0, 0), cut)
                ends.append(self.add("Cropping2D", x, cropping=cropping, **_CHANNELS_LAST))
            x = self.add("Concatenate", [ends[0], x, ends[1]], axis=axis)
        line = torch.tensor(SMOOTHING)
        kernel = (line[:, None] * line)[..., None, None].expand(-1, -1, channels, 1)
        return self.add(
            "DepthwiseConv2D", x, [kernel],
            kernel_size=len(line), use_bias=False, name="smoothing", trainable=False,
            **_CHANNELS_LAST,
        )  # fmt: skip


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


# -- dcgan and lsgan -------------------------------------------------------------------------------


def _as_it_is(layers: _Layers, z: Symbol) -> Symbol:
    return z


def _stack(layers: _Layers, generator: BaseGenerator, style: Symbol) -> Symbol:
    """`generator.layers`, one after the other."""
    first, *others = generator.get_submodule("layers").children()
    weight = first.get_parameter("weight").detach()  # (latent_size, channels, 4, 4)
    rows = weight.permute(2, 3, 1, 0).flatten(0, 2)
    x = layers.dense(style, rows, name="first_maps")
    x = layers.reshape(x, COARSEST_SIDE, COARSEST_SIDE, weight.shape[1])
    for layer in others:
        x = _STACKED[type(layer).__name__](layers, x, layer)
    return x


def _transposed_convolution(layers: _Layers, x: Symbol, layer: nn.ConvTranspose2d) -> Symbol:
    bias = [] if layer.bias is None else [layer.bias]
    x = layers.add(
        "Conv2DTranspose", x, [layer.weight.permute(2, 3, 1, 0), *bias],
        filters=layer.out_channels, kernel_size=layer.kernel_size, strides=layer.stride,
        padding="valid", use_bias=bool(bias), name="transposed_convolution", **_CHANNELS_LAST,
    )  # fmt: skip
    return layers.add("Cropping2D", x, cropping=int(layer.padding[0]), **_CHANNELS_LAST)


_STACKED: dict[str, Callable[[_Layers, Symbol, Any], Symbol]] = {
    "TransposedConvolution": _transposed_convolution,
    "BatchNorm2d": lambda layers, x, layer: layers.norm(x, layer, "norm"),
    "LeakyReLU": lambda layers, x, layer: layers.leaky_relu(x, layer.negative_slope),
    "ReLU": lambda layers, x, layer: layers.add("ReLU", x),
    "Sigmoid": lambda layers, x, layer: layers.add("Activation", x, activation="sigmoid"),
    "Tanh": lambda layers, x, layer: layers.add("Activation", x, activation="tanh"),
}


# -- projected -------------------------------------------------------------------------------------


def _sphere(layers: _Layers, z: Symbol) -> Symbol:
    return layers.unit(z, "sphere", size=z.shape[1], length=1.0, epsilon=1e-8)


def _projected(layers: _Layers, generator: Any, style: Symbol) -> Symbol:
    """`projected.Generator.synthesize`."""
    eigenfaces = _Eigenfaces(layers, generator.eigenfaces, style)
    constant = generator.constant.detach()[0]  # (channels, 4, 4)
    # gain * constant + place, both linear in style, as one matrix.
    weight = constant[..., None] * generator.gain.weight[:, None, None]
    weight = weight + generator.z_projection.weight.view_as(weight)
    bias = constant * generator.gain.bias[:, None, None]
    x = layers.dense(
        style,
        weight.permute(1, 2, 0, 3).flatten(0, 2),
        bias.permute(1, 2, 0).flatten(),
        name="first_maps",
    )
    x = layers.reshape(x, COARSEST_SIDE, COARSEST_SIDE, len(constant))
    x = layers.leaky_relu(x, projected.SLOPE)
    for block in generator.blocks:
        x = _up_block(layers, block, x, style, eigenfaces.coarse)
    details = _details(layers, generator.to_rgb, x)
    for refinement in generator.refinements:
        x = _up_block(layers, refinement.block, x, style, eigenfaces.coarse)
        finer = _details(layers, refinement.to_rgb, x)
        enlarged = layers.matrix_along_axes(details, refinement.enlarging, "enlarged_details")
        details = layers.add("Add", [enlarged, finer])
    return eigenfaces.images(details)


def _up_block(layers: _Layers, block: Any, x: Symbol, style: Symbol, coarse: Symbol) -> Symbol:
    """`projected._UpBlock`."""
    scope = f"block{block.side}"
    x = layers.add("UpSampling2D", x, size=2, interpolation="nearest", **_CHANNELS_LAST)
    x = layers.convolution(x, block.convolution.weight, name=f"{scope}_convolution")
    x = layers.norm(layers.smooth(x), block.norm, f"{scope}_norm")
    noise = _noise(layers, block.noise, style, block.side, scope)
    shown = layers.convolution(
        _resized(layers, coarse, block.side), block.coarse_rgb_conv.weight, name=f"{scope}_coarse"
    )
    x = layers.add("Add", [x, noise, shown])
    gain = layers.dense(style, block.gain.weight, block.gain.bias, name=f"{scope}_gain")
    x = layers.add("Multiply", [x, layers.reshape(gain, 1, 1, gain.shape[1])])
    return layers.leaky_relu(x, projected.SLOPE)


def _noise(layers: _Layers, noise: Any, style: Symbol, side: int, scope: str) -> Symbol:
    """What `projected._Noise` adds: a mixture of fixed maps, in each channel's strength."""
    count = len(noise.mixing)
    shares = layers.dense(style, noise.mixing, name=f"{scope}_noise_mixing", trainable=False)
    # Of length one: the mean of the squares is their sum, divided by how many there are.
    shares = layers.unit(
        shares, f"{scope}_noise_shares", size=count, length=count**-0.5, epsilon=1e-8 / count
    )
    maps = layers.dense(shares, noise.maps.T, name=f"{scope}_noise_maps", trainable=False)
    strength = noise.strength.detach().reshape(-1, 1, 1, 1)
    return layers.convolution(
        layers.reshape(maps, side, side, 1), strength, name=f"{scope}_noise_strength"
    )


def _resized(layers: _Layers, coarse: Symbol, side: int) -> Symbol:
    """`projected._UpBlock._resized`."""
    known = coarse.shape[1]
    if known == side:
        return coarse
    if known > side:
        return layers.add("AveragePooling2D", coarse, pool_size=known // side, **_CHANNELS_LAST)
    matrix = enlarging_matrix(known, side, mode="bilinear")
    return layers.matrix_along_axes(coarse, matrix, "enlarged_coarse")


def _details(layers: _Layers, to_rgb: nn.Conv2d, x: Symbol) -> Symbol:
    """`projected._shuffled` of colors: each channel holds (row, column, color)."""
    phases = layers.convolution(x, to_rgb.weight, to_rgb.bias, name="to_rgb")
    side = phases.shape[1]
    x = layers.reshape(phases, side, side, 2, 2 * 3)
    x = layers.reshape(layers.add("Permute", x, dims=(1, 3, 2, 4)), 2 * side, 2 * side, 3)
    matrix = line_filter_matrix(2 * side, projected.GRID_FILTER)
    return layers.matrix_along_axes(x, matrix, "grid_filter")


class _Eigenfaces:
    """`networks.eigenfaces.Eigenfaces` of one style."""

    def __init__(self, layers: _Layers, eigenfaces: Eigenfaces, style: Symbol) -> None:
        self.layers, self.eigenfaces = layers, eigenfaces
        side, count = eigenfaces.side, eigenfaces.count
        self.shape = side, side, 3
        # (count, numbers) with numbers in Keras' order
        components = eigenfaces.components.view(count, 3, side, side).permute(0, 2, 3, 1).flatten(1)
        self.components = components
        # In the graph twice with one set of weights.
        self.small = layers.make("Dense", units=components.shape[1], name="eigenfaces")
        size = style.shape[1]
        last = torch.zeros(1, size)
        last[0, -1] = eigenfaces.log_strength_std
        strength = layers.dense(
            style, last, -eigenfaces.log_strength_std.square().reshape(1),
            name="eigenfaces_strength", activation="exponential", trainable=False,
        )  # fmt: skip
        rows = layers.add("Cropping1D", layers.reshape(style, size, 1), cropping=(0, size - count))
        self.coefficients = layers.add("Multiply", [layers.reshape(rows, count), strength])
        self.coarse = self._small_images(self._times_deviations(self.coefficients))
        mean = eigenfaces.mean.view(3, side, side).permute(1, 2, 0).flatten()
        self.small.set_weights([_numbers(components), _numbers(mean)])
        self.small.trainable = False

    def images(self, details: Symbol) -> Symbol:
        """`Eigenfaces.forward`."""
        layers, eigenfaces, components = self.layers, self.eigenfaces, self.components
        part = layers.matrix_along_axes(details, eigenfaces.fitting, "coarse_part")
        found = layers.dense(
            layers.reshape(part, components.shape[1]), components,
            name="eigenfaces_found", trainable=False,
        )  # fmt: skip
        deviations = eigenfaces.stds.clamp_min(MIN_COMPONENT_STD)
        in_deviations = layers.scale(found, 1 / deviations, "eigenfaces_found_in_deviations")
        x = layers.add("Add", [self.coefficients, in_deviations])
        x = layers.norm(x, eigenfaces.norm, "eigenfaces_norm")
        # Of the strongest coefficients a matrix takes the correlation away; the others stay.
        strongest = len(eigenfaces.coefficient_mean)
        matrix = torch.eye(eigenfaces.count)
        matrix[:strongest, :strongest] = eigenfaces.decorrelation
        bias = torch.zeros(eigenfaces.count)
        bias[:strongest] = -eigenfaces.decorrelation @ eigenfaces.coefficient_mean
        x = layers.dense(x, matrix, bias, name="eigenfaces_decorrelation", trainable=False)
        change = self._small_images(layers.add("Subtract", [self._times_deviations(x), found]))
        coarse = layers.matrix_along_axes(change, eigenfaces.enlarging, "enlarged_change")
        x = layers.add("Add", [details, coarse])
        return layers.add("Activation", x, activation="tanh")

    def _times_deviations(self, x: Symbol) -> Symbol:
        return self.layers.scale(x, self.eigenfaces.stds, "eigenfaces_deviations")

    def _small_images(self, coefficients: Symbol) -> Symbol:
        return self.layers.reshape(self.small(coefficients), *self.shape)


_MAPPINGS = {"dcgan": _as_it_is, "lsgan": _as_it_is, "projected": _sphere}
_SYNTHESES = {"dcgan": _stack, "lsgan": _stack, "projected": _projected}
