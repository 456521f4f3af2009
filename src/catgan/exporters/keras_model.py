"""Convert a generator to a Keras 3 model of built-in layers, with copied weights.

Inputs: `z`, float32 (N, latent_size), and `truncation`, float32 (N, 1), one per image. Output:
images in [0, 1], float32 (N, resolution, resolution, 3). The model has only layers of Keras itself
(no `Lambda`, no custom class, no bare `keras.ops`), so it loads with `safe_mode=True`.

It differs from the PyTorch model in three ways:

- Keras' torch backend has computed transposed convolutions with padding "same" incorrectly, so they
  use padding "valid" and crop the border.
- Keras pads with zeros only, so `Cropping2D` and `Concatenate` replicate borders.
- PyTorch flattens maps as (channels, rows, columns), Keras as (rows, columns, channels). Weights of
  dense layers before and after maps are permuted accordingly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from catgan.exporters.keras_runtime import load_keras
from catgan.generation.generator import INPUTS, OUTPUT
from catgan.network_config import SEEN_SIDE, NetworkConfig
from catgan.networks.base import COARSEST_SIDE, BaseGenerator
from catgan.networks.build import pixel_range
from catgan.networks.layers.filters import SMOOTHING, line_filter_matrix, upsampling_matrix
from catgan.networks.projected import generator as projected
from catgan.networks.projected.correction import LEAKY_RELU_SLOPE as CORRECTION_SLOPE
from catgan.networks.projected.correction import Correction
from catgan.networks.projected.eigenfaces import MIN_COMPONENT_STD, Eigenfaces
from catgan.networks.projected.mirrored_eye import (
    BORDER,
    CHANNELS,
    EYE_DISTANCE,
    EYE_HEIGHT,
    RADII,
    UNITS,
    AxisFinder,
    MirroredEye,
)
from catgan.networks.projected.mirrored_eye import LEAKY_RELU_SLOPE as AXIS_SLOPE

if TYPE_CHECKING:
    import keras

Symbol = Any  # keras.KerasTensor: the symbolic output of a layer
_CHANNELS_LAST: dict[str, Any] = {"data_format": "channels_last"}
# The smallest normal number of float16: a smaller one becomes 0 where phones compute in it, and in
# a LiteRT file with float16 weights; then truncation 0 gives 0 / 0.
_EPSILON = 2.0**-14


def keras_model(generator: BaseGenerator, network: NetworkConfig, mean: Tensor) -> keras.Model:
    """Return the generator as a Keras model in inference mode.

    `generator` is on the CPU; `mean` (1, latent_size) is the style that truncation pulls toward.
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
    """Adds built-in layers to a graph, each with its weights and a unique name.

    Names are numbered per model, not per process as in Keras, so that the same generator always has
    the same layer names.
    """

    def __init__(self, keras: Any) -> None:
        self.keras = keras
        self.counts: dict[str, int] = {}

    def add(
        self,
        class_name: str,
        inputs: Any,
        weights: Sequence[Tensor] = (),
        *,
        name: str | None = None,
        **options: Any,
    ) -> Symbol:
        """Add a layer of the class `class_name` and return its output for `inputs`."""
        layer = self.make(class_name, name=name, **options)
        outputs = layer(inputs)
        if weights:
            layer.set_weights([_to_numpy(each) for each in weights])
        return outputs

    def make(self, class_name: str, *, name: str | None = None, **options: Any) -> Any:
        """Return a layer that is not in the graph yet."""
        name = name or class_name.lower()
        count = self.counts.get(name, 0)
        self.counts[name] = count + 1
        name = f"{name}_{count}" if count else name
        return getattr(self.keras.layers, class_name)(name=name, **options)

    def dense(
        self, x: Symbol, weight: Tensor, bias: Tensor | None = None, **options: Any
    ) -> Symbol:
        """Apply `F.linear` with `weight` (outputs, inputs)."""
        weights = [weight.T] if bias is None else [weight.T, bias]
        return self.add(
            "Dense", x, weights, units=len(weight), use_bias=bias is not None, **options
        )

    def convolution(
        self, x: Symbol, weight: Tensor, bias: Tensor | None = None, **options: Any
    ) -> Symbol:
        """Convolve with `weight` (outputs, inputs, k, k), k odd, with zero padding."""
        weights = [weight.permute(2, 3, 1, 0)] + ([] if bias is None else [bias])
        return self.add(
            "Conv2D", x, weights,
            filters=len(weight), kernel_size=weight.shape[2], padding="same",
            use_bias=bias is not None, **_CHANNELS_LAST, **options,
        )  # fmt: skip

    def reshape(self, x: Symbol, *shape: int) -> Symbol:
        """Reshape each element of the batch to `shape`."""
        return self.add("Reshape", x, target_shape=shape)

    def matrix_along_axes(self, x: Symbol, matrix: Tensor, name: str) -> Symbol:
        """Multiply by `matrix` (outputs, inputs) along the rows, then the columns, of maps."""
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
        """Apply batch normalization in inference mode."""
        affine = [norm.weight, norm.bias] if norm.affine else []
        return self.add(
            "BatchNormalization", x,
            [*affine, norm.get_buffer("running_mean"), norm.get_buffer("running_var")],
            epsilon=norm.eps, momentum=0.9, center=norm.affine, scale=norm.affine, name=name,
        )  # fmt: skip

    def rms_norm(self, x: Symbol, name: str, *, size: int, scale: float) -> Symbol:
        """Return scale * x / sqrt(mean(x^2) + `_EPSILON`), for `x` (B, size)."""
        return self.add(
            "RMSNormalization", x, [torch.full((size,), scale)],
            epsilon=_EPSILON, name=name, trainable=False,
        )  # fmt: skip

    def leaky_relu(self, x: Symbol, slope: float) -> Symbol:
        """Apply leaky ReLU."""
        return self.add("LeakyReLU", x, negative_slope=slope)

    def smooth(self, x: Symbol) -> Symbol:
        """Apply `layers.filters.smooth`: (1, 2, 1) / 4 along both axes, borders replicated."""
        _, height, width, channels = x.shape
        for axis, size in ((1, height), (2, width)):
            borders = []
            for crop in ((0, size - 1), (size - 1, 0)):
                cropping = (crop, (0, 0)) if axis == 1 else ((0, 0), crop)
                borders.append(self.add("Cropping2D", x, cropping=cropping, **_CHANNELS_LAST))
            x = self.add("Concatenate", [borders[0], x, borders[1]], axis=axis)
        kernel_1d = torch.tensor(SMOOTHING)
        kernel = (kernel_1d[:, None] * kernel_1d)[..., None, None].expand(-1, -1, channels, 1)
        return self.add(
            "DepthwiseConv2D", x, [kernel],
            kernel_size=len(kernel_1d), use_bias=False, name="smoothing", trainable=False,
            **_CHANNELS_LAST,
        )  # fmt: skip


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


