"""The atlases that a study can be brought to: their spaces, their grids, and what to register with.

One brain is shipped, the MNI152 average. SRI24's frame is that of the MNI152 turned about the
left-right axis, so that a study registered with the one lies where data in the other lie. A site
may name a brain of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidInput, InvalidSettings, RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.grid import Grid, carried
from brainmvp_server.imaging.nifti import Limits, read_nifti
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.climb import climb
from brainmvp_server.preparation.inspect import inspect_series
from brainmvp_server.preparation.register import Registration, register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.similarity import BothWays
from brainmvp_server.preparation.working import Pyramid

MNI152_FILE = Path(__file__).with_name("atlases") / "mni152" / "t1_2mm.nii.gz"

_MNI152_GRID = Grid(
    (182, 218, 182),
    np.array([[-1.0, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]]),
)
_SRI24_GRID = Grid(
    (240, 240, 155),
    np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]),
)

_MNI152_CENTRE = np.array([0.0, -22.1, 9.5])
"""Centre of mass of the MNI152's brain, R-A-S mm of its world."""
_SRI24_CENTRE = np.array([-118.6, 103.0, 72.0])
"""Where that point lies in SRI24's world."""
_CENTRES = {Space.SRI24: _SRI24_CENTRE, Space.MNI152: _MNI152_CENTRE}
_OFF_CENTRE_MM = 40.0
"""So far from a frame's usual centre a brain may lie: the two frames' are 190 mm apart."""
_COMPARED = 6_000
"""Voxels either way by which half turns are compared."""
_NODS = (-30.0, 0.0, 30.0)
"""Degrees about the left-right axis that are looked at before anything is climbed."""
TURNED = 0.01
"""Of mutual information: a half turn that gains no more than this says nothing. Real series gained
0.018 and more where one was due, 25 and 60 rendered ones lost 0.020 and more where none was."""
_SRI24_TURN = 11.5
"""Degrees about the left-right axis, nose up, from the MNI152's frame to SRI24's. SRI24's own brain
is turned by 11.0°, twenty heads registered with both by 11.5° (``benchmarks/atlas_place.py``)."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A brain to register a study with, and the space that leads to.

    Attributes:
        space: what ``grid`` lies in, never the study's own.
        brain: a T1 without its skull, in a world of its own.
        grid: where a study that was brought to the atlas lies.
        to_brain: takes a point of the space's world to the world of ``brain``.
    """

    space: Space
    brain: Volume
    grid: Grid
    to_brain: RigidTransform


def to_atlas(series: Pyramid, atlas: Atlas) -> Registration:
    """Register a series with an atlas; ``to_moving`` takes a point of the space's world.

    Args:
        series: with the brain's mask, unless the skull is gone already.

    Raises:
        RegistrationFailed: the head fits better when it is turned by 180°.
    """
    brain = Pyramid(atlas.brain)
    check_upright(series, brain)
    found = register(series, brain)
    return replace(found, to_moving=found.to_moving.after(atlas.to_brain))


def check_upright(series: Pyramid, brain: Pyramid | None = None) -> None:
    """Refuse a head that fits a brain better after half a turn; see :func:`half_turn_gain`.

    Raises:
        RegistrationFailed: it does.
    """
    if half_turn_gain(series, brain) > TURNED:
        raise RegistrationFailed(
            "the head fits the atlas better when it is turned by 180°: it lies upside down or "
            "back to front",
            remedy="See that the orientation in its header is right",
            subject=series.volume.modality.value,
        )


def half_turn_gain(
    series: Pyramid, brain: Pyramid | None = None, *, voxels: int = _COMPARED
) -> float:
    """What a head gains, in normalised mutual information with a brain, by half a turn.

    It is fitted at 6 mm as it is and from half a turn about each axis; the best of these counts.

    Args:
        series: with the brain's mask, unless the skull is gone already.
        brain: by default the packaged one.
        voxels: that are compared, either way.
    """
    brain = brain or _packaged()
    fit = BothWays(brain.coarse, series.coarse, voxels)
    shift = series.coarse.centre_of_mass - fit.centre
    angles = (np.array([degrees, 0.0, 0.0]) for degrees in _NODS)
    nods = [RigidTransform.of_rotation(angle, np.zeros(3), fit.centre) for angle in angles]

    def height(half_turn: NDArray[np.float64]) -> float:
        turned = RigidTransform.of_rotation(half_turn, shift, fit.centre)
        guesses = [turned.after(nod) for nod in nods]
        return climb(fit, max(guesses, key=fit.score), step=4.0, last=1.0)[1]

    upright = height(np.zeros(3))
    return max(height(half_turn) for half_turn in 180 * np.eye(3)) - upright


