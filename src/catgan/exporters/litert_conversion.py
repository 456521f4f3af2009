"""From a Keras file to a LiteRT model, by TensorFlow: a program of its own.

    python -m catgan.exporters.litert_conversion MODEL.keras MODEL.tflite PRECISION

A process has one backend of Keras, and where an export is made that is torch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from catgan.generation.generator import OUTPUT


def convert(source: Path, target: Path, precision: str) -> None:
    """Convert, for one image at a time: shapes that are known suit the kernels of phones."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(source, compile=False, safe_mode=True)

    def draw(*inputs: Any) -> dict[str, Any]:
        return {OUTPUT: model(list(inputs), training=False)}

    signature = [
        tf.TensorSpec((1, *each.shape[1:]), tf.float32, name=each.name) for each in model.inputs
    ]
    with tempfile.TemporaryDirectory() as place:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", draw, input_signature=signature)
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place)
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        target.write_bytes(converter.convert())


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
