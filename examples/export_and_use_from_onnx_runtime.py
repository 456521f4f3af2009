"""Export a run, then sample with ONNX Runtime and numpy alone, as an application would.

python examples/export_and_use_from_onnx_runtime.py RUN
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

import catgan

exported = catgan.export(sys.argv[1], "cats.onnx", name="My cats")
print(f"{exported.bytes / 1e6:.1f} MB, {exported.parity.line()}")

# From here on catgan is not needed.
session = onnxruntime.InferenceSession("cats.onnx", providers=["CPUExecutionProvider"])
card = json.loads(session.get_modelmeta().custom_metadata_map["catgan"])
print(f"{card['name']}, trained on {card['data']['name']} ({card['data']['license']})")

latent_size = card["config"]["network"]["latent_size"]
z = np.random.default_rng(7).standard_normal((4, latent_size), dtype=np.float32)
truncation = np.array([0.8], np.float32)
(images,) = session.run(["images"], {"z": z, "truncation": truncation})  # uint8 (4, H, W, 3)
Image.fromarray(np.concatenate(images, axis=1)).save("cats.png")
