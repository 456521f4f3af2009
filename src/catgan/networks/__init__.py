"""Pure torch modules, one file a family; no input or output, no training logic."""
