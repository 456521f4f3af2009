"""Datasets made without photos: procedural cats and the bundled generator's samples."""
