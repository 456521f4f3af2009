"""Inspect a dataset on one page: contact sheet, rejections, near-duplicates, outliers."""
