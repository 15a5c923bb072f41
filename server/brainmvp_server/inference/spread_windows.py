"""The profile ``speed``: fewer windows, spread evenly, whose logits fade into each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.task import RegionOutputs, Task, Window
from brainmvp_server.imaging.grid import Shape
from brainmvp_server.inference.windows import (
    Array,
    WindowPlan,
    WindowSlices,
    axis_starts,
)

LEAST_OVERLAP = 16
"""Voxels that neighbouring windows share."""

_FADE = LEAST_OVERLAP // 2
"""Voxels at a window's borders over which its weight falls. In between it is even, as published:
wider slopes, and Gaussians, agreed less with ``reference``."""
_NO_EVIDENCE = 10.0
"""Size of the logits of a window that no network saw: nothing is there."""


def spread(shape: Shape, window: Window) -> WindowPlan:
    """As few windows as share :data:`LEAST_OVERLAP` voxels, as evenly as voxels allow.

    Where the published layout takes wider steps than that, so does this one: it never has more
    windows.
    """
    published = WindowPlan.of(shape, window)
    axes = [
        _spread_axis(n, size, window.overlap)
        for n, size in zip(published.padded, published.size, strict=True)
    ]
    return WindowPlan(shape, published.size, published.before, (axes[0], axes[1], axes[2]))


def without_empty(plan: WindowPlan, brain: NDArray[np.bool_]) -> WindowPlan:
    """The plan without the windows that hold no brain; all of it where none holds any.

    Args:
        brain: (X, Y, Z) of the padded volume.
    """
    skipped = frozenset(
        (place[0].start, place[1].start, place[2].start)
        for place in plan.slices()
        if not brain[place].any()
    )
    return plan if len(skipped) == len(plan) else plan.without(skipped)


class FadingBlend:
    """The mean of overlapping windows' logits, each of which fades out towards its borders.

    The weights are products of one an axis, which add up to 1 along it: so they do in the volume.
    A window that was skipped counts as one that shows nothing. A voxel of brain lies in none.
    """

    def __init__(self, plan: WindowPlan, task: Task) -> None:
        outputs = task.outputs
        self._plan = plan
        self._weights = tuple(
            fading(starts, size, n)
            for starts, size, n in zip(plan.starts, plan.size, plan.padded, strict=True)
        )
        self._sum = np.zeros((outputs.count, *plan.padded), dtype=np.float32)
        nothing = np.full((outputs.count, 1, 1, 1), -_NO_EVIDENCE, dtype=np.float32)
        if not isinstance(outputs, RegionOutputs):
            nothing[0] = _NO_EVIDENCE  # the background
        for place in plan.skipped_slices():
            self.add(place, nothing)

    def add(self, place: WindowSlices, logits: Array) -> None:
        """Add one window's logits (O, h, w, d)."""
        x, y, z = (one[axis.start] for one, axis in zip(self._weights, place, strict=True))
        part = logits * (x[:, None, None] * (y[:, None] * z))
        self._sum[(slice(None), *place)] += part

    def mean(self) -> Array:
        """The blended logits (O, X, Y, Z); the sums are spent."""
        return self._plan.unpad(self._sum)


def fading(starts: tuple[int, ...], size: int, length: int) -> dict[int, Array]:
    """By its start, each window's weights (size,) along one axis of ``length`` voxels.

    At every voxel that a window covers, they add up to 1.
    """
    to_border = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    own = np.sin(np.minimum(to_border / _FADE, 1) * np.pi / 2) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += own
    return {s: (own / total[s : s + size]).astype(np.float32) for s in starts}


def _spread_axis(length: int, size: int, overlap: float) -> tuple[int, ...]:
    published = axis_starts(length, size, overlap)
    if len(published) == 1:
        return published
    step = max(size - LEAST_OVERLAP, published[1])
    gaps = -(-(length - size) // step)
    return tuple(round(index * (length - size) / gaps) for index in range(gaps + 1))
