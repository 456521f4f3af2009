"""The light runtime, without torch: seeds and latents in, images, grids and morphs out."""
