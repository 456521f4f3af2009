"""A static site that generates images in the browser: page, ONNX Runtime Web, one artifact."""