def off_frame_mm(series: Pyramid, space: Space) -> float | None:
    """How far a brain lies from where a frame has it, mm; None where it lies in that frame."""
    if space is Space.STUDY:
        return None
    away = float(np.linalg.norm(series.coarse.centre_of_mass - _CENTRES[space]))
    return away if away > _OFF_CENTRE_MM else None


def part_covered(atlas: Atlas, fields: Sequence[Grid]) -> float:
    """The share of the atlas's brain, 0 to 1, that lies in all of some fields of view.

    Args:
        fields: grids in the world of the atlas's space.
    """
    brain = atlas.to_brain.inverse.apply(Pyramid(atlas.brain).middle.head)
    inside = np.ones(len(brain), np.bool_)
    for field in fields:
        places = carried(brain, np.asarray(np.linalg.inv(field.affine), np.float64))
        inside &= ((places >= -0.5) & (places <= np.array(field.shape) - 0.5)).all(axis=1)
    return float(inside.mean())


def atlas_of(space: Space, own: Atlas | None = None) -> Atlas | None:
    """The atlas of a space; None for the study's own.

    Args:
        own: the site's, which is taken for the space it lies in; else the shipped one is.
    """
    if space is Space.STUDY:
        return None
    if own is not None and own.space is space:
        return own
    if space is Space.MNI152:
        return Atlas(space, _mni152(), _MNI152_GRID, RigidTransform.identity())
    return Atlas(space, _mni152(), _SRI24_GRID, mni152_to_sri24().inverse)


def site_atlas(path: Path, limits: Limits = Limits()) -> Atlas:
    """An atlas of the site's own: a T1 without its skull, in the frame of SRI24 or of the MNI152.

    Which of the two is told by where its brain lies. Its grid becomes the grid of the studies.

    Raises:
        InvalidSettings: the file cannot be read, shows a whole head, or lies in neither frame.
    """
    brain = _read_own(path, limits)
    if inspect_series(brain).head:
        raise InvalidSettings(
            "the atlas shows a whole head with its skull",
            remedy="Cut the brain out of it first, for example with brainmvp prepare",
            subject=str(path),
        )
    centre = Pyramid(brain).middle.centre_of_mass
    for space, known in _CENTRES.items():
        if float(np.linalg.norm(centre - known)) < _OFF_CENTRE_MM:
            return Atlas(space, brain, brain.grid, RigidTransform.identity())
    place = ", ".join(f"{mm:.0f}" for mm in centre)
    raise InvalidSettings(
        f"the atlas's brain lies around ({place}) mm, where that of no known frame does",
        remedy="Give one in the frame of SRI24 (brains around -118, 103, 74 mm) or of the MNI152 "
        "(around 0, -22, 10)",
        subject=str(path),
    )


def _read_own(path: Path, limits: Limits) -> Volume:
    try:
        return read_nifti(path, Modality.T1, limits)
    except InvalidInput as error:
        reason = error.problem
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise InvalidSettings(
        f"the atlas cannot be read: {reason}",
        remedy="Give a T1 without its skull, a NIfTI file that the service may read",
        subject=str(path),
    )


def mni152_to_sri24() -> RigidTransform:
    """Takes a point of the MNI152's world to SRI24's."""
    turn = np.array([_SRI24_TURN, 0.0, 0.0])
    return RigidTransform.of_rotation(turn, _SRI24_CENTRE - _MNI152_CENTRE, _MNI152_CENTRE)


@cache
def _mni152() -> Volume:
    return read_nifti(MNI152_FILE, Modality.T1)


@cache
def _packaged() -> Pyramid:
    return Pyramid(_mni152())
