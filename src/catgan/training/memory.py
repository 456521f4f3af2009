"""Keep freed memory for the next step, in huge pages, instead of returning it to the system.

A step on a CPU allocates more than a gigabyte and frees it again. By default glibc maps each tensor
of 32 MB or more anew, so the kernel has to find and clear its pages, one fault of 4 kB at a time:
45,000 to 78,000 faults a step of projected-128. On a virtual machine a fault takes microseconds,
and addresses of small pages are slow to translate. Kept memory in pages of 2 MB has 6 faults a step
and takes 45 ms an image where the default takes 53, with as much memory at most, 1.5 GiB (medians;
2-core AMD EPYC with AVX2, float32, 2026-11-30; `benchmarks/kept_memory.py`).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HUGE_PAGE = 2**21  # bytes, on x86 and most of ARM
MAX_RESERVED = 2**33  # bytes of addresses; memory is taken when it is used
# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MADV_HUGEPAGE = 14  # of the kernel's mman-common.h
# The limits that glibc adjusts the thresholds to by itself, and its default number of mappings.
_DEFAULTS = {_MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26, _MMAP_MAX: 2**16}
# With which users set the same themselves, or let free() write to everything.
_VARIABLES = frozenset(
    f"MALLOC_{name}_" for name in ("MMAP_MAX", "MMAP_THRESHOLD", "PERTURB", "TRIM_THRESHOLD")
)
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_STRICT = "2"  # every address counts as memory


@contextmanager
def kept_memory() -> Iterator[None]:
    """Make the process keep freed memory inside the block; return it to the system at the end.

    What other threads than the calling one have allocated may stay with the process. Results do not
    change. Has an effect on Linux where memory comes from glibc and its user has not set how;
    elsewhere it does nothing.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)  # allocate from the heap alone
    library.mallopt(_TRIM_THRESHOLD, -1)  # and never shrink it
    if _addresses_are_free():
        _reserve_huge_pages(library)
    try:
        yield
    finally:
        for parameter, value in _DEFAULTS.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, allocates the memory, and is not tuned by its user."""
    tuned = not _VARIABLES.isdisjoint(os.environ)
    if sys.platform != "linux" or tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library = ctypes.CDLL(None)
    try:
        allocators = [each.malloc for each in (library, ctypes.CDLL("libc.so.6"))]
    except OSError:  # another C library
        return None
    # Another allocator may be preloaded, such as jemalloc.
    if len({ctypes.cast(each, ctypes.c_void_p).value for each in allocators}) > 1:
        return None
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.malloc_trim.argtypes = [ctypes.c_size_t]
    return library


def _addresses_are_free() -> bool:
    """Return whether a process may reserve addresses that it does not use."""
    if sys.platform != "linux":  # where psutil, by its types, has no limits
        return False
    limits = (psutil.RLIMIT_AS, psutil.RLIMIT_DATA)
    if any(psutil.Process().rlimit(limit)[0] != psutil.RLIM_INFINITY for limit in limits):
        return False
    try:
        return _OVERCOMMIT.read_text(encoding="ascii").strip() != _STRICT
    except OSError:
        return True


def _reserve_huge_pages(library: ctypes.CDLL) -> None:
    """Extend the heap by addresses whose pages will be huge, where the kernel has such pages."""
    size = min(MAX_RESERVED, psutil.virtual_memory().total // 2)
    block = library.malloc(size)
    if not block:
        return
    first = -(-block // HUGE_PAGE) * HUGE_PAGE
    last = (block + size) // HUGE_PAGE * HUGE_PAGE
    library.madvise(first, last - first, _MADV_HUGEPAGE)  # fails harmlessly without them
    library.free(block)
