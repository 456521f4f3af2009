"""From a trained run to an artifact: one ONNX file with its card, which needs no torch."""
