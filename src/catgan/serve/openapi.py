"""The description of the service at /openapi.json (OpenAPI 3.1), with its limits as set."""

from __future__ import annotations

from typing import Any

from catgan.generation.animation import MAX_FRAMES_PER_SECOND
from catgan.generation.seeds import MAX_SEED
from catgan.serve.queries import FORMATS, MEDIA_TYPES
from catgan.serve.settings import Settings

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTIONS = {
    400: "Invalid",
    401: "The token is missing or wrong",
    404: "No such model, artifact or address",
    408: "The body took too long",
    413: "More than one answer or one body holds",
    415: "A compressed body",
    422: "A field of the body is invalid",
    429: "Too many requests from one address",
    503: "Busy: try again after Retry-After seconds",
}


def describe(settings: Settings, resolution: int) -> dict[str, Any]:
    """Return the document. `resolution`: of the default model, the smallest size of an image."""
    whole: dict[str, Any] = {"type": "integer"}
    size = whole | {"minimum": resolution, "maximum": max(resolution, settings.max_size)}
    truncation = {"type": "number", "minimum": 0, "maximum": 1, "default": 1}
    seed = whole | {"minimum": 0, "maximum": MAX_SEED}
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
    frames = whole | {"minimum": 2, "maximum": settings.max_frames}
    rate = whole | {"minimum": 1, "maximum": MAX_FRAMES_PER_SECOND}
    columns = whole | {"minimum": 1, "maximum": settings.max_seeds}
    files: dict[str, Any] = {MEDIA_TYPES[kind]: {} for kind in FORMATS}
    image = {
        "/cats/{seed}.{format}": (
            "One image; the same seed is always the same cat.",
            [
                _path("seed", seed),
                _path("format", {"type": "string", "enum": list(FORMATS)}),
                *common,
            ],
            files,
        ),
        "/grid": (
            "Images side by side.",
            [
                _query("seeds", seeds, required=True),
                _query("columns", columns),
                _query("format", {"type": "string", "enum": list(FORMATS)}),
                *common,
            ],
            files,
        ),
        "/morph": (
            "A looped animation through the cats of all seeds.",
            [
                _query("seeds", seeds, required=True),
                _query("frames", frames),
                _query("fps", rate),
                _query("format", {"type": "string", "enum": ["webp", "gif"]}),
                *common,
            ],
            {"image/webp": {}, "image/gif": {}},
        ),
    }
    checksum = _path("checksum", {"type": "string", "pattern": "^[0-9a-f]{16}$"})
    paths: dict[str, Any] = {}
    drawing = (400, 404, 413, 429, 503)
    for path, (summary, parameters, content) in image.items():
        paths[path] = {"get": _operation(summary, parameters, content, drawing, cached=True)}
        paths["/artifacts/{checksum}" + path] = {
            "get": _operation(
                f"{summary} Cacheable for ever: the address holds the artifact's checksum.",
                [checksum, *(each for each in parameters if each["name"] != "model")],
                content,
                drawing,
                cached=True,
            )
        }
    json = {"application/json": {"schema": {"type": "object"}}}
    name = _path("name", {"type": "string"})
    reading: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], tuple[int, ...]]] = {
        "/": ("The web page.", [], {"text/html": {}}, (429,)),
        "/models": ("The models and their checksums.", [], json, (429,)),
        "/metrics": ("For Prometheus.", [], {"text/plain": {}}, (429,)),
        "/openapi.json": ("This document.", [], json, (429,)),
        "/v1/models": ("The models in OpenAI's shape.", [], json, (429,)),
        "/v2": ("Open Inference Protocol: the server.", [], json, (429,)),
        "/v2/health/live": ("Whether the process answers.", [], json, ()),
        "/v2/health/ready": ("Whether it takes requests.", [], json, (503,)),
        "/v2/models/{name}": ("A model's tensors.", [name], json, (404, 429)),
        "/v2/models/{name}/ready": ("Whether it can draw.", [name], json, (404, 429, 503)),
    }
    if not settings.page:
        del reading["/"]
    for path, (summary, parameters, content, errors) in reading.items():
        paths[path] = {"get": _operation(summary, parameters, content, errors)}
    fields: dict[str, dict[str, Any]] = {
        "prompt": {"type": "string", "description": "Changes nothing."},
        "model": {"type": "string"},
        "n": whole | {"minimum": 1, "maximum": settings.max_seeds},
        "seed": seed,
        "size": {"type": "string", "pattern": "^(auto|[0-9]{1,5}x[0-9]{1,5})$"},
        "truncation": truncation,
        "response_format": {"type": "string", "enum": ["b64_json"]},
        "output_format": {"type": "string", "enum": ["png", "webp", "jpeg"]},
    }
    generation = {  # null is what clients write for a field left out
        "type": "object",
        "properties": {
            name: {"anyOf": [field, {"type": "null"}]} for name, field in fields.items()
        },
    }
    posted = (400, 404, 408, 413, 415, 422, 429, 503)
    paths["/v1/images/generations"] = {
        "post": _operation("Images in OpenAI's shape.", [], json, posted)
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
            posted,
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
    responses: dict[str, Any] = {"200": {"description": "As asked", "content": content}}
    if cached:
        responses["304"] = {"description": "The client has it already"}
    for status in (*errors, 401):
        responses[str(status)] = {
            "description": _DESCRIPTIONS[status],
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
    return {"summary": summary, "parameters": parameters, "responses": responses}
