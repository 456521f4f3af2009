"""A local web page to keep or reject crops before a dataset is written."""
