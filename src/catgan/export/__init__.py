"""From a trained run to an artefact: one ONNX file with its card, which needs no torch."""
