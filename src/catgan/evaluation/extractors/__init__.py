"""One file a feature extractor, and their registry."""
