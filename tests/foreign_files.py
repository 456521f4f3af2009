"""Tiny .keras and .tflite files with cards: right to those who read cards, without a model."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import flatbuffers

from catgan.generation.archive import seal_keras

KERAS_MEMBERS = {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"weights"}


def zipped(members, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def keras_file(document):
    return seal_keras(zipped(KERAS_MEMBERS), document)


def tflite_file(document):
    """The card as the last thing but one in the file, its checksum taken of all around it."""
    text = json.dumps({**document, "model_sha256": "0" * 64}).encode()
    data = tflite_model([("min_runtime_version", b"1.5.0"), ("catgan", text)])
    before, after = data.split(text)
    checksum = hashlib.sha256(before + after).hexdigest().encode()
    return before + text.replace(b"0" * 64, checksum) + after


def tflite_model(metadata, *, first_buffer=1, identifier=b"TFL3"):
    """A TensorFlow Lite model (schema.fbs) of buffers and metadata, (name, contents), alone."""
    builder = flatbuffers.Builder()

    def vector(offsets):
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    buffers, entries = [table(builder, {})], []
    for number, (name, contents) in enumerate(metadata):
        data = builder.CreateByteVector(contents)
        buffers.append(table(builder, {0: data}))
        name = builder.CreateString(name)
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, name, 0)
        builder.PrependUint32Slot(1, first_buffer + number, 0)
        entries.append(builder.EndObject())
    model = {4: vector(buffers), 6: vector(entries)}
    builder.Finish(table(builder, model), file_identifier=identifier)
    return bytes(builder.Output())


def table(builder, fields):
    builder.StartObject(8)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return builder.EndObject()
