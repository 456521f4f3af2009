"""Memory that stays with the process while it works: fewer faults, and back at the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from catgan import memory

needs_glibc = pytest.mark.skipif(
    memory._glibc() is None, reason="needs Linux with glibc, whose allocator it adjusts"
)
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# Each test changes its process for good, so it runs in one of its own. Memory comes from libc
# itself, as torch has another allocator on some processors.
PROLOGUE = """
import contextlib, ctypes, json, resource, sys, threading
import psutil
from catgan import memory
from catgan.memory import kept_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
libc.memset.restype, libc.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
PR_SET_THP_DISABLE = 41

def mib():
    return psutil.Process().memory_info().rss / 2**20

def faulted_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() / 2**20

def touch(mebibytes):
    block = libc.malloc(mebibytes * 2**20)
    assert block
    libc.memset(block, 1, mebibytes * 2**20)
    return block

def small_pages():  # so that each page of a new block is a fault
    assert libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0

def turns(count):
    before = faulted_mib()
    for _ in range(count):
        for block in [touch(64), touch(48)]:
            libc.free(block)
    return faulted_mib() - before
"""  # noqa: E501


def run(script: str, **environment: str) -> dict[str, float]:
    command = [sys.executable, "-c", PROLOGUE + script]
    variables = {**os.environ, **environment}
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables)
    assert output.returncode == 0, output.stderr
    return json.loads(output.stdout)


FAULTS = """
small_pages()
default = turns(5)
with kept_memory():
    turns(1)
    kept = turns(5)
after = turns(5)
print(json.dumps({"default": default, "kept": kept, "after": after}))
"""


@needs_glibc
def test_only_the_first_step_has_faults() -> None:
    faulted = run(FAULTS)
    assert faulted["default"] > 0.9 * 5 * (64 + 48)
    assert faulted["kept"] < 5
    assert faulted["after"] > 0.9 * 5 * (64 + 48)


@needs_glibc
@pytest.mark.parametrize(
    "environment",
    [{"MALLOC_MMAP_MAX_": "65536"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"}],
)
def test_it_respects_what_a_user_has_set(environment) -> None:
    assert run(FAULTS, **environment)["kept"] > 0.9 * 5 * (64 + 48)


@needs_glibc
def test_memory_goes_back_to_the_system_at_the_end() -> None:
    script = """
start = mib()
with kept_memory():
    blocks = [touch(300), touch(300)]
    pinned = touch(1)  # above the others, so that the heap can't shrink
    for block in blocks:
        libc.free(block)
    inside = mib() - start
print(json.dumps({"inside": inside, "after": mib() - start}))
"""
    memory_of = run(script)
    assert memory_of["inside"] > 550
    assert memory_of["after"] < 50


@needs_glibc
@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="this kernel has no transparent huge pages")
def test_the_heap_asks_for_huge_pages() -> None:
    script = """
with kept_memory():
    touch(256)
    flagged, size = 0, 0
    for line in open("/proc/self/smaps"):
        if line.startswith("Size:"):
            size = int(line.split()[1])
        if line.startswith("VmFlags:") and " hg" in line:
            flagged += size / 1024
print(json.dumps({"flagged": flagged, "total": psutil.virtual_memory().total / 2**20}))
"""
    result = run(script)
    assert result["flagged"] > 0.9 * min(memory.MAX_RESERVED / 2**20, result["total"] / 2)


# A second thread, since an allocation that fails while there is one moves its thread to a heap of
# another kind, where every block is mapped anew.
RESERVED = """
small_pages()
done = threading.Event()
threading.Thread(target=done.wait, daemon=True).start()
used = psutil.Process().memory_info().vms
scarce(used + 2 * 2**30)
with kept_memory():
    turns(1)
    reserved = (psutil.Process().memory_info().vms - used) / 2**20
    kept = turns(5)
print(json.dumps({"reserved": reserved, "kept": kept}))
"""
WHY_SCARCE = {
    "a limit of addresses": "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))",
    "a limit of data": "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))",
    "strict accounting of memory": "memory._OVERCOMMIT = memory.Path('overcommit_memory')",
    "no /proc": "memory._LIMITS = memory.Path('missing')",
}


@needs_glibc
@pytest.mark.parametrize("why", WHY_SCARCE)
def test_it_reserves_nothing_where_addresses_are_scarce(tmp_path, monkeypatch, why) -> None:
    monkeypatch.chdir(tmp_path)
    Path("overcommit_memory").write_text("2\n")
    result = run(f"def scarce(limit): {WHY_SCARCE[why]}\n{RESERVED}")
    assert result["reserved"] < 1000
    assert result["kept"] < 5


@needs_glibc
def test_it_reserves_addresses_elsewhere() -> None:
    if memory._addresses_to_reserve() < 2**30:
        pytest.skip("this process has no addresses to spare")
    assert run(f"def scarce(limit): pass\n{RESERVED}")["reserved"] > 1000


@needs_glibc
def test_it_ends_when_the_block_raises() -> None:
    script = """
small_pages()
with contextlib.suppress(KeyError), kept_memory():
    raise KeyError
print(json.dumps({"after": turns(4)}))
"""
    assert run(script)["after"] > 0.9 * 4 * (64 + 48)


def test_it_does_nothing_on_other_systems(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory._glibc() is None
    with memory.kept_memory():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs a Linux with its C library")
def test_it_leaves_another_allocator_alone(monkeypatch) -> None:
    class Preloaded:
        malloc = memory.ctypes.CFUNCTYPE(memory.ctypes.c_void_p)(lambda: None)

    real = memory.ctypes.CDLL
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: real(name) if name else Preloaded())
    assert memory._glibc() is None
