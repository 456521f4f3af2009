"""The bundled generator, `generator.onnx`, and its card; see docs/reference/formats.md."""
