"""The Open Inference Protocol, version 2, of KServe and Triton, with binary tensors.

Specification: github.com/kserve/open-inference-protocol, "REST"; Triton's extension "Binary Tensor
Data". The inputs of a model are `z` (FP32, N x latent size), as in its ONNX file, or `seed` (INT64
or UINT64, N) instead, and optionally `truncation` (FP32, 1). The output is `images` (UINT8,
N x resolution x resolution x 3). A model's version is its artifact's checksum.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from catgan.errors import CatganError, quoted
from catgan.generation.checks import check_latents, check_truncation
from catgan.serve.bodies import parse_json_object
from catgan.serve.models import Model, Stop, generate_images
from catgan.serve.problems import ProblemError
from catgan.serve.queries import check_pixels, model_by_name

if TYPE_CHECKING:
    from catgan.serve.service import Service

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON_PIXELS = 262_144  # in a JSON response: a byte takes four there, more as Python objects
MAX_ID = 256  # characters of a request's id
_NO_CACHE = {"Cache-Control": "no-cache"}
_INPUT_TYPES = {
    "z": ("FP32",),
    "truncation": ("FP32",),
    "seed": ("INT64", "UINT64"),
}
_DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "UINT64": np.dtype("<u8"),
}


def routes(service: Service) -> list[Route]:
    """Return the routes."""
    settings = service.settings

    async def server_metadata(request: Request) -> Response:
        # The version is the protocol's; catgan's own version is not revealed to clients.
        content = {"name": "catgan", "version": "2", "extensions": ["binary_tensor_data"]}
        return JSONResponse(content, headers=_NO_CACHE)

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True}, headers={"Cache-Control": "no-store"})

    async def ready(request: Request) -> Response:
        return _readiness(not service.draining, {"ready": not service.draining})

    async def model_ready(request: Request) -> Response:
        model = _model(request)
        content = {"name": model.name, "ready": not service.draining}
        return _readiness(not service.draining, content)

    async def model_metadata(request: Request) -> Response:
        model = _model(request)
        side = model.resolution
        content = {
            "name": model.name,
            "versions": [model.checksum],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": "z", "datatype": "FP32", "shape": [-1, model.card.latent_size]},
                {"name": "seed", "datatype": "INT64", "shape": [-1]},
                {"name": "truncation", "datatype": "FP32", "shape": [1]},
            ],
            "outputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, side, side, 3]}],
        }
        return JSONResponse(content, headers=_NO_CACHE)

    async def infer(request: Request) -> Response:
        model = _model(request)
        body = await service.body(request)
        document, rest = _split(body, request.headers.get(HEADER_LENGTH))
        try:
            z, truncation = _inputs(document, rest, model, settings.max_seeds)
        except CatganError as error:
            raise ProblemError(400, str(error)) from None
        binary = _wants_binary(document)
        pixels = len(z) * model.resolution**2
        check_pixels(pixels, settings.max_pixels)
        if not binary and pixels > MAX_JSON_PIXELS:
            raise ProblemError(
                413,
                f"{pixels:,} pixels exceed the limit of {MAX_JSON_PIXELS:,} a JSON response: "
                "request binary data",
            )
        header: dict[str, Any] = {"model_name": model.name, "model_version": model.checksum}
        if "id" in document:
            header["id"] = document["id"]

        def generate(stop: Stop) -> tuple[bytes, int]:
            """Return the body, and the length of the JSON before its binary data, or 0."""
            images = generate_images(model, z, truncation, stop)
            output: dict[str, Any] = {
                "name": "images",
                "datatype": "UINT8",
                "shape": list(images.shape),
            }
            if not binary:
                output["data"] = images.ravel().tolist()
                return json.dumps(header | {"outputs": [output]}).encode(), 0
            output["parameters"] = {"binary_data_size": images.nbytes}
            json_part = json.dumps(header | {"outputs": [output]}).encode()
            return json_part + images.tobytes(), len(json_part)

        # The parsed JSON can take many times the body's memory, and the queue may be long.
        del body, document, rest
        content, json_length = await service.generate(request, model, len(z), generate)
        headers = {"Cache-Control": "no-store"}
        if json_length:
            headers[HEADER_LENGTH] = str(json_length)
        media_type = "application/octet-stream" if json_length else "application/json"
        return Response(content, headers=headers, media_type=media_type)

    def _model(request: Request) -> Model:
        model = model_by_name(service.models, request.path_params["name"])
        version = request.path_params.get("version", model.checksum)
        if version != model.checksum:
            raise ProblemError(
                404,
                f"unknown version {quoted(version)} of {model.name}: expected {model.checksum}",
            )
        return model

    named = [
        Route(f"/v2/models/{{name}}{version}{path}", endpoint, methods=[method])
        for version in ("", "/versions/{version}")
        for path, endpoint, method in (
            ("/infer", infer, "POST"),
            ("/ready", model_ready, "GET"),
            ("", model_metadata, "GET"),
        )
    ]
    return [
        *named,
        Route("/v2", server_metadata),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
    ]


def _readiness(is_ready: bool, content: dict[str, Any]) -> Response:
    return JSONResponse(content, 200 if is_ready else 503, {"Cache-Control": "no-store"})


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON object of a body and the binary data after it."""
    if header_length is None:
        return parse_json_object(body), memoryview(b"")
    if not header_length.isascii() or not header_length.isdecimal() or len(header_length) > 9:
        raise ProblemError(400, f"{HEADER_LENGTH}: expected a number of bytes")
    length = int(header_length)
    if length > len(body):
        raise ProblemError(
            400, f"{HEADER_LENGTH}: {length} bytes are more than the body's {len(body)}"
        )
    return parse_json_object(body[:length]), memoryview(body)[length:]


