"""One file a metric: features in, numbers out."""
