"""A local page on which a person keeps or refuses crops before a dataset is written."""
