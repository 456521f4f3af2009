"""The OpenAPI 3.1 document of the service, with its configured limits; served at /openapi.json."""

from __future__ import annotations

from typing import Any

from catgan.generation.animation import MAX_FRAMES_PER_SECOND
from catgan.generation.seeds import MAX_SEED
from catgan.serve.openai import OUTPUT_FORMATS
from catgan.serve.queries import FORMATS, MEDIA_TYPES, MORPH_FORMATS
from catgan.serve.settings import Settings

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTIONS = {
    400: "Invalid request",
    401: "Missing or wrong token",
    404: "Unknown model, artifact or path",
    408: "The body took too long",
    413: "The body or the requested response is too large",
    415: "The body is compressed",
    422: "A field of the body is invalid",
    429: "Too many requests from one address",
    503: "Busy: try again after Retry-After seconds",
}


def describe(settings: Settings, resolution: int) -> dict[str, Any]:
    """Return the document. `resolution` is the default model's, the smallest `size` of an image."""
    integer: dict[str, Any] = {"type": "integer"}
    size = integer | {"minimum": resolution, "maximum": max(resolution, settings.max_size)}
    truncation = {"type": "number", "minimum": 0, "maximum": 1, "default": 1}
    seed = integer | {"minimum": 0, "maximum": MAX_SEED}
    seeds = {
        "type": "string",
        "pattern": "^[0-9]{1,18}(-[0-9]{1,18})?(,[0-9]{1,18}(-[0-9]{1,18})?)*$",
        "examples": ["0-15", "3,9,27"],
    }
    common = [
        _query("truncation", truncation),
        _query("size", size),
        _query("model", {"type": "string"}),
    ]
    frames = integer | {"minimum": 2, "maximum": settings.max_frames}
    fps = integer | {"minimum": 1, "maximum": MAX_FRAMES_PER_SECOND}
    columns = integer | {"minimum": 1, "maximum": settings.max_seeds}
    image_content: dict[str, Any] = {MEDIA_TYPES[each]: {} for each in FORMATS}
    morph_content: dict[str, Any] = {MEDIA_TYPES[each]: {} for each in MORPH_FORMATS}
    image_paths = {
        "/cats/{seed}.{format}": (
            "One image; the same seed always gives the same cat.",
            [
                _path("seed", seed),
                _path("format", {"type": "string", "enum": list(FORMATS)}),
                *common,
            ],
            image_content,
        ),
        "/grid": (
            "A grid of images.",
            [
                _query("seeds", seeds, required=True),
                _query("columns", columns),
                _query("format", {"type": "string", "enum": list(FORMATS)}),
                *common,
            ],
            image_content,
        ),
        "/morph": (
            "A looping animation that interpolates between the seeds.",
            [
                _query("seeds", seeds, required=True),
                _query("frames", frames),
                _query("fps", fps),
                _query("format", {"type": "string", "enum": list(MORPH_FORMATS)}),
                *common,
            ],
            morph_content,
        ),
    }
    checksum = _path("checksum", {"type": "string", "pattern": "^[0-9a-f]{16}$"})
    paths: dict[str, Any] = {}
    image_errors = (400, 404, 413, 429, 503)
    for path, (summary, parameters, content) in image_paths.items():
        paths[path] = {"get": _operation(summary, parameters, content, image_errors, cached=True)}
        paths["/artifacts/{checksum}" + path] = {
            "get": _operation(
                f"{summary} Immutable: the URL contains the artifact's checksum.",
                [checksum, *(each for each in parameters if each["name"] != "model")],
                content,
                image_errors,
                cached=True,
            )
        }
    json = {"application/json": {"schema": {"type": "object"}}}
    name = _path("name", {"type": "string"})
    info_paths: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], tuple[int, ...]]] = {
        "/": ("The web page.", [], {"text/html": {}}, (429,)),
        "/models": ("The models and their checksums.", [], json, (429,)),
        "/metrics": ("Prometheus metrics.", [], {"text/plain": {}}, (429,)),
        "/openapi.json": ("This document.", [], json, (429,)),
        "/v1/models": ("The models, in OpenAI's format.", [], json, (429,)),
        "/v2": ("Open Inference Protocol: the server's metadata.", [], json, (429,)),
        "/v2/health/live": ("Whether the process responds.", [], json, ()),
        "/v2/health/ready": ("Whether the server accepts requests.", [], json, (503,)),
        "/v2/models/{name}": ("A model's input and output tensors.", [name], json, (404, 429)),
        "/v2/models/{name}/ready": ("Whether a model is ready.", [name], json, (404, 429, 503)),
    }
    if not settings.page:
        del info_paths["/"]
    for path, (summary, parameters, content, errors) in info_paths.items():
        paths[path] = {"get": _operation(summary, parameters, content, errors)}
    fields: dict[str, dict[str, Any]] = {
        "prompt": {"type": "string", "description": "Has no effect."},
        "model": {"type": "string"},
        "n": integer | {"minimum": 1, "maximum": settings.max_seeds},
        "seed": seed,
        "size": {"type": "string", "pattern": "^(auto|[0-9]{1,5}x[0-9]{1,5})$"},
        "truncation": truncation,
        "response_format": {"type": "string", "enum": ["b64_json"]},
        "output_format": {"type": "string", "enum": list(OUTPUT_FORMATS)},
    }
    generation = {  # some clients send null for an absent field
        "type": "object",
        "properties": {
            name: {"anyOf": [field, {"type": "null"}]} for name, field in fields.items()
        },
    }
    post_errors = (400, 404, 408, 413, 415, 422, 429, 503)
    paths["/v1/images/generations"] = {
        "post": _operation("Images, in OpenAI's format.", [], json, post_errors)
        | {"requestBody": _body(generation)}
    }
    tensor = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": ["z", "seed", "truncation"]},
            "datatype": {"type": "string", "enum": ["FP32", "INT64", "UINT64"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
        "required": ["name", "datatype", "shape"],
    }
    inference = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object"}},
            "parameters": {"type": "object"},
        },
        "required": ["inputs"],
    }
    paths["/v2/models/{name}/infer"] = {
        "post": _operation(
            "Images from latents or seeds.",
            [name],
            json | {"application/octet-stream": {}},
            post_errors,
        )
        | {"requestBody": _body(inference)}
    }
    problem = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["title", "status", "detail"],
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "catgan serve", "version": "1"},
        "paths": paths,
        "components": {"schemas": {"Problem": problem}},
    }
    if settings.token is not None:
        bearer = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"bearer": bearer}
        document["security"] = [{"bearer": []}]
    return document


def _query(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    content: dict[str, Any],
    errors: tuple[int, ...],
    *,
    cached: bool = False,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Success", "content": content}}
    if cached:
        responses["304"] = {"description": "Not modified: the client's copy is current"}
    for status in (*errors, 401):
        responses[str(status)] = {
            "description": _DESCRIPTIONS[status],
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
    return {"summary": summary, "parameters": parameters, "responses": responses}
