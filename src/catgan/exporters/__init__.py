"""Export a trained run, or an artifact, to ONNX, Keras, LiteRT or Triton, with its model card."""
