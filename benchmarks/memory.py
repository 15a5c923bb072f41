"""The peak memory of this process."""

from __future__ import annotations

import re
from pathlib import Path


def peak_mb() -> float:
    """Largest resident set so far, in MB.

    From ``VmHWM``, which starts anew with the program; ``ru_maxrss`` starts at the parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) / 1024
