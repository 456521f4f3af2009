"""The light runtime, without torch: seeds, latents, sheets of images."""
