"""What a study is before anything is done to it: its grids, brains or whole heads, which part.

By headers and by where the images are dark; nothing is registered and no network is asked. Whether
an image is mirrored or upside down cannot be told so: the registration with the atlas shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import bounding_box
from brainmvp_server.imaging.study import same_grid
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result_space import PreparationWarning
from brainmvp_server.preparation.brain import CUT_OFF, border_shares

Millimetres = tuple[float, float, float]

_BRAIN_ML = (500.0, 2150.0)
"""Tissue of an image without a skull, mL: 1117 to 1737 in fourteen extracted brains, 2577 and more
in thirteen whole heads."""
_HEAD_ML = (1800.0, 8000.0)
"""What is bright of a whole head, mL: 1857 to 3050 in thirteen of thick slices."""
_PART_ML = 500.0
"""The same of a small head or a part of one, which has more tissue and noise than any brain: 927 to
1800 in halves, thirds and heads of children's size."""
_SHOWN_ML = 300.0
"""Less than this is no head, and nobody is warned that it is none."""
_FLAT = 0.5
"""An extracted brain lies in at least this share of voxels of one value: 0.76 to 0.87 in those
fourteen; the air around a whole head is noise in some scanners, of one value in others."""
_BRIGHT = 99.5
"""Percentile that stands for the bright end of an image."""
_HEAD = 0.15
"""Head is what is brighter than this share of the bright end."""
_EVERY = 3
"""Voxels along each axis between two that a glance looks at."""
_THICK_MM = 4.0
"""Slices over this are told to the reader."""
_SLAB_MM = 40.0
"""An image that is thinner, and as large as a head otherwise, is a localizer or a slab."""
_WHOLE_MM = 90.0
"""Fewer millimetres of head along an axis show a part of it only: brains have 108 and more."""


