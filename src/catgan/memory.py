"""Keep freed memory, in huge pages, instead of returning it to the system.

By default glibc maps each block of 32 MB or more anew, and the kernel has to find and clear its
pages, one fault of 4 kB at a time. On a virtual machine a fault takes microseconds, and addresses
of small pages are slow to translate. Medians on a 2-core AMD EPYC with AVX2, 2026-11-30:

- A step of projected-128 allocates more than a gigabyte and frees it again: 45,000 to 78,000
  faults. Kept memory in pages of 2 MB has 6 faults a step and takes 45 ms an image where the
  default takes 53, with as much memory at most, 1.5 GiB (`benchmarks/kept_memory.py`).
- `catgan sample --seeds 7` touches 170 MB, most of it for copies of the weights: 42,000 faults by
  default, 5,400 with huge pages, and 0.41 s instead of 0.49. On a virtual machine whose host takes
  free memory back, one command in four was slower, so the means are alike
  (`benchmarks/kept_memory.py --command`).
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
_MEMORY = Path("/proc/meminfo")
_LIMITS = Path("/proc/self/limits")
_LIMITED_ADDRESSES = ("Max address space", "Max data size")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_STRICT = "2"  # every address counts as memory


@contextmanager
def kept_memory() -> Iterator[None]:
    """Make the process keep freed memory inside the block; return it to the system at the end.

    What other threads than the calling one have allocated may stay with the process. Results do not
    change. Has an effect on Linux where memory comes from glibc and its user has not set how;
    elsewhere it does nothing. Blocks are not nested: the end of one is the end of all.
    """
    library = _glibc()
    if library is None:
        yield
        return
    try:
        library.mallopt(_MMAP_MAX, 0)  # allocate from the heap alone
        library.mallopt(_TRIM_THRESHOLD, -1)  # and never shrink it
        _reserve_huge_pages(library)
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


def _addresses_to_reserve() -> int:
    """Return the bytes of addresses that a process may reserve without using them, or 0.

    0, too, if it cannot find out, as where /proc is hidden.
    """
    try:
        limits, overcommit, memory = (
            path.read_text(encoding="ascii") for path in (_LIMITS, _OVERCOMMIT, _MEMORY)
        )
    except OSError:
        return 0
    limited = any(
        not re.search(rf"^{name} +unlimited", limits, re.MULTILINE) for name in _LIMITED_ADDRESSES
    )
    total = re.search(r"^MemTotal: +(\d+) kB", memory, re.MULTILINE)
    if limited or overcommit.strip() == _STRICT or total is None:
        return 0
    return min(MAX_RESERVED, int(total[1]) * 1024 // 2)


def _reserve_huge_pages(library: ctypes.CDLL) -> None:
    """Extend the heap by addresses whose pages will be huge, where the kernel has such pages."""
    size = _addresses_to_reserve()
    block = library.malloc(size) if size else None
    if not block:
        return
    first = -(-block // HUGE_PAGE) * HUGE_PAGE
    last = (block + size) // HUGE_PAGE * HUGE_PAGE
    library.madvise(first, last - first, _MADV_HUGEPAGE)  # fails harmlessly without them
    library.free(block)
