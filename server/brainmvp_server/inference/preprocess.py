"""From a study on its native grid to model space: R, A, S, 1 mm, scaled, cropped.

The published evaluation pipeline, step by step: percentiles of the whole native volume, background
included; ``(x - p5) / (p95 - p5)``, not clipped; axes to R, A, S; linear resampling; the box of
voxels above zero in any channel, one voxel wider. The order of work differs where the result does
not: nothing outside the box is scaled or resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidVolume, VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_server.imaging.grid import Box, Grid, Shape, bounding_box
from brainmvp_server.imaging.percentile import order_statistics, percentile_ranks
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.resample import along_axes, interpolation, resampled_length

_MOST_VOXELS = 512**3
_SAME_SPACING = 1e-3
"""Spacings closer to the target than this, in mm, are not resampled (MONAI's affine tolerance)."""

_BRIGHTEST = 1e6
"""Brightest voxel that is taken, in spans of the percentiles."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ModelSpace:
    """How model space lies in the native grid; enough to take a result back.

    Attributes:
        native: the first volume's grid.
        turned: voxels of the native grid along R, A, S.
        full: voxels of the whole resampled volume along R, A, S.
        scale: target spacing over native spacing, along R, A, S; 1 where nothing is resampled.
        box: the part of the resampled volume that was kept.
    """

    native: Grid
    turned: Shape
    full: Shape
    scale: tuple[float, float, float]
    box: Box

    @property
    def resampled(self) -> bool:
        """Whether model space has another spacing than the native grid."""
        return self.scale != (1.0, 1.0, 1.0)

    @property
    def shape(self) -> Shape:
        """Voxels of model space."""
        return self.box.shape


@dataclass(frozen=True, eq=False)
class Prepared:
    """The real modalities of a study in model space.

    Attributes:
        space: how model space lies in the native grid.
        images: (X, Y, Z) float32 a modality, the shape of ``space``.
        warnings: what a reader should know.
    """

    space: ModelSpace
    images: dict[Modality, Array]
    warnings: tuple[str, ...]


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
class _Scaled:
    """A volume turned to R, A, S with its scale and the box of its foreground."""

    volume: Volume
    view: NDArray[Any]
    scale: IntensityScale
    foreground: Box | None

    def image(self, box: Box) -> Array:
        """The scaled voxels of a box, a new C-ordered array."""
        values = self.volume.values(self.view[box.slices])
        if np.may_share_memory(values, self.volume.stored):
            values = values.copy(order="C")
        return self.scale(np.ascontiguousarray(values))


def prepare(study: Study, rules: Preprocessing) -> Prepared:
    """Bring a study's volumes to model space.

    Raises:
        InvalidVolume: no voxel of the study is above its background.
    """
    with ThreadPoolExecutor(max_workers=len(study.volumes)) as pool:
        scaled = list(pool.map(lambda volume: _scaled(volume, rules), study.volumes))
        foreground = _joined([part.foreground for part in scaled])
        if foreground is None:
            raise InvalidVolume(
                "no voxel is brighter than the background",
                remedy="Send volumes that hold an image",
                subject=study.native.modality.value,
            )
        canonical = study.native.grid.canonical()
        scale = _scale(canonical.nominal_spacing, rules.spacing_mm)
        if scale == (1.0, 1.0, 1.0):
            box = foreground.grown(rules.crop_margin, canonical.shape)
            images = list(pool.map(lambda part: part.image(box), scaled))
            full = canonical.shape
        else:
            x, y, z = (
                resampled_length(n, spacing, target)
                for n, spacing, target in zip(
                    canonical.shape, canonical.nominal_spacing, rules.spacing_mm, strict=True
                )
            )
            full = (x, y, z)
            _check_size(full)
            # Wide enough for the voxels that interpolation brightens, and for the margin.
            reach = 2 + math.ceil(rules.crop_margin * max(scale))
            region = foreground.grown(reach, canonical.shape)
            images, box = _resampled(scaled, region, canonical.shape, full, scale, rules, pool)
    return Prepared(
        space=ModelSpace(study.native.grid, canonical.shape, full, scale, box),
        images={part.volume.modality: image for part, image in zip(scaled, images, strict=True)},
        warnings=_warnings(study, scaled),
    )


def intensity_scale(
    volume: Volume, percentiles: tuple[float, float], content: NDArray[Any] | None = None
) -> IntensityScale:
    """The scale that the percentiles of the whole native volume give, background included.

    Args:
        content: part of the stored voxels, if one is known outside of which every voxel has the
            smallest stored value; those come first in order and need not be looked at.
    """
    inside = volume.stored if content is None else content
    count, around = volume.stored.size, volume.stored.size - inside.size
    ranks = [percentile_ranks(count, percentile) for percentile in percentiles]
    places = [rank for low, high, _ in ranks for rank in (low, high)]
    if volume.slope < 0:  # the order of values is the reverse of the order of what is stored
        places = [count - 1 - place for place in places]
    stored = order_statistics(inside, [max(place - around, 0) for place in places])
    stored[np.array(places) < around] = volume.stored.min() if around else 0
    values = volume.values(stored).astype(np.float64)
    ends = [
        volume.precision(values[2 * i] + weight * (values[2 * i + 1] - values[2 * i]))
        for i, (_, _, weight) in enumerate(ranks)
    ]
    span = ends[1] - ends[0]
    return IntensityScale(ends[0], span if span != 0 else None)


def _scaled(volume: Volume, rules: Preprocessing) -> _Scaled:
    part = _measured(volume, rules)
    _check_brightness(part)
    return part


def _check_brightness(part: _Scaled) -> None:
    """A voxel that outshines all others by far leaves a network's sums without an image."""
    volume, scale = part.volume, part.scale
    ends = volume.values(np.array([volume.stored.min(), volume.stored.max()]))
    with np.errstate(over="ignore"):
        times = np.abs(ends - scale.low).max() / (scale.range or 1)
    if not times < _BRIGHTEST:
        raise InvalidVolume(
            f"some of its voxels are {times:.0e} times as bright as its 5th to 95th percentile",
            remedy="Replace such values, for example by 0",
            subject=volume.modality.value,
        )


def _measured(volume: Volume, rules: Preprocessing) -> _Scaled:
    view = volume.grid.orientation.view(volume.stored)
    smallest = volume.stored.min()
    content = bounding_box(view != smallest)
    if content is None:
        return _Scaled(volume, view, IntensityScale(np.float32(0), None), None)
    inside = view[content.slices]
    scale = intensity_scale(volume, rules.percentiles, inside)
    if volume.slope > 0 and volume.values(smallest) == scale.low:
        return _Scaled(volume, view, scale, content)  # all that is not background is brighter
    if volume.slope < 0:  # the smallest stored value is the brightest: look everywhere
        return _Scaled(volume, view, scale, bounding_box(volume.values(view) > scale.low))
    found = bounding_box(volume.values(inside) > scale.low)
    return _Scaled(volume, view, scale, found and found.shifted(content.start))


def _resampled(
    scaled: Sequence[_Scaled],
    region: Box,
    turned: Shape,
    full: Shape,
    scale: tuple[float, float, float],
    rules: Preprocessing,
    pool: ThreadPoolExecutor,
) -> tuple[list[Array], Box]:
    """Resample the region of every volume that can hold foreground; crop to the exact box."""
    reach = _reach(region, scale, turned, full)
    matrices = [
        interpolation(np.arange(a, b) * step, n, start=first, stop=last)
        for a, b, step, n, first, last in zip(
            reach.start, reach.stop, scale, turned, region.start, region.stop, strict=True
        )
    ]
    images = list(pool.map(lambda part: along_axes(part.image(region), matrices), scaled))
    exact = _joined([bounding_box(image > 0) for image in images])
    box = (exact.shifted(reach.start) if exact else reach).grown(rules.crop_margin, full)
    inner = box.shifted((-reach.start[0], -reach.start[1], -reach.start[2]))
    return [np.ascontiguousarray(image[inner.slices]) for image in images], box


def _check_size(full: Shape) -> None:
    """A header may claim voxels of any size; what they resample to must fit in memory."""
    if math.prod(full) > _MOST_VOXELS:
        raise VolumeTooLarge(
            f"at the model's spacing the study would have {' × '.join(map(str, full))} voxels",
            remedy="Check the spacing in its header, or crop it to the head",
        )


def _reach(region: Box, scale: tuple[float, float, float], turned: Shape, full: Shape) -> Box:
    """Resampled voxels that read only native voxels of ``region``, or the native border."""
    start, stop = [], []
    axes = zip(region.start, region.stop, scale, turned, full, strict=True)
    for a, b, step, whole, n in axes:
        start.append(math.ceil(a / step))
        stop.append(n if b == whole else math.floor((b - 1) / step) + 1)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _scale(
    spacing: tuple[float, float, float], target: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Native voxels a model voxel steps along each axis."""
    if all(abs(s - t) < _SAME_SPACING for s, t in zip(spacing, target, strict=True)):
        return 1.0, 1.0, 1.0
    x, y, z = (t / s for s, t in zip(spacing, target, strict=True))
    return x, y, z


def _joined(boxes: Sequence[Box | None]) -> Box | None:
    joined: Box | None = None
    for box in boxes:
        if box is not None:
            joined = box if joined is None else joined.joined(box)
    return joined


def _warnings(study: Study, scaled: Sequence[_Scaled]) -> tuple[str, ...]:
    notes = [warning for volume in study.volumes for warning in volume.warnings]
    notes += [
        f"{part.volume.modality}: the head fills so little of the field of view that the 5th and "
        "95th percentile are equal; intensities are shifted but not scaled"
        for part in scaled
        if part.scale.range is None
    ]
    return tuple(notes)