# -- dcgan and lsgan -------------------------------------------------------------------------------


def _identity(layers: _Layers, z: Symbol) -> Symbol:
    return z


def _sequential(layers: _Layers, generator: BaseGenerator, style: Symbol) -> Symbol:
    """Apply `generator.layers` one after the other."""
    first, *others = generator.get_submodule("layers").children()
    weight = first.get_parameter("weight").detach()  # (latent_size, channels, 4, 4)
    matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)
    x = layers.dense(style, matrix, name="first_maps")
    x = layers.reshape(x, COARSEST_SIDE, COARSEST_SIDE, weight.shape[1])
    for layer in others:
        x = _LAYERS[type(layer).__name__](layers, x, layer)
    return x


def _transposed_convolution(layers: _Layers, x: Symbol, layer: nn.ConvTranspose2d) -> Symbol:
    bias = [] if layer.bias is None else [layer.bias]
    x = layers.add(
        "Conv2DTranspose", x, [layer.weight.permute(2, 3, 1, 0), *bias],
        filters=layer.out_channels, kernel_size=layer.kernel_size, strides=layer.stride,
        padding="valid", use_bias=bool(bias), name="transposed_convolution", **_CHANNELS_LAST,
    )  # fmt: skip
    return layers.add("Cropping2D", x, cropping=int(layer.padding[0]), **_CHANNELS_LAST)


_LAYERS: dict[str, Callable[[_Layers, Symbol, Any], Symbol]] = {
    "TransposedConvolution": _transposed_convolution,
    "BatchNorm2d": lambda layers, x, layer: layers.norm(x, layer, "norm"),
    "LeakyReLU": lambda layers, x, layer: layers.leaky_relu(x, layer.negative_slope),
    "ReLU": lambda layers, x, layer: layers.add("ReLU", x),
    "Sigmoid": lambda layers, x, layer: layers.add("Activation", x, activation="sigmoid"),
    "Tanh": lambda layers, x, layer: layers.add("Activation", x, activation="tanh"),
}


