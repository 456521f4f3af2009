"""Layers that the families share: convolutions, filters, dropout, initialization."""
