"""Work that gives way to the engine: what is read, prepared and restored of a large study.

The engine and such work share the machine's cores. A small study's one window would take three
times as long while a whole head is made ready beside it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

Returned = TypeVar("Returned")

_NICE = 10
"""As in nice(2): beside a thread that gives no way, a tenth of a core."""


def run_low_priority(work: Callable[[], Returned]) -> Returned:
    """Run ``work`` in a thread of lower priority; on Linux alone threads have one of their own.

    The thread is a new one, because none may raise its priority again. Threads that it starts have
    the same: nothing that starts an engine's threads may run here.
    """
    if sys.platform != "linux":
        return work()
    with ThreadPoolExecutor(1, "aside", initializer=_give_way) as pool:
        return pool.submit(copy_context().run, work).result()


def _give_way() -> None:
    thread = threading.get_native_id()
    with suppress(OSError):  # a sandbox may forbid it: then the work has the priority it had
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(now, _NICE))
