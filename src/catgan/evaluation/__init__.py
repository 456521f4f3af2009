"""Scores of generated images: features -> statistics -> numbers, each with its fingerprint."""
