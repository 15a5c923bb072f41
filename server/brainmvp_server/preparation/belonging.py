"""Whether a series shows the reference's head: how sharply the two match where one was put.

Two series of one head match by every fold and ventricle: moved a few millimetres, they tell much
less of each other. Another head, a mirrored one or another body part matches about as well there.
How much they tell of each other depends on contrast and slices; the share that is lost does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import RegistrationFailed
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, bounding_box
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.rigid import RigidTransform

Array = NDArray[np.float32]

_SPACING_MM = 3.0
"""Of the voxels that are compared, or the reference's own where it is coarser."""
AWAY_MM = 4.0
_RADIUS_MM, _ABOVE_MM = 60.0, 15.0
"""The part that is compared: a ball above the centre of the head, inside the skull of an adult.
Skulls are alike, and would make any two heads match."""
_HEAD = 0.15
"""Head is what is brighter than this share of the bright end."""
_DARK, _BRIGHT = 1.0, 99.5
_BINS = 32
_FEWEST = 500
"""Voxels that say anything."""

_THIN_MM = 2.0
LEAST_SHARPNESS = 0.38
"""In thick slices: same heads have 0.42 at least, others and upside down 0.34 at most, mirrored
ones 0.40: what has less than :data:`PLAIN_SHARPNESS` has to match a third series too."""
PLAIN_SHARPNESS = 0.5
"""Whatever is sharper shows the reference's head."""
_FLAT = 0.25
"""Share of the voxels that a second look leaves out, those that differ least from their neighbours:
a cavity of 50 mL or a large tumour is still flat when it is moved by 4 mm."""
LEAST_SHARPNESS_VARIED = 0.41
"""Of the rest, in thick slices: same heads have 0.46 at least, with cavities or without, others
0.36 at most, mirrored ones 0.39 but for one T2 of 0.44, which has 0.40 at the first look."""
LEAST_SHARPNESS_THIN = 0.45
"""Where no voxel is longer than 2 mm: same heads have 0.76, others and mirrored 0.41 at most. Thick
slices that somebody resampled so have 0.42 to 0.58, so that some are refused for their grid."""
LEAST_COVERED = 0.8
"""Halves of heads cover 0.32 to 0.51, upper halves 0.65 to 0.70; whole heads 0.96 and more."""


@dataclass(frozen=True)
class Match:
    """How two series match.

    Attributes:
        sharpness: share of their mutual information that is lost 4 mm away, mean of six directions.
        covered: share of the reference's middle that the series reaches.
    """

    sharpness: float
    covered: float


def match(
    moving: Volume, reference: Volume, to_moving: RigidTransform, *, varied: bool = False
) -> Match:
    """How well a series matches the reference where it was put.

    Args:
        to_moving: takes a point of the reference's world to the series's.
        varied: compare only where the reference differs from voxel to voxel.
    """
    inside, grid, fixed = _middle(reference)
    if varied:
        inside = _varied(inside, fixed)
    if np.count_nonzero(inside) < _FEWEST:
        return Match(0.0, 0.0)
    values = scaled(moving)
    rows = (fixed[inside] * (_BINS - 1)).astype(np.int64) * _BINS

    def told(way: RigidTransform) -> float:
        there, _ = interpolated(values, moving.grid, grid, way.matrix)
        return mutual_information(rows + (there[inside] * (_BINS - 1)).astype(np.int64))

    here = told(to_moving)
    away = [
        told(to_moving.after(RigidTransform.of_rotation(np.zeros(3), shift, np.zeros(3))))
        for shift in AWAY_MM * np.concatenate([np.eye(3), -np.eye(3)])
    ]
    reached, _ = interpolated(np.ones_like(values), moving.grid, grid, to_moving.matrix)
    sharpness = 1 - float(np.mean(away)) / here if here > 0 else 0.0
    return Match(sharpness, float(reached[inside].mean()))


@dataclass(frozen=True)
class Misfit:
    """That a series does not show the reference's head.

    Attributes:
        problem: of the series, with the reference's name.
        figure: the figure in words, with what is needed.
        remedy: what to do.
        partial: whether it shows too little, whoever's head it is.
    """

    problem: str
    figure: str
    remedy: str
    partial: bool = False


def compared(
    moving: Volume, reference: Volume, to_moving: RigidTransform, *, resampled: bool = False
) -> tuple[Match, Misfit | None]:
    """How a series matches the reference, and why it does not belong to it, if it does not.

    Args:
        resampled: somebody brought it to its grid, which says nothing of its slices then.
    """
    found = match(moving, reference, to_moving)
    return found, _judged(found, moving, reference, to_moving, resampled=resampled)


