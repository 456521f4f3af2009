"""The dataset format on disk: read, write, prepare, cache."""