# -- projected -------------------------------------------------------------------------------------


def _sphere(layers: _Layers, z: Symbol) -> Symbol:
    return layers.rms_norm(z, "sphere", size=z.shape[1], scale=1.0)


def _projected(layers: _Layers, generator: Any, style: Symbol) -> Symbol:
    """Apply `projected.Generator.synthesize`."""
    eigenfaces = _Eigenfaces(layers, generator.eigenfaces, style)
    constant = generator.constant.detach()[0]  # (channels, 4, 4)
    # gain(style) * constant + z_projection(style) is affine in the style: one dense layer.
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
    x = layers.leaky_relu(x, projected.LEAKY_RELU_SLOPE)
    for block in generator.blocks:
        x = _up_block(layers, block, x, style, eigenfaces.low_res)
    details = _details(layers, generator.to_rgb, x)
    for refinement in generator.refinements:
        x = _up_block(layers, refinement.block, x, style, eigenfaces.low_res)
        finer = _details(layers, refinement.to_rgb, x)
        enlarged = layers.matrix_along_axes(details, refinement.upsampling, "enlarged_details")
        details = layers.add("Add", [enlarged, finer])
    images = eigenfaces.images(details)
    if generator.mirrored_eye is not None:
        images = _with_mirrored_eye(layers, generator.mirrored_eye, images)
    return images


def _up_block(layers: _Layers, block: Any, x: Symbol, style: Symbol, low_res: Symbol) -> Symbol:
    """Apply `projected._UpBlock`."""
    scope = f"block{block.side}"
    x = layers.add("UpSampling2D", x, size=2, interpolation="nearest", **_CHANNELS_LAST)
    x = layers.convolution(x, block.convolution.weight, name=f"{scope}_convolution")
    x = layers.norm(layers.smooth(x), block.norm, f"{scope}_norm")
    noise = _noise(layers, block.noise, style, block.side, scope)
    rgb = layers.convolution(
        _resized(layers, low_res, block.side), block.coarse_rgb_conv.weight, name=f"{scope}_coarse"
    )
    x = layers.add("Add", [x, noise, rgb])
    gain = layers.dense(style, block.gain.weight, block.gain.bias, name=f"{scope}_gain")
    x = layers.add("Multiply", [x, layers.reshape(gain, 1, 1, gain.shape[1])])
    return layers.leaky_relu(x, projected.LEAKY_RELU_SLOPE)


def _noise(layers: _Layers, noise: Any, style: Symbol, side: int, scope: str) -> Symbol:
    """Return what `projected._Noise` adds: a mixture of fixed maps, scaled per channel."""
    count = len(noise.mixing)
    weights = layers.dense(style, noise.mixing, name=f"{scope}_noise_mixing", trainable=False)
    # Unit length: RMS normalization divides by the mean of the squares, hence count**-0.5.
    weights = layers.rms_norm(weights, f"{scope}_noise_shares", size=count, scale=count**-0.5)
    maps = layers.dense(weights, noise.maps.T, name=f"{scope}_noise_maps", trainable=False)
    strength = noise.strength.detach().reshape(-1, 1, 1, 1)
    return layers.convolution(
        layers.reshape(maps, side, side, 1), strength, name=f"{scope}_noise_strength"
    )