def check_belongs(
    moving: Volume, reference: Volume, to_moving: RigidTransform, *, resampled: bool = False
) -> Match:
    """How well a series matches the reference, if that is well enough.

    Args:
        resampled: as for :func:`compared`.

    Raises:
        RegistrationFailed: it shows another head, part or side, or too little of this one.
    """
    found, fault = compared(moving, reference, to_moving, resampled=resampled)
    if fault is not None:
        raise RegistrationFailed(fault.problem, remedy=fault.remedy, subject=moving.modality.value)
    return found


def _judged(
    found: Match,
    moving: Volume,
    reference: Volume,
    to_moving: RigidTransform,
    *,
    resampled: bool,
) -> Misfit | None:
    """Judged by a first look, and in thick slices by a second one where that is not enough."""
    if found.covered < LEAST_COVERED:
        return Misfit(
            f"it shows {found.covered:.0%} of the middle of the head that {reference.modality} "
            f"shows, where {LEAST_COVERED:.0%} are needed",
            f"{found.covered:.0%} of its middle are shown, where {LEAST_COVERED:.0%} are needed",
            "Leave it out, or send a series of the whole head",
            partial=True,
        )
    thin = max(*moving.grid.spacing, *reference.grid.spacing) <= _THIN_MM
    least = LEAST_SHARPNESS_THIN if thin and not resampled else LEAST_SHARPNESS
    if found.sharpness >= least:
        return None
    if not thin:
        again = match(moving, reference, to_moving, varied=True)
        if again.sharpness >= LEAST_SHARPNESS_VARIED:
            return None
    figure = (
        f"{found.sharpness:.0%} of the match is lost {AWAY_MM:.0f} mm away, where {least:.0%} are "
        "needed"
    )
    return Misfit(
        f"it does not fit the head that {reference.modality} shows: {figure}",
        figure,
        "See that both are of one patient, upright and not mirrored, or leave it out",
    )


def lies_upon(moving: Volume, reference: Volume) -> Match | None:
    """How a series on the reference's grid matches it; None for another place or another head."""
    found = match(moving, reference, RigidTransform.identity())
    there = found.sharpness >= LEAST_SHARPNESS and found.covered >= LEAST_COVERED
    return found if there else None


def _middle(reference: Volume) -> tuple[NDArray[np.bool_], Grid, Array]:
    """The voxels that are compared, their grid and the reference's values on it, 0 to 1."""
    steps = [max(1, round(_SPACING_MM / edge)) for edge in reference.grid.spacing]
    values = scaled(reference)[tuple(slice(None, None, step) for step in steps)]
    grid = reference.grid.thinned(steps)
    affine = grid.affine
    head = values > _HEAD
    if not head.any():
        return head, grid, values
    centre = affine[:3, :3] @ np.argwhere(head).mean(axis=0) + affine[:3, 3]
    centre[2] += _ABOVE_MM
    index = np.indices(values.shape).reshape(3, -1)
    away = np.linalg.norm(affine[:3, :3] @ index + affine[:3, 3:] - centre[:, None], axis=0)
    inside = head & (away.reshape(values.shape) < _RADIUS_MM)
    box = bounding_box(inside)
    if box is None:
        return inside, grid, values
    return inside[box.slices], grid.cropped(box), values[box.slices]


def _varied(inside: NDArray[np.bool_], fixed: Array) -> NDArray[np.bool_]:
    """The voxels without those that differ least from their neighbours."""
    if not inside.any():
        return inside
    most = np.zeros_like(fixed)
    for axis in range(3):
        step = np.moveaxis(np.abs(np.diff(fixed, axis=axis)), axis, 0)
        along = np.moveaxis(most, axis, 0)
        along[:-1] = np.maximum(along[:-1], step)
        along[1:] = np.maximum(along[1:], step)
    return inside & (most > np.quantile(most[inside], _FLAT))


def scaled(volume: Volume) -> Array:
    """A volume's values (i, j, k) from 0, the dark end, to 1, the bright one."""
    values = volume.values(volume.stored)
    low, high = np.percentile(values[::2, ::2, ::2], (_DARK, _BRIGHT))
    span = max(float(high - low), float(np.finfo(np.float32).tiny))
    scaled: Array = np.clip((values - low) / span, 0, 1).astype(np.float32)
    return scaled


def mutual_information(cells: NDArray[np.int64], rows: int = _BINS, columns: int = _BINS) -> float:
    """In nats, of the cells of a joint histogram that voxels fall in, counted row by row."""
    joint = np.bincount(cells, minlength=rows * columns).reshape(rows, columns) / cells.size
    return _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1)) - _entropy(joint)


def _entropy(shares: NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())
