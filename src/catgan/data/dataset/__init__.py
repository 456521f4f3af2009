"""The dataset format on disk: reading, writing, preparing, caching."""
