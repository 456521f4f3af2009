"""Hostile input: images, archives, downloads."""
