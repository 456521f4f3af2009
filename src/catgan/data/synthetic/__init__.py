"""Datasets without photos: procedural cats and samples of the bundled generator."""
