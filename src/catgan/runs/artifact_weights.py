"""Read the weights of a generator back from an exported artifact.

An export folds batch normalization into the convolutions and merges the first affine layers. Both
are undone here, so that the weights generate the same images as the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from catgan.data.reading.sources import printable
from catgan.errors import CatganError, shell_words
from catgan.generation.artifact import CHECKSUM, MAX_CARD_BYTES
from catgan.generation.card import Card
from catgan.generation.generator import Generator
from catgan.generation.latents import latents
from catgan.network_config import NetworkConfig
from catgan.networks.base import BaseGenerator
from catgan.networks.build import build_generator

# State of a projected generator that has no weight of the same name in the graph.
_TRANSFORMED = (
    "constant",
    "z_projection.",
    "gain.",
    "eigenfaces.decorrelation",
    "eigenfaces.coefficient_mean",
)
_COUNTER = "num_batches_tracked"
_STATISTICS_SEEDS = range(2_000_000, 2_000_512)  # of the images that set the batch statistics
_BATCH_SIZE = 32
WEIGHTS_CHECKSUM = "weights_sha256"


def weights_sha256(*states: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the names and values of weights, sorted by name."""
    digest = hashlib.sha256()
    for state in states:
        for name in sorted(state):
            digest.update(
                name.encode()
                + state[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()


def weights_of_artifact(artifact: Generator, network: NetworkConfig) -> dict[str, Tensor]:
    """Return the state dict of the generator in an artifact whose card describes `network`.

    It comes from the .safetensors beside the artifact, or else from its graph, and generates the
    same images.

    Raises:
        CatganError: the .safetensors cannot be used, or there is none and a generator cannot be
            read from the graph.
    """
    beside = Path(artifact.where).with_suffix(".safetensors")
    if beside.is_file():
        state = read_weights(beside, artifact.card, shapes_of(network), "export the run again")
    elif network.family == "projected":
        state = _weights_of_graph(artifact.model, network, artifact.where)
    else:
        raise CatganError(
            f"{artifact.where}: a {network.family} generator needs the .safetensors that `catgan "
            f"export` wrote: put it beside this file as {shell_words(beside)}"
        )
    return checked_state(network, state, artifact.where, "export the run again")


def read_weights(
    path: Path, card: Card, expected: Mapping[str, torch.Size], remedy: str
) -> dict[str, Tensor]:
    """Return the weights that were exported together with the artifact of `card`.

    Raises:
        CatganError: the file cannot be read, is damaged, or belongs to another export or network.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("catgan", "{}")
            metadata = json.loads(text) if len(text) <= MAX_CARD_BYTES else None
            if not isinstance(metadata, dict) or metadata.get(CHECKSUM) != card.document[CHECKSUM]:
                raise CatganError(
                    f"{path}: does not belong to the export beside it: {remedy}, or move it away"
                )
            names = list(file.keys())
            found_shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in names}
            if found_shapes != expected:  # checked before any tensor is read
                raise does_not_fit(str(path), remedy)
            state = {name: file.get_tensor(name) for name in names}
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise CatganError(f"{path}: cannot be read ({printable(str(error))}): {remedy}") from None
    if WEIGHTS_CHECKSUM in metadata and weights_sha256(state) != metadata[WEIGHTS_CHECKSUM]:
        raise CatganError(f"{path}: is damaged (its checksum differs): {remedy}")
    return state


def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shape of every tensor."""
    return {name: tensor.shape for name, tensor in state.items()}


def shapes_of(network: NetworkConfig) -> dict[str, torch.Size]:
    """Return the shapes of a generator's state dict without allocating its weights."""
    with torch.device("meta"):
        return shapes(build_generator(network).state_dict())


def checked_state(
    network: NetworkConfig, state: dict[str, Tensor], where: str, remedy: str
) -> dict[str, Tensor]:
    """Return `state`, which has the right shapes, in the dtypes of a generator.

    Raises:
        CatganError: a dtype is of another kind, or weights or generated images are not finite.
    """
    generator = build_generator(network)
    for name, tensor in generator.state_dict().items():
        if state[name].is_floating_point() != tensor.is_floating_point():
            raise does_not_fit(where, remedy)
    generator.load_state_dict(state)
    state = generator.state_dict()
    require_finite(state, where, remedy)
    with torch.no_grad():
        z = torch.from_numpy(latents(range(2), network.latent_size))
        require_finite({"images": generator.eval()(z)}, where, remedy)
    return state


def require_finite(state: Mapping[str, Tensor], where: str, remedy: str) -> None:
    """Raise `CatganError` unless every value is finite."""
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise CatganError(
            f"{where}: its weights, or the images they generate, are not finite: {remedy}"
        )


def does_not_fit(where: str, remedy: str) -> CatganError:
    """Return the error for weights that do not match their configuration."""
    return CatganError(
        f"{where}: its weights do not fit the networks of its configuration: {remedy}"
    )


# -- from graph to weights -------------------------------------------------------------------------


def _weights_of_graph(model: bytes, network: NetworkConfig, where: str) -> dict[str, Tensor]:
    """Return the state dict of a projected generator, read from its exported graph."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    unreadable = CatganError(
        f"{where}: a generator cannot be read from its graph (8-bit weights, for example): "
        "export the run again as float16, or keep its .safetensors beside this file"
    )
    # The graph has at least two bytes per weight. A card that claims more weights is false, and
    # building its network could exhaust memory.
    if sum(shape.numel() for shape in shapes_of(network).values()) > len(model):
        raise unreadable
    generator = build_generator(network)
    state = generator.state_dict()
    norms = {
        name: module
        for name, module in generator.named_modules()
        if name.startswith(("blocks.", "refinements.")) and isinstance(module, nn.BatchNorm2d)
    }
    try:
        graph = onnx.load_from_string(model).graph
        values = {
            tensor.name.removesuffix(".float16"): torch.from_numpy(
                np.array(numpy_helper.to_array(tensor))
            ).float()
            for tensor in graph.initializer
            if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        }
        names = [tensor.name.removesuffix(".float16") for tensor in graph.initializer]
        if len(names) > len(set(names)):
            raise ValueError("two weights have the same name")
        for name, tensor in state.items():
            folded = name.rpartition(".")[0] in norms
            if not folded and not name.startswith(_TRANSFORMED) and not name.endswith(_COUNTER):
                _fill(tensor, values[f"generator.{name}"])
        _unmerge_first_layer(graph, values, state)
        _unfold_norms(graph, values, state, list(norms))
        _read_decorrelation(graph, values, state)
    except (DecodeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError):
        raise unreadable from None
    generator.load_state_dict(state)
    _measure_norms(generator, norms, network.latent_size)
    return generator.state_dict()


def _fill(weights: Tensor, values: Tensor) -> None:
    """Copy `values` into `weights`; RuntimeError unless the numbers of elements are equal."""
    weights.copy_(values.reshape(weights.shape))


def _read_decorrelation(graph: Any, values: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Read (x - mean) @ matrix.T; the export omits a mean of 0.

    It is the only product of two factors with a square matrix: filtering an image has three.
    """
    producers = {output: node for node in graph.node for output in node.output}
    ((product, operand),) = (
        (node, producers[node.input[0]])
        for node in graph.node
        if node.op_type == "MatMul"
        and _is_square(values.get(node.input[1]))
        and producers[node.input[0]].op_type != "MatMul"
    )
    _fill(state["eigenfaces.decorrelation"], values[product.input[1]].T)
    if operand.op_type == "Sub":
        _fill(state["eigenfaces.coefficient_mean"], values[operand.input[1]])


def _is_square(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1]


def _unmerge_first_layer(graph: Any, values: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Read the merged layer W z + b: W becomes the projection of z, and b the constant map."""
    shape = state["constant"].shape
    size = math.prod(shape)
    ((weight, bias),) = (
        (values[node.input[1]], values[node.input[2]])
        for node in graph.node
        if node.op_type == "Gemm" and len(node.input) == 3 and len(values[node.input[2]]) == size
    )
    _fill(state["constant"], bias)
    _fill(state["z_projection.weight"], weight)
    state["gain.weight"].zero_()
    state["gain.bias"].fill_(1.0)


def _unfold_norms(
    graph: Any, values: dict[str, Tensor], state: dict[str, Tensor], names: list[str]
) -> None:
    """Read the scale and bias of batch normalizations that are folded into smoothing convolutions.

    A smoothing kernel sums to 1, so the sum of a folded one is the scale of its normalization. The
    bias of one that has seen no image is zero, and the export omits it.
    """
    folded = [
        node.input
        for node in graph.node
        if node.op_type == "Conv" and values[node.input[1]].shape[1:] == (1, 3, 3)
    ]
    for name, (_, kernels, *bias) in zip(names, folded, strict=True):
        _fill(state[f"{name}.weight"], values[kernels].double().sum((1, 2, 3)))
        weight = state[f"{name}.weight"]
        _fill(state[f"{name}.bias"], values[bias[0]] if bias else torch.zeros_like(weight))
        state[f"{name}.running_mean"].zero_()
        state[f"{name}.running_var"].fill_(1 - nn.BatchNorm2d(1).eps)


@torch.no_grad()
def _measure_norms(
    generator: BaseGenerator, layers: dict[str, nn.BatchNorm2d], latent_size: int
) -> None:
    """Set running statistics to those of the inputs, without changing the generated images.

    Training normalizes by the statistics of the batch, so these must match for the first steps to
    compute what the file computes.
    """
    norms = list(layers.values())
    sums = [torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms]

    def accumulate_into(total: Tensor) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].double()
            count = torch.full_like(total[0], x[:, 0].numel())
            total.add_(torch.stack([count, x.sum((0, 2, 3)), x.square().sum((0, 2, 3))]))

        return hook

    hooks = [
        norm.register_forward_pre_hook(accumulate_into(total))
        for norm, total in zip(norms, sums, strict=True)
    ]
    generator.eval()
    for z in torch.from_numpy(latents(_STATISTICS_SEEDS, latent_size)).split(_BATCH_SIZE):
        generator(z)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in zip(norms, sums, strict=True):
        mean = total / count
        variance = squares / count - mean.square()
        old_mean, old_variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight.double() / (old_variance.double() + norm.eps).sqrt()
        norm.bias.copy_(norm.bias.double() + (mean - old_mean.double()) * scale)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)
