"""Takes from Python what Windows does not have; in force where this folder is on PYTHONPATH.

Processes that are started from such a one have it on theirs, and so miss the same.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings

import psutil  # noqa: F401 - its build for this system needs `resource`, that for Windows does not

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty")
FUNCTIONS = (
    *("fork", "forkpty", "geteuid", "mkfifo", "pread", "pwrite"),
    *("sched_getaffinity", "sched_setaffinity"),
)

for module in MODULES:
    sys.modules[module] = None  # type: ignore[assignment]  # importing it raises ImportError
for function in FUNCTIONS:
    if hasattr(os, function):
        delattr(os, function)
# filelock's, and not Windows': there it asks the system for locks.
warnings.filterwarnings("ignore", message="only soft file lock is available")
multiprocessing.set_start_method("spawn")
