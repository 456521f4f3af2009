"""catgan: a folder of cat photos in, a measured generator of cat faces out."""

__version__ = "0.1.0"