@dataclass(frozen=True)
class SeriesFindings:
    """What one series shows.

    Attributes:
        modality: which contrast.
        extracted: whether the brain was cut out of the head already.
        tissue_ml: what is no background, in mL.
        bright_ml: what is no air, in mL: of a whole head, all of it.
        head_mm: extent of what is bright along R-L, A-P and S-I.
        field_mm: extent of the image along the same.
        thickness_mm: the largest distance between voxels.
        cut_off: sides of the image, of left, right, back, front, bottom and top, that cut through
            the head: its area there is a large part of its largest parallel plane.
    """

    modality: Modality
    extracted: bool
    tissue_ml: float
    bright_ml: float
    head_mm: Millimetres
    field_mm: Millimetres
    thickness_mm: float
    cut_off: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Whether it shows too little of a head to be worked on: a localizer, a slab."""
        return min(self.head_mm) < _WHOLE_MM

    @property
    def slab(self) -> bool:
        """Whether it is so thin that it shows next to nothing of a head, such as a localizer."""
        return _is_slab(self.field_mm)

    @property
    def head(self) -> bool:
        """Whether it shows a head with its skull, whole or a part that is no brain alone."""
        low, high = _HEAD_ML
        if self.extracted or self.bright_ml > high:
            return False
        if self.tissue_ml > _BRAIN_ML[1]:
            return self.bright_ml >= _PART_ML
        return not self.partial and self.bright_ml >= low

    @property
    def unclear(self) -> bool:
        """Whether it shows much, and neither a head nor a brain as far as can be told."""
        return not self.extracted and not self.head and self.bright_ml >= _SHOWN_ML

    @property
    def thick(self) -> bool:
        """Whether its slices are thicker than what results should rest on."""
        return self.thickness_mm > _THICK_MM


@dataclass(frozen=True)
class StudyFindings:
    """What a study is.

    Attributes:
        series: one a volume, in the order of the study.
        one_grid: whether all have the same voxels, whatever order their axes are stored in.
        one_world: whether all are known to share one frame of reference; False where nobody says
            so, as in NIfTI files on grids of their own.
    """

    series: tuple[SeriesFindings, ...]
    one_grid: bool
    one_world: bool

    @property
    def extracted(self) -> bool:
        """Whether every series shows a brain without its skull."""
        return all(each.extracted for each in self.series)

    @property
    def ready(self) -> bool:
        """Whether nothing but the atlas could be missing: brains on one grid."""
        return self.one_grid and self.extracted

    @property
    def raw(self) -> bool:
        """Whether a network can make nothing of it as it is: heads, or brains on several grids.

        What is neither, such as a slab, is left as it came, and refused or answered for what it is.
        """
        heads = any(each.head for each in self.series)
        whole = all(each.extracted or each.head for each in self.series)
        return heads or (whole and not self.one_grid)

    @property
    def warnings(self) -> tuple[PreparationWarning, ...]:
        """What a reader should know before anything is done."""
        return tuple(
            PreparationWarning(
                "thick-slices",
                f"{each.modality}: slices of {each.thickness_mm:.1f} mm: small lesions and borders "
                "are less exact than in slices of 1 mm",
            )
            for each in self.series
            if each.thick
        )


def is_plainly_ready(volumes: Sequence[Volume]) -> bool:
    """Whether a glance shows brains on one grid; where it is not plain, a closer look must say.

    It looks at every third voxel: half a millisecond, where :func:`inspect` takes 100.
    """
    first = volumes[0].grid
    if not all(same_grid(first, volume.grid) for volume in volumes[1:]):
        return False
    return all(_is_plainly_a_brain(volume) for volume in volumes)


def _is_plainly_a_brain(volume: Volume) -> bool:
    grid = volume.grid
    if _is_slab([n * mm for n, mm in zip(grid.shape, grid.spacing, strict=True)]):
        return False
    some = volume.stored[::_EVERY, ::_EVERY, ::_EVERY]
    tissue = float(np.count_nonzero(some != volume.stored[0, 0, 0])) / some.size
    ml = tissue * volume.stored.size * volume.grid.voxel_ml
    return ml < _HEAD_ML[0] and tissue <= 1 - _FLAT


def _is_slab(field_mm: Sequence[float]) -> bool:
    thinnest, middle, _ = sorted(field_mm)
    return thinnest < _SLAB_MM and middle >= _WHOLE_MM


def inspect(volumes: Sequence[Volume]) -> StudyFindings:
    """Look at the series of a study, at least one, each on a grid of its own or all on one."""
    first = volumes[0]
    one_grid = all(same_grid(first.grid, volume.grid) for volume in volumes[1:])
    frames = {volume.frame_of_reference for volume in volumes}
    return StudyFindings(
        tuple(inspect_series(volume) for volume in volumes),
        one_grid=one_grid,
        one_world=one_grid or (len(frames) == 1 and "" not in frames),
    )


def inspect_series(volume: Volume) -> SeriesFindings:
    """Look at one series."""
    values = volume.values(volume.stored)
    tissue = values != background(values)
    ml = float(np.count_nonzero(tissue)) * volume.grid.voxel_ml
    flat = 1 - np.count_nonzero(tissue) / tissue.size
    alone = _BRAIN_ML[0] <= ml <= _BRAIN_ML[1] and flat >= _FLAT
    # An image may hold values below its background, as where it was scaled by mean and deviation.
    head = tissue if alone else _bright(values)
    turn = volume.grid.orientation
    spacing = np.array(volume.grid.spacing)[list(turn.axes)]
    box = bounding_box(turn.view(head))
    shape = np.zeros(3) if box is None else np.array(box.shape)
    shares = {} if box is None else border_shares(head, volume)
    cut_off = tuple(side for side, share in shares.items() if share >= CUT_OFF)
    return SeriesFindings(
        volume.modality,
        extracted=alone and not cut_off,
        tissue_ml=ml,
        bright_ml=float(np.count_nonzero(head)) * volume.grid.voxel_ml,
        head_mm=_mm(shape * spacing),
        field_mm=_mm(np.array(turn.view(volume.stored).shape) * spacing),
        thickness_mm=float(spacing.max()),
        cut_off=cut_off,
    )


def background(values: NDArray[Any]) -> Any:
    """The middle one of the values (i, j, k) on an image's six sides."""
    sides = [np.take(values, end, axis=axis).ravel() for axis in range(3) for end in (0, -1)]
    every = np.concatenate(sides)
    return np.partition(every, every.size // 2)[every.size // 2]


def _bright(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    low = values.min()
    # Of every few voxels: a percentile of all takes longer than the rest of the look.
    top = np.percentile(values[::2, ::2, ::2], _BRIGHT)
    bright: NDArray[np.bool_] = values > low + _HEAD * (top - low)
    return bright


def _mm(along: NDArray[np.floating]) -> Millimetres:
    x, y, z = along
    return float(x), float(y), float(z)
