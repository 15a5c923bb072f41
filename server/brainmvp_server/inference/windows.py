"""Cut a volume into overlapping windows, and blend their logits back into one volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.task import Window
from brainmvp_server.imaging.grid import Shape

Array = NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)
WindowSlices = tuple[slice, ...]
"""A window as an index into the padded volume."""
Starts = tuple[int, int, int]
"""A window's first voxel along each axis, in the padded volume."""


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows of a volume lie.

    Attributes:
        shape: voxels of the volume.
        size: voxels of a window.
        before: zeros before the volume along each axis, where it is smaller than a window.
        starts: the windows' first voxels along each axis, in the padded volume.
        skipped: the windows that no network is to see.
    """

    shape: Shape
    size: Shape
    before: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    skipped: frozenset[Starts] = frozenset()

    @classmethod
    def of(cls, shape: Shape, window: Window) -> WindowPlan:
        """The published layout: steps of ``size * (1 - overlap)``, the last one pulled back.

        A volume smaller than the window is padded by zeros on both sides, the odd one at the end.
        """
        axes = [
            axis_starts(n, size, window.overlap) for n, size in zip(shape, window.size, strict=True)
        ]
        x, y, z = (max(size - n, 0) // 2 for n, size in zip(shape, window.size, strict=True))
        return cls(shape, window.size, (x, y, z), (axes[0], axes[1], axes[2]))

    def __len__(self) -> int:
        x, y, z = map(len, self.starts)
        return x * y * z - len(self.skipped)

    @property
    def padded(self) -> Shape:
        """Voxels of the volume after padding."""
        x, y, z = map(max, zip(self.shape, self.size, strict=True))
        return x, y, z

    def slices(self) -> Iterator[WindowSlices]:
        """The places of the windows that are not skipped, in the published order."""
        for start in product(*self.starts):
            if start not in self.skipped:
                yield self._place(start)

    def skipped_slices(self) -> Iterator[WindowSlices]:
        """The places of those that are."""
        yield from map(self._place, sorted(self.skipped))

    def without(self, skipped: frozenset[Starts]) -> WindowPlan:
        """The same with some windows skipped."""
        return replace(self, skipped=skipped)

    def pad(self, image: NDArray[Number]) -> NDArray[Number]:
        """``image`` (C, X, Y, Z) with its zeros around it; itself where none are needed."""
        if self.padded == self.shape:
            return image
        padded = np.zeros((image.shape[0], *self.padded), dtype=image.dtype)
        padded[(slice(None), *self._inside())] = image
        return padded

    def unpad(self, image: Array) -> Array:
        """The part of (O, X, Y, Z) that is the volume."""
        return image[(slice(None), *self._inside())]

    def _place(self, start: tuple[int, ...]) -> WindowSlices:
        return tuple(slice(a, a + n) for a, n in zip(start, self.size, strict=True))

    def _inside(self) -> tuple[slice, ...]:
        return tuple(slice(a, a + n) for a, n in zip(self.before, self.shape, strict=True))


class Stitching(Protocol):
    """Makes one of the logits of a study's windows."""

    def add(self, place: WindowSlices, logits: Array) -> None:
        """Add one window's logits (O, h, w, d), or (O,) of a classification."""
        ...

    def mean(self) -> Array:
        """Logits of the whole study; the sums are spent."""
        ...


class Blend:
    """The running mean of overlapping windows' logits, every window with the same weight."""

    def __init__(self, plan: WindowPlan, outputs: int) -> None:
        self._plan = plan
        self._sum = np.zeros((outputs, *plan.padded), dtype=np.float32)

    def add(self, place: WindowSlices, logits: Array) -> None:
        """Add one window's logits (O, h, w, d)."""
        self._sum[(slice(None), *place)] += logits

    def mean(self) -> Array:
        """The blended logits (O, X, Y, Z); the sums are spent."""
        # How many windows cover a voxel is a product of one count an axis.
        for axis, (starts, n) in enumerate(zip(self._plan.starts, self._plan.padded, strict=True)):
            cover = np.zeros(n, dtype=np.float32)
            for start in starts:
                cover[start : start + self._plan.size[axis]] += 1
            if cover.max() > 1:
                shape = [1, 1, 1, 1]
                shape[axis + 1] = n
                self._sum /= cover.reshape(shape)
        return self._plan.unpad(self._sum)


class ScoreMean:
    """The mean of windows' class logits."""

    def __init__(self, plan: WindowPlan, outputs: int) -> None:
        self._windows = len(plan)
        self._sum = np.zeros(outputs, dtype=np.float32)

    def add(self, _: WindowSlices, logits: Array) -> None:
        """Add one window's logits (O,)."""
        self._sum += logits

    def mean(self) -> Array:
        """The mean logits (O,); the sums are spent."""
        self._sum /= self._windows
        return self._sum


def axis_starts(length: int, size: int, overlap: float) -> tuple[int, ...]:
    """The published layout along one axis of so many voxels."""
    if length <= size:
        return (0,)
    step = max(int(size * (1 - overlap)), 1)
    count = -(-(length - size) // step) + 1
    return tuple(min(index * step, length - size) for index in range(count))
