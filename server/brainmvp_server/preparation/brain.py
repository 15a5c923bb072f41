"""The brain of a study: found in the series that is trusted most, checked against the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import ImplausibleBrain, InvalidInput, NoBrain
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Affine, Grid, bounding_box
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.result_space import PreparationWarning
from brainmvp_server.preparation.brain_network import (
    BrainNetworks,
    Look,
    Mask,
    as_it_is,
    dice,
    inverted,
    inverted_head,
)

TRUST = (Modality.T1, Modality.T1C, Modality.FLAIR, Modality.T2, Modality.PD)
"""The series a brain is looked for in, the one trusted most first."""

SMALLEST_ML, LARGEST_ML = 500.0, 2300.0
"""Volumes of brains, with the fluid around them, that are believed."""
CONSISTENT = 0.9
"""Below this :attr:`Found.consistency` there is no brain: 0.955 to 0.982 on real heads, 0.79 at
most on noise, a limb and a neck."""
CUT_OFF = 0.3
"""A brain is cut off where so much of its largest plane lies at the border of the image: 0.21 at
most on real whole heads."""
AT_EDGE = 0.05
"""From this share on, it touches the border: the reader is told."""
DISAGREE = 0.9
"""Below this Dice of two series' brains, the reader is told."""

_DREAM = ": what two networks take for one agrees to a Dice of"

_LOOKS: Mapping[Modality, tuple[Look, ...]] = {
    # In a T2 fluid is bright and tissue dark, the reverse of what the network was trained on.
    Modality.T2: (as_it_is, inverted, inverted_head),
}
_FACES = (("left", "right"), ("back", "front"), ("bottom", "top"))


@dataclass(frozen=True, eq=False)
class BrainMask:
    """The brain, with the fluid around it.

    Attributes:
        mask: (i, j, k) on ``grid``.
        grid: of the series it was found in, or of the file that was given.
        ml: volume in mL.
        series: the series that were looked at, the one with ``grid`` first; none where the mask
            was given.
        agreement: Dice of the first two series' brains, in the world they share; None where there
            was one.
        at_edge: sides of the image that the brain touches, of left, right, back, front, bottom and
            top.
        warnings: what a reader should know about it.
        drawn_on: of a mask that was given: the series on whose grid it lies.
    """

    mask: Mask
    grid: Grid
    ml: float
    series: tuple[Modality, ...] = ()
    agreement: float | None = None
    at_edge: tuple[str, ...] = ()
    warnings: tuple[PreparationWarning, ...] = ()
    drawn_on: Modality | None = None

    @property
    def world(self) -> Modality | None:
        """The series in whose world the mask lies, if it is of one of them."""
        return self.series[0] if self.series else self.drawn_on


def extract_brain(
    volumes: Sequence[Volume],
    networks: BrainNetworks,
    *,
    to_common: Mapping[Modality, Affine] | None = None,
    compare: bool = True,
    cancel: CancelToken | None = None,
) -> BrainMask:
    """Find the brain of a study of whole heads.

    The mask lies on the grid of the series it was found in, so that nothing is interpolated here:
    of T1, T1c, FLAIR, T2 and PD the first in which a believable brain is found.

    Args:
        to_common: (4, 4) R-A-S mm matrices that take a point of a series's world to the world all
            share; the identity for series it does not name.
        compare: look at a second series too, and tell how well both agree.

    Raises:
        NoBrain: no series shows a brain, or none is of a kind to look at.
        ImplausibleBrain: the brain of every series is too small, too large or cut off.
        EngineFailed, EngineUnavailable: the networks cannot be run.
        BrainMVPError: the reason of ``cancel``.
    """
    ranked = _by_trust(volumes)
    found: list[BrainMask] = []
    refused: list[InvalidInput] = []
    for volume in ranked:
        try:
            found.append(brain_of(volume, networks, cancel))
        except (NoBrain, ImplausibleBrain) as error:
            refused.append(error)
        if len(found) == (2 if compare else 1):
            break
    if not found:
        raise refused[0]
    first, *others = found
    unused = (
        PreparationWarning("series-not-used", f"not used to find the brain: {error}")
        for error in refused
    )
    warnings = [*first.warnings, *unused]
    if not others:
        return _with(first, first.series, None, warnings)
    agreement = agreement_of(first, others[0], to_common or {})
    series = (*first.series, *others[0].series)
    if agreement < DISAGREE:
        text = (
            f"the brains found in {series[0]} and {series[1]} agree to a Dice of {agreement:.2f} "
            f"only, where {DISAGREE:g} is usual: look at their outlines"
        )
        warnings.append(PreparationWarning("brains-disagree", text))
    return _with(first, series, agreement, warnings)


