"""What is head and what is background in a volume, and the scale of its intensities.

The published pipeline takes percentiles of the whole volume, background included. What the 95th
means then hangs on how much background a file holds: zeros padded around a head move it. So a study
whose background is padding is worked on as if it were cropped to the field of view of the model's
training (``field_of_view_mm`` of a task); docs/nifti.md has the rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidVolume
from brainmvp_server.imaging.grid import Box, Grid, bounding_box
from brainmvp_server.imaging.percentile import order_statistics, percentile_ranks
from brainmvp_server.imaging.reach import measured
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.background import Darkened, on_dark_background

Array = NDArray[np.float32]

_BRIGHTEST = 1e6
"""Brightest voxel that is taken, in spans of the percentiles."""


@dataclass(frozen=True)
class IntensityScale:
    """``low`` … ``low + range`` goes to 0 … 1; ``range`` is None where it is empty."""

    low: np.floating[Any]
    range: np.floating[Any] | None

    def __call__(self, values: NDArray[Any]) -> Array:
        """The scaled values in float32; works in place on ``values``, in their precision."""
        values -= self.low
        if self.range is not None:
            values /= self.range
        return values.astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Turned:
    """A volume turned to R, A, S, and where in it something else than background is.

    Attributes:
        volume: with its background at its darkest value.
        view: (X, Y, Z) its stored voxels.
        measured: (X, Y, Z) where the series has voxels; None where it has them everywhere.
        darkest: the stored value that means least.
        content: around the voxels of other values; None if there are none.
        background: what was mended of its background.
    """

    volume: Volume
    view: NDArray[Any]
    measured: NDArray[np.bool_] | None
    darkest: Any
    content: Box | None
    background: Darkened

    @classmethod
    def of(cls, volume: Volume) -> Turned:
        """Turn a volume and look for its background."""
        turn = volume.grid.orientation
        background = on_dark_background(volume, turn.view(volume.stored))
        volume = background.volume
        view, seen = turn.view(volume.stored), measured(volume)
        voxels = view if seen is None else view[seen]
        darkest = voxels.min() if volume.slope > 0 else voxels.max()
        lit = view != darkest
        if seen is not None:
            lit &= seen
        return cls(volume, view, seen, darkest, bounding_box(lit), background)

    def cropped(self, window: Box) -> Turned:
        """The part in a box that holds the content."""
        x, y, z = window.start
        return replace(
            self,
            view=self.view[window.slices],
            measured=None if self.measured is None else self.measured[window.slices],
            content=self.content and self.content.shifted((-x, -y, -z)),
        )

    def part(self, box: Box) -> NDArray[Any]:
        """The stored voxels of a box: (X, Y, Z), or (N,) where some of it was not measured."""
        voxels = self.view[box.slices]
        return voxels if self.measured is None else voxels[self.measured[box.slices]]

    @property
    def size(self) -> int:
        """How many voxels were measured."""
        return self.view.size if self.measured is None else int(np.count_nonzero(self.measured))


@dataclass(frozen=True, eq=False)
class Scaled:
    """A turned volume with its scale and its foreground.

    Attributes:
        foreground: around the voxels that are brighter than the lower percentile.
        head: how many those are.
    """

    turned: Turned
    scale: IntensityScale
    foreground: Box | None = None
    head: int = 0

    @classmethod
    def of(cls, turned: Turned, percentiles: tuple[float, float]) -> Scaled:
        """Measure the intensities of a volume.

        Raises:
            InvalidVolume: a voxel outshines all others so far that no network could take it.
        """
        volume, content = turned.volume, turned.content
        if content is None:
            return cls(turned, IntensityScale(np.float32(0), None))
        part, inside = turned.view[content.slices], turned.part(content)
        scale = intensity_scale(volume, percentiles, inside, turned.size - inside.size)
        _check_brightness(volume, scale)
        if volume.values(turned.darkest) == scale.low:  # what is not background is brighter
            bright = part != turned.darkest
        else:
            bright = volume.values(part) > scale.low
        if turned.measured is not None:
            bright &= turned.measured[content.slices]
        found = bounding_box(bright)
        head = int(np.count_nonzero(bright))
        return cls(turned, scale, found and found.shifted(content.start), head)

    def image(self, box: Box) -> Array:
        """The scaled voxels of a box, a new C-ordered array; 0 where nothing was measured."""
        volume, seen = self.turned.volume, self.turned.measured
        values = volume.values(self.turned.view[box.slices])
        if np.may_share_memory(values, volume.stored):
            values = values.copy(order="C")
        image = self.scale(np.ascontiguousarray(values))
        if seen is not None:
            image[~seen[box.slices]] = 0
        return image


def window_of(content: Box, grid: Grid, field_mm: tuple[float, float, float] | None) -> Box:
    """The part of a grid that a study is worked on in.

    Along each axis that is longer than the training's field of view: that length, the content in
    its middle, and never less than the content. Else the whole axis.

    Args:
        content: around all that is not background, on ``grid``.
        grid: along R, A, S.
        field_mm: along R, A, S; None for the whole grid.
    """
    start, stop = [0, 0, 0], list(grid.shape)
    for axis, width in enumerate(field_mm or ()):
        first, last, whole = content.start[axis], content.stop[axis], grid.shape[axis]
        length = max(last - first, round(width / grid.nominal_spacing[axis]))
        if length < whole:
            start[axis] = min(max((first + last - length) // 2, 0), whole - length)
            stop[axis] = start[axis] + length
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def intensity_scale(
    volume: Volume,
    percentiles: tuple[float, float],
    content: NDArray[Any] | None = None,
    around: int | None = None,
) -> IntensityScale:
    """The scale that the percentiles of the native volume give, background included.

    Args:
        content: part of the stored voxels, if one is known outside of which every voxel has the
            darkest value; those come first in order and need not be looked at.
        around: how many of those are counted; by default all.
    """
    inside = volume.stored if content is None else content
    if around is None:
        around = volume.stored.size - inside.size
    ranks = [percentile_ranks(inside.size + around, percentile) for percentile in percentiles]
    places = np.array([rank for low, high, _ in ranks for rank in (low, high)])
    within = np.maximum(places - around, 0)
    if volume.slope < 0:  # the order of values is the reverse of the order of what is stored
        within = inside.size - 1 - within
    stored = order_statistics(inside, within.tolist())
    if around:
        darkest = volume.stored.min() if volume.slope > 0 else volume.stored.max()
        stored[places < around] = darkest
    values = volume.values(stored).astype(np.float64)
    ends = [
        volume.precision(values[2 * i] + weight * (values[2 * i + 1] - values[2 * i]))
        for i, (_, _, weight) in enumerate(ranks)
    ]
    span = ends[1] - ends[0]
    return IntensityScale(ends[0], span if span != 0 else None)


def _check_brightness(volume: Volume, scale: IntensityScale) -> None:
    """A voxel that outshines all others by far leaves a network's sums without an image."""
    ends = volume.values(np.array([volume.stored.min(), volume.stored.max()]))
    with np.errstate(over="ignore"):
        times = np.abs(ends - scale.low).max() / (scale.range or 1)
    if not times < _BRIGHTEST:
        raise InvalidVolume(
            f"some of its voxels are {times:.0e} times as bright as its 5th to 95th percentile",
            remedy="Replace such values, for example by 0",
            subject=volume.modality.value,
        )
