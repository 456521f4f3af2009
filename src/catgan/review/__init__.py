"""A local page on which a person keeps or rejects crops before a dataset is written."""
