"""Windows of prepared studies to train on, each with its place on the template grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmvp_training.prepared import PreparedStudy

Start = tuple[int, int, int]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class WindowPlace:
    """A cube of a study; it may reach beyond the study, where there are zeros.

    Attributes:
        start: its first voxel in the study, negative where it begins before.
        edge: voxels along each axis.
    """

    start: Start
    edge: int

    def cut(self, volume: NDArray[Kind]) -> NDArray[Kind]:
        """The window's part of (…, X, Y, Z), zero where there is none."""
        shape = volume.shape[-3:]
        out = np.zeros((*volume.shape[:-3], *(self.edge,) * 3), volume.dtype)
        into: list[slice] = []
        out_of: list[slice] = []
        for start, n in zip(self.start, shape, strict=True):
            low, high = max(start, 0), max(min(start + self.edge, n), max(start, 0))
            into.append(slice(low - start, high - start))
            out_of.append(slice(low, high))
        x, y, z = into
        out[..., x, y, z] = volume[..., out_of[0], out_of[1], out_of[2]]
        return out

    def shifted(self, shift: Start) -> WindowPlace:
        """The same window on a grid whose origin lies ``shift`` before the study's."""
        x, y, z = (a + b for a, b in zip(self.start, shift, strict=True))
        return WindowPlace((x, y, z), self.edge)


def draw_window(
    study: PreparedStudy, edge: int, rng: np.random.Generator, *, on_marked: float = 0.0
) -> WindowPlace:
    """A random window of a study; where the study is smaller, it is centred.

    Args:
        on_marked: the chance that the window is centred near a voxel with a label.
    """
    if len(study.marked) and rng.random() < on_marked:
        voxel = study.marked[rng.integers(len(study.marked))]
        wanted = [int(v) - edge // 2 + int(rng.integers(-edge // 4, edge // 4 + 1)) for v in voxel]
    else:
        wanted = [int(rng.integers(0, max(n - edge, 0) + 1)) for n in study.shape]
    x, y, z = (_within(w, n, edge) for w, n in zip(wanted, study.shape, strict=True))
    return WindowPlace((x, y, z), edge)


def centre_shift(shape: tuple[int, ...], template: tuple[int, ...]) -> Start:
    """Where a study of ``shape`` begins on the template grid, centres aligned.

    ``shift = (template_shape - study_shape) // 2``, as in the published pre-training.
    """
    x, y, z = ((t - s) // 2 for t, s in zip(template, shape, strict=True))
    return x, y, z


def _within(start: int, n: int, edge: int) -> int:
    """Pull a window into the study; the published padding where the study is smaller."""
    if n <= edge:
        return -((edge - n) // 2)
    return min(max(start, 0), n - edge)