def brain_of(
    volume: Volume, networks: BrainNetworks, cancel: CancelToken | None = None
) -> BrainMask:
    """Find the brain of one series.

    Raises:
        NoBrain: there is none.
        ImplausibleBrain: it is too small, too large or cut off.
        EngineFailed, EngineUnavailable: the networks cannot be run.
        BrainMVPError: the reason of ``cancel``.
    """
    looks = _LOOKS.get(volume.modality, (as_it_is,))
    found = networks.find(volume, looks, cancel)
    if found is None or found.consistency < CONSISTENT:
        needed = f", where {CONSISTENT:g} is needed"
        figure = "" if found is None else f"{_DREAM} {found.consistency:.3f}{needed}"
        raise NoBrain(
            f"shows no brain{figure}",
            remedy="Send a series of a whole head, upright by its header, or a brain mask",
            subject=volume.modality.value,
        )
    return _checked(found.mask, volume)


def agreement_of(one: BrainMask, two: BrainMask, to_common: Mapping[Modality, Affine]) -> float:
    """Dice of two series' brains over the first one's voxels, the second's read at the nearest."""
    here, there = (to_common.get(brain.series[0], np.eye(4)) for brain in (one, two))
    across = np.linalg.inv(there @ two.grid.affine) @ here @ one.grid.affine
    return dice(one.mask, _read(two.mask, across, one.grid))


def _by_trust(volumes: Sequence[Volume]) -> list[Volume]:
    known = [volume for volume in volumes if volume.modality in TRUST]
    if not known:
        raise NoBrain(
            f"the study has no series to find the brain in ({', '.join(TRUST)})",
            remedy="Send one of them, or a brain mask of your own",
        )
    return sorted(known, key=lambda volume: TRUST.index(volume.modality))


def _with(
    brain: BrainMask,
    series: tuple[Modality, ...],
    agreement: float | None,
    warnings: Sequence[PreparationWarning],
) -> BrainMask:
    return BrainMask(
        brain.mask, brain.grid, brain.ml, series, agreement, brain.at_edge, tuple(warnings)
    )


def _checked(mask: Mask, volume: Volume) -> BrainMask:
    """The mask with its figures.

    Raises:
        ImplausibleBrain: it is too small, too large or cut off.
    """
    subject = volume.modality.value
    ml = plausible_ml(mask, volume.grid, subject)
    shares = border_shares(mask, volume)
    worst = max(shares, key=lambda side: shares[side])
    if shares[worst] >= CUT_OFF:
        raise ImplausibleBrain(
            f"the image ends inside the brain: at its {worst} side the border has "
            f"{shares[worst]:.0%} of the brain's largest plane",
            remedy="Send a series that shows the whole head",
            subject=subject,
        )
    edges = tuple(side for side, share in shares.items() if share >= AT_EDGE)
    text = f"{subject}: the brain reaches the image's {' and '.join(edges)} side"
    notes = (PreparationWarning("brain-at-edge", text),) if edges else ()
    return BrainMask(mask, volume.grid, ml, (volume.modality,), at_edge=edges, warnings=notes)


def plausible_ml(mask: Mask, grid: Grid, subject: str) -> float:
    """The volume of a brain in mL.

    Raises:
        ImplausibleBrain: it is too small or too large.
    """
    ml = float(np.count_nonzero(mask)) * grid.voxel_ml
    if not SMALLEST_ML <= ml <= LARGEST_ML:
        raise ImplausibleBrain(
            f"the brain has {ml:.0f} mL, where {SMALLEST_ML:.0f} to {LARGEST_ML:.0f} are believed",
            remedy="See that the series shows one whole head and that its voxels' size is right",
            subject=subject,
        )
    return ml


def border_shares(mask: Mask, volume: Volume) -> dict[str, float]:
    """Of each side of the image, the brain's area there as a share of its largest parallel plane.

    The image ends where its voxels begin to be all of the smallest value, as where a part of the
    head was blanked.
    """
    turn = volume.grid.orientation
    stored = turn.view(volume.stored)
    lowest = stored.max() if volume.slope < 0 else stored.min()
    box = bounding_box(stored != lowest)
    assert box is not None  # an image of one value shows no brain
    inside = turn.view(mask)[box.slices]
    shares = {}
    for axis, sides in enumerate(_FACES):
        others = tuple(other for other in range(3) if other != axis)
        areas = np.count_nonzero(inside, axis=others)
        largest = max(int(areas.max()), 1)
        for side, area in zip(sides, (areas[0], areas[-1]), strict=True):
            shares[side] = float(area) / largest
    return shares


def _read(mask: Mask, across: NDArray[np.float64], grid: Grid) -> Mask:
    """A mask read at the voxels of another grid; beyond its own there is none.

    Args:
        across: (4, 4), voxels of ``grid`` to voxels of the mask.
    """
    j, k = np.meshgrid(*(np.arange(n) for n in grid.shape[1:]), indexing="ij")
    plane = (
        across[:3, 1, None, None] * j + across[:3, 2, None, None] * k + across[:3, 3, None, None]
    )
    read = np.zeros(grid.shape, dtype=np.bool_)
    last = np.array(mask.shape)[:, None, None] - 1
    for i in range(grid.shape[0]):
        places = np.rint(plane + across[:3, 0, None, None] * i).astype(np.intp)
        inside = ((places >= 0) & (places <= last)).all(axis=0)
        x, y, z = np.clip(places, 0, last)
        read[i] = mask[x, y, z] & inside
    return read
