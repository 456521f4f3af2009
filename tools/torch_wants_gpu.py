"""Ends with 0 where the installed PyTorch asks for NVIDIA's libraries; a CPU build does not."""

import sys
from importlib.metadata import requires

GPU = ("nvidia", "cuda", "triton")
sys.exit(not any(each.startswith(GPU) for each in requires("torch") or ()))