def _inputs(
    document: dict[str, Any], rest: memoryview, model: Model, max_images: int
) -> tuple[np.ndarray, float]:
    """Return the latents (N, latent size) and the truncation of a request.

    Raises `ProblemError` 400 for an invalid request, 413 for more than `max_images` images or none,
    and `CatganError` for invalid latents, seeds or truncation.
    """
    request_id = document.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > MAX_ID:
        raise ProblemError(400, f"id: expected a string of at most {MAX_ID} characters")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise ProblemError(400, "inputs: expected a list of tensors")
    tensors: dict[str, np.ndarray] = {}
    for each in inputs:
        name = each.get("name")
        if not isinstance(name, str) or name not in _INPUT_TYPES or name in tensors:
            raise ProblemError(
                400, f"unknown or repeated input {quoted(name)}: expected z or seed, and truncation"
            )
        tensors[name], rest = _tensor(name, each, rest, max_images * model.card.latent_size)
    if len(rest):
        raise ProblemError(400, f"{len(rest)} bytes are left over after the tensors' binary data")
    if ("z" in tensors) == ("seed" in tensors):
        raise ProblemError(400, "inputs: expected exactly one of z and seed")
    values = tensors.get("truncation", np.ones(1, np.float32))
    if values.size != 1:
        raise ProblemError(400, "truncation: expected one number")
    truncation = check_truncation(float(values.ravel()[0]))
    if "z" in tensors:
        z = check_latents(tensors["z"], model.card.latent_size)
    else:
        seeds = tensors["seed"]
        if seeds.shape not in ((seeds.size,), (seeds.size, 1)):
            raise ProblemError(400, f"seed: expected shape [N], got {list(seeds.shape)}")
        if seeds.size > max_images:  # before the latents take memory
            raise ProblemError(413, _wrong_count(seeds.size, max_images))
        z = model.generator.latents(seeds.ravel())
    if not 1 <= len(z) <= max_images:
        raise ProblemError(413, _wrong_count(len(z), max_images))
    return z, truncation


def _wrong_count(count: int, max_images: int) -> str:
    return f"{count:,} images: expected 1 to {max_images:,} a request"


def _tensor(
    name: str, tensor: dict[str, Any], rest: memoryview, max_count: int
) -> tuple[np.ndarray, memoryview]:
    """Return the input `tensor` as an array, and the part of `rest` after its binary data.

    Raises `ProblemError` 400 unless datatype, shape and data agree.
    """
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype not in _INPUT_TYPES[name]:
        raise ProblemError(400, f"{name}: expected datatype {' or '.join(_INPUT_TYPES[name])}")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 2
        or not all(type(each) is int and 0 <= each <= max_count for each in shape)
    ):
        raise ProblemError(400, f"{name}: expected a shape of one or two numbers")
    count, dtype = int(np.prod(shape)), _DTYPES[datatype]
    size = _parameters(tensor).get("binary_data_size")
    if size is not None:
        if "data" in tensor or size != count * dtype.itemsize or size > len(rest):
            raise ProblemError(
                400, f"{name}: expected {count * dtype.itemsize} bytes of binary data, no JSON data"
            )
        # A copy, so that the array does not keep the whole body in memory.
        return np.frombuffer(rest[:size], dtype).reshape(shape).copy(), rest[size:]
    values = tensor.get("data")
    if isinstance(values, list) and values and all(isinstance(each, list) for each in values):
        values = [value for row in values for value in row]
    numbers = (int,) if dtype.kind in "iu" else (int, float)
    if not isinstance(values, list) or not all(type(value) in numbers for value in values):
        raise ProblemError(400, f"{name}: expected data, a list of numbers")
    if len(values) != count:
        raise ProblemError(
            400, f"{name}: expected {count} numbers as in its shape, got {len(values)}"
        )
    try:
        with np.errstate(over="ignore"):  # infinity is rejected by `check_latents`
            return np.array(values, dtype).reshape(shape), rest
    except OverflowError:
        raise ProblemError(400, f"{name}: a number is too large") from None


def _parameters(owner: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output; raises `ProblemError` 400."""
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise ProblemError(400, f"parameters={quoted(parameters)}: expected an object")
    return parameters


def _wants_binary(document: dict[str, Any]) -> bool:
    """Return whether the images are requested as binary data; raises `ProblemError` 400."""
    outputs, all_binary = document.get("outputs"), _parameters(document).get("binary_data_output")
    if outputs is None or outputs == []:
        return all_binary is True
    if (
        not isinstance(outputs, list)
        or len(outputs) != 1
        or not isinstance(outputs[0], dict)
        or outputs[0].get("name") != "images"
    ):
        raise ProblemError(400, "outputs: expected exactly one, named images")
    return _parameters(outputs[0]).get("binary_data", all_binary) is True
