"""Turn photos into datasets: decode, find faces, prepare, and the format on disk."""
