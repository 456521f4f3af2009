"""One training run, readable top to bottom in `loop.py`, and what it needs."""
