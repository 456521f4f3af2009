"""Photos in, dataset out: decoding, preparing, and the format on disk."""
