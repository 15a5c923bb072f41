"""Memory that a study gave back leaves the process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

PROBE = """
import ctypes, sys
from brainmvp_server.allocator import return_large_blocks

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


def mapped(**environment: str) -> int:
    """How many blocks of 16 MB are mapped by themselves after a larger one was freed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PROBE]
    ran = subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the probe needs glibc 2.33 or later"
)
class TestGlibc:
    def test_a_large_block_has_a_mapping_of_its_own_after_a_larger_one_was_freed(self) -> None:
        assert mapped() == 1

    def test_a_threshold_that_somebody_set_is_left_alone(self) -> None:
        assert mapped(MALLOC_MMAP_THRESHOLD_="33554432") == 0
        assert mapped(GLIBC_TUNABLES="glibc.malloc.mmap_threshold=33554432") == 0
