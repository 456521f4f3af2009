"""The generator that the package carries, `generator.onnx`, and its card; see docs/formats.md."""
