"""Pure torch modules, one file per family; no input or output, no training logic."""
