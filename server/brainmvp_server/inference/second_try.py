"""What becomes of a batch that failed: each window's second try, alone, in a fresh engine.

Decisions alone: no threads and no engine, which the caller gives as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import BrainMVPError, EngineFailed
from brainmvp_server.inference.scheduler import Batch
from brainmvp_server.inference.window_queue import Entry


def try_again(
    batch: Batch,
    error: EngineFailed,
    *,
    replace: Callable[[EngineFailed], None],
    bring: Callable[[Entry, NDArray[np.float32]], None],
    fail: Callable[[Sequence[Entry], BrainMVPError], None],
) -> None:
    """Give each window of a failed batch one more try, alone.

    A study has one such try: where a second batch of it alone fails, it ends with ``error``. A
    batch that it shared does not count as its own failure. A window that fails again ends its
    study, not the others. Studies that ended meanwhile are passed over.

    Args:
        replace: puts a fresh engine in the place of the one that failed.
        bring: brings one window, (1, C, h, w, d), through the engine and delivers it.
        fail: ends the studies of windows.
    """
    first = batch.entries[0][0]
    if all(run is first for run, _ in batch.entries):
        first.failed += 1
    try:
        replace(error)
        for index, entry in enumerate(batch.entries):
            if entry[0].gone:
                continue
            if entry[0].failed > 1:
                fail((entry,), error)
                continue
            try:
                bring(entry, batch.windows[index : index + 1])
            except EngineFailed as again:
                fail((entry,), again)
                replace(again)
    except BrainMVPError as unavailable:
        fail(batch.entries, unavailable)
