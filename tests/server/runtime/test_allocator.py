"""Memory that a study gave back leaves the process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the probe needs glibc 2.33 or later"
)

PROBE = """
import ctypes, sys
from brainmvp_server.runtime.allocator import return_large_blocks

class Mallinfo2(ctypes.Structure):  # mallinfo(3)
    _fields_ = [(n, ctypes.c_size_t) for n in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
return_large_blocks()
libc.free(libc.malloc(24 << 20))  # by itself glibc now takes what is smaller from its arena
before = libc.mallinfo2().hblks
libc.malloc(16 << 20)
print(libc.mallinfo2().hblks - before)
"""

FRAGMENTED = """
import numpy as np, psutil
from brainmvp_server.runtime.allocator import return_freed

blocks = [np.ones(2000, np.uint8) for _ in range(100_000)]
kept = blocks[::50]  # each holds its arena's pages around it
del blocks
before = psutil.Process().memory_info().rss
return_freed()
print((before - psutil.Process().memory_info().rss) >> 20)
"""


def test_pages_between_blocks_that_live_on_are_given_back() -> None:
    command = [sys.executable, "-c", FRAGMENTED]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ran.stdout) > 100, "of 200 MB that were freed"


def mapped(**environment: str) -> int:
    """How many blocks of 16 MB are mapped by themselves after a larger one was freed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PROBE]
    ran = subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_a_large_block_has_a_mapping_of_its_own_after_a_larger_one_was_freed() -> None:
    assert mapped() == 1


def test_a_threshold_that_somebody_set_is_left_alone() -> None:
    assert mapped(MALLOC_MMAP_THRESHOLD_="33554432") == 0
    assert mapped(GLIBC_TUNABLES="glibc.malloc.mmap_threshold=33554432") == 0
