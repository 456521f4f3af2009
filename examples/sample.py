"""Sample cats, interpolate between two of them, and keep latents. Needs no torch.

python examples/sample.py [FILE.onnx]
"""

import sys

from PIL import Image

import catgan

generator = catgan.load(*sys.argv[1:])  # without a file: the bundled generator
print(f"{generator.card.name}: {generator.resolution} px, latents of {generator.latent_size}")

# A seed always gives the same image. A truncation below 1 trades variety for quality.
Image.fromarray(generator.grid(seeds=range(16), truncation=0.8)).save("grid.png")

# From one seed to another, 8 frames, as an array (8, H, W, 3) of uint8.
frames = generator.morph(3, 9, frames=8)
Image.fromarray(frames[4]).save("halfway.png")

# Latents are numpy arrays (N, latent_size). A file of them knows which generator it belongs to.
z = -generator.latents([3, 9])
generator.save_latents("opposites.safetensors", z)
images = generator.sample(latents="opposites.safetensors")
Image.fromarray(images[0]).save("opposite.png")
