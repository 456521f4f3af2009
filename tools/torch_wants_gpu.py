"""Exit with 0 if the installed PyTorch requires NVIDIA's libraries, with 1 for a CPU build."""

import sys
from importlib.metadata import requires

GPU = ("nvidia", "cuda", "triton")
sys.exit(not any(each.startswith(GPU) for each in requires("torch") or ()))
