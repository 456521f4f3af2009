"""Evaluation results: records on disk, comparisons, pages."""