def _resized(layers: _Layers, low_res: Symbol, side: int) -> Symbol:
    """Apply `projected._UpBlock._resized`."""
    current = low_res.shape[1]
    if current == side:
        return low_res
    if current > side:
        return layers.add("AveragePooling2D", low_res, pool_size=current // side, **_CHANNELS_LAST)
    matrix = upsampling_matrix(current, side, mode="bilinear")
    return layers.matrix_along_axes(low_res, matrix, "enlarged_coarse")


def _details(layers: _Layers, to_rgb: nn.Conv2d, x: Symbol) -> Symbol:
    """Apply `to_rgb`, then `projected._shuffled`; channels are ordered (row, column, color)."""
    phases = layers.convolution(x, to_rgb.weight, to_rgb.bias, name="to_rgb")
    side = phases.shape[1]
    x = layers.reshape(phases, side, side, 2, 2 * 3)
    x = layers.reshape(layers.add("Permute", x, dims=(1, 3, 2, 4)), 2 * side, 2 * side, 3)
    matrix = line_filter_matrix(2 * side, projected.GRID_FILTER)
    return layers.matrix_along_axes(x, matrix, "grid_filter")


def _with_mirrored_eye(layers: _Layers, module: MirroredEye, images: Symbol) -> Symbol:
    """Apply `mirrored_eye.MirroredEye`."""
    side, unit = module.side, module.side / 128
    axis = _axis(layers, module.finder, images)

    def positions(name: str, *, scale: float = 1.0, drop: float = 0, shift: float = 0) -> Symbol:
        """Return scale * pixel + multiples of tilt and position, (B, side)."""
        moves = torch.tensor([drop * math.radians(UNITS[0]) * EYE_DISTANCE, shift * UNITS[1]])
        weight, bias = (moves * unit).expand(side, -1), scale * torch.arange(side).float()
        return layers.dense(axis, weight, bias, name=f"mirrored_eye_{name}", trainable=False)

    def difference(rows: Symbol, columns: Symbol) -> Symbol:
        pair = [layers.reshape(rows, side, 1), layers.reshape(columns, 1, side)]
        return layers.add("Subtract", pair)

    def interpolation(rows: Symbol, columns: Symbol) -> Symbol:
        apart = difference(rows, columns)
        slopes = [
            layers.add("ReLU", layers.add("Rescaling", apart, scale=scale, offset=1.0))
            for scale in (1.0, -1.0)
        ]
        return layers.add("Minimum", slopes)

    rows = interpolation(positions("dropped_rows", drop=-2), positions("rows"))
    backward = layers.add("Rescaling", positions("columns"), scale=-1.0, offset=side - 1.0)
    columns = interpolation(backward, positions("shifted_columns", shift=-2))
    x = layers.add("Dot", [rows, layers.reshape(images, side, side * 3)], axes=(2, 1))
    x = layers.add("Permute", layers.reshape(x, side, side, 3), dims=(1, 3, 2))
    x = layers.add("Dot", [layers.reshape(x, side * 3, side), columns], axes=(2, 1))
    mirrored = layers.add("Permute", layers.reshape(x, side, 3, side), dims=(1, 3, 2))

    squares = []
    middles = ((side - 1) / 2 + EYE_DISTANCE * unit, EYE_HEIGHT * unit - 0.5)
    for name, radius, middle, move in zip(
        ("x", "y"), RADII, middles, ({"shift": -1}, {"drop": -1}), strict=True
    ):
        size = radius * unit
        x = layers.add("Rescaling", positions(name, **move), scale=1 / size, offset=-middle / size)
        squares.append(layers.add("Multiply", [x, x]))
    # Not by `Add`: with TensorFlow, Keras 3.15 gives its result the shape of the first.
    across = layers.add("Rescaling", squares[0], scale=1 / BORDER)
    along = layers.add("Rescaling", squares[1], scale=-1 / BORDER, offset=1 / BORDER + 0.5)
    inside = difference(along, across)
    inside = layers.reshape(layers.add("ReLU", inside, max_value=1.0), side, side, 1)
    change = layers.add("Multiply", [layers.add("Subtract", [mirrored, images]), inside])
    return layers.add("Add", [images, change])


def _axis(layers: _Layers, finder: AxisFinder, images: Symbol) -> Symbol:
    """Apply `mirrored_eye.AxisFinder` to images of any size."""
    x, factor = images, images.shape[1] // SEEN_SIDE
    if factor > 1:
        x = layers.add("AveragePooling2D", x, pool_size=factor, **_CHANNELS_LAST)
    for layer in range(len(CHANNELS) - 1):
        weight, bias = finder.get_buffer(f"weight{layer}"), finder.get_buffer(f"bias{layer}")
        name = f"mirrored_eye_axis_{layer}"
        x = layers.convolution(x, weight, bias, name=name, trainable=False)
        x = layers.leaky_relu(x, AXIS_SLOPE)
        x = layers.add("AveragePooling2D", x, pool_size=2, **_CHANNELS_LAST)
    _, height, width, channels = x.shape
    weight = finder.weight4.unflatten(1, (channels, height, width)).permute(0, 2, 3, 1).flatten(1)
    x = layers.reshape(x, height * width * channels)
    return layers.dense(x, weight, finder.bias4, name="mirrored_eye_axis", trainable=False)


class _Eigenfaces:
    """`networks.projected.eigenfaces.Eigenfaces` for one style."""

    def __init__(self, layers: _Layers, eigenfaces: Eigenfaces, style: Symbol) -> None:
        self.layers, self.eigenfaces = layers, eigenfaces
        side, count = eigenfaces.side, eigenfaces.count
        self.shape = side, side, 3
        # (count, pixels), flattened in Keras' order
        components = eigenfaces.components.view(count, 3, side, side).permute(0, 2, 3, 1).flatten(1)
        self.components = components
        # One layer that the graph applies twice.
        self.basis = layers.make("Dense", units=components.shape[1], name="eigenfaces")
        size = style.shape[1]
        last = torch.zeros(1, size)
        last[0, -1] = eigenfaces.log_strength_std
        strength = layers.dense(
            style, last, -eigenfaces.log_strength_std.square().reshape(1),
            name="eigenfaces_strength", activation="exponential", trainable=False,
        )  # fmt: skip
        first = layers.add("Cropping1D", layers.reshape(style, size, 1), cropping=(0, size - count))
        self.coefficients = layers.add("Multiply", [layers.reshape(first, count), strength])
        self.low_res = self._to_images(self._times_stds(self.coefficients))
        mean = eigenfaces.mean.view(3, side, side).permute(1, 2, 0).flatten()
        self.basis.set_weights([_to_numpy(components), _to_numpy(mean)])
        self.basis.trainable = False

    def images(self, details: Symbol) -> Symbol:
        """Apply `Eigenfaces.forward`."""
        layers, eigenfaces, components = self.layers, self.eigenfaces, self.components
        low_res_part = layers.matrix_along_axes(details, eigenfaces.fitting, "coarse_part")
        found = layers.dense(
            layers.reshape(low_res_part, components.shape[1]), components,
            name="eigenfaces_found", trainable=False,
        )  # fmt: skip
        stds = eigenfaces.stds.clamp_min(MIN_COMPONENT_STD)
        normalized = layers.scale(found, 1 / stds, "eigenfaces_found_in_deviations")
        x = layers.add("Add", [self.coefficients, normalized])
        x = layers.norm(x, eigenfaces.norm, "eigenfaces_norm")
        # A matrix decorrelates the strongest coefficients; the others pass unchanged.
        strongest = len(eigenfaces.coefficient_mean)
        matrix = torch.eye(eigenfaces.count)
        matrix[:strongest, :strongest] = eigenfaces.decorrelation
        bias = torch.zeros(eigenfaces.count)
        bias[:strongest] = -eigenfaces.decorrelation @ eigenfaces.coefficient_mean
        x = layers.dense(x, matrix, bias, name="eigenfaces_decorrelation", trainable=False)
        if eigenfaces.correction is not None:
            x = self._corrected(x, eigenfaces.correction)
        change = self._to_images(layers.add("Subtract", [self._times_stds(x), found]))
        enlarged = layers.matrix_along_axes(change, eigenfaces.upsampling, "enlarged_change")
        x = layers.add("Add", [details, enlarged])
        return layers.add("Activation", x, activation="tanh")

    def _corrected(self, coefficients: Symbol, correction: Correction) -> Symbol:
        layers, x = self.layers, coefficients
        for number in range(3):
            weight = correction.get_buffer(f"weight{number}")
            bias = correction.get_buffer(f"bias{number}")
            name = f"eigenfaces_correction_{number}"
            x = layers.dense(x, weight, bias, name=name, trainable=False)
            if number < 2:
                x = layers.leaky_relu(x, CORRECTION_SLOPE)
        return layers.add("Add", [coefficients, x])

    def _times_stds(self, x: Symbol) -> Symbol:
        return self.layers.scale(x, self.eigenfaces.stds, "eigenfaces_deviations")

    def _to_images(self, coefficients: Symbol) -> Symbol:
        return self.layers.reshape(self.basis(coefficients), *self.shape)


_MAPPINGS = {"dcgan": _identity, "lsgan": _identity, "projected": _sphere}
_SYNTHESES = {"dcgan": _sequential, "lsgan": _sequential, "projected": _projected}
