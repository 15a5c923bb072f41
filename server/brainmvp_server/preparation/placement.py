"""Brains that somebody else brought onto one grid: whether they lie on one another, and upright.

Such a study is not prepared, so that nothing would be said of one that was brought to a wrong
place. A look at every third millimetre tells what is plainly wrong, in a tenth of a second; what
it finds is a warning, never a refusal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.grid import Box, bounding_box
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result_space import PreparationWarning
from brainmvp_server.preparation.atlas import TURNED, half_turn_gain, off_frame_mm
from brainmvp_server.preparation.belonging import AWAY_MM, match
from brainmvp_server.preparation.groups import groups_of, listed
from brainmvp_server.preparation.inspect import background
from brainmvp_server.preparation.reference import reference_of
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.rim import dark_rim
from brainmvp_server.preparation.working import Pyramid

_SPACING_MM = 3.0
_SMALLEST_ML = 500.0
"""Less than this is no brain, and nothing is said of how it lies."""
_COMPARED = 2_000
"""Voxels either way by which half turns are compared."""
_SHARP, _FAINT = 0.3, 0.2
"""Shares of two series' match that are lost 4 mm away. With its best partner a series has 0.46 and
more in thirteen real studies, and 0.26 in the faintest of 50 rendered ones, whose brains are the
same; a series 10 mm off or upside down has 0.18 at most, another patient's 0.27."""
_COMMON = 0.97
"""Dice of two series' brains from which on the fainter match is enough: 0.98 and more in proper
studies, 0.95 in two patients, 0.91 at most where a series is 10 mm off."""


_RIM = 0.07
"""Of the series of a study that has least of it, the share of :func:`dark_rim`: 0.04 at most in 63
studies of brains, 0.10 and more in 13 series of heads, at any size down to 0.7."""


@dataclass(frozen=True, eq=False)
class _Brain:
    """A series at 3 mm, and where it is no background."""

    volume: Volume
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, volume: Volume) -> _Brain:
        # One way round for all: of axes stored in another order other voxels would be taken.
        view, grid = volume.grid.orientation.view(volume.stored), volume.grid.canonical()
        steps = [max(1, round(_SPACING_MM / edge)) for edge in grid.spacing]
        some = view[tuple(slice(None, None, step) for step in steps)]
        mask = some != background(some)
        return cls(replace(volume, stored=some, grid=grid.thinned(steps)), mask)

    @property
    def ml(self) -> float:
        return float(np.count_nonzero(self.mask)) * self.volume.grid.voxel_ml

    def inside(self, box: Box) -> _Brain:
        grid = self.volume.grid.cropped(box)
        some = np.ascontiguousarray(self.volume.stored[box.slices])
        return _Brain(replace(self.volume, stored=some, grid=grid), self.mask[box.slices])


@dataclass(frozen=True)
class _Fit:
    """How two series on one grid fit: the sharper match of both ways, and Dice of their brains."""

    sharpness: float
    common: float

    @property
    def needed(self) -> float:
        return _FAINT if self.common >= _COMMON else _SHARP

    @property
    def good(self) -> bool:
        return self.sharpness >= self.needed


class _Fits:
    """The fits of a study's series, each reckoned when it is first asked for."""

    def __init__(self, brains: Sequence[_Brain]) -> None:
        self._masks = {brain.volume.modality: brain.mask for brain in brains}
        self._known: dict[frozenset[Modality], _Fit] = {}

    def good(self, one: Volume, other: Volume) -> bool:
        return self.of(one, other).good

    def of(self, one: Volume, other: Volume) -> _Fit:
        names = frozenset((one.modality, other.modality))
        if names not in self._known:
            self._known[names] = self._reckoned(one, other)
        return self._known[names]

    def _reckoned(self, one: Volume, other: Volume) -> _Fit:
        here, there = self._masks[one.modality], self._masks[other.modality]
        both = np.count_nonzero(here) + np.count_nonzero(there)
        common = 2 * np.count_nonzero(here & there) / both
        still = RigidTransform.identity()
        fit = _Fit(match(other, one, still).sharpness, common)
        if fit.good:
            return fit
        return _Fit(max(fit.sharpness, match(one, other, still).sharpness), common)


def placement_warnings(
    volumes: Sequence[Volume], space: Space = Space.STUDY
) -> tuple[PreparationWarning, ...]:
    """What a reader should know of how brains on one grid lie, at least one.

    Args:
        space: the frame that the task knows.
    """
    brains = _looked_at(volumes)
    if not brains:
        return ()
    reference = brains[0].volume
    found = (_apart(brains), _skulls(brains), _turned(reference), _off_frame(reference, space))
    return tuple(chain(*found))


def fit_one_another(volumes: Sequence[Volume]) -> bool:
    """Whether brains on one grid, at least one, plainly show one brain in one place."""
    brains = _looked_at(volumes)
    return bool(brains) and not list(_apart(brains))


def off_frame(volumes: Sequence[Volume], space: Space) -> bool:
    """Whether brains on one grid plainly do not lie in a frame, by their place alone."""
    far = off_frame_mm(Pyramid(_Brain.of(reference_of(volumes)).volume), space)
    return far is not None


def _looked_at(volumes: Sequence[Volume]) -> list[_Brain]:
    """The brains, the reference first, without the empty space around; none where one is small."""
    reference = reference_of(volumes)
    ordered = [reference, *(volume for volume in volumes if volume is not reference)]
    brains = [_Brain.of(volume) for volume in ordered]
    if min(brain.ml for brain in brains) < _SMALLEST_ML:
        return []
    box = bounding_box(np.logical_or.reduce([brain.mask for brain in brains]))
    assert box is not None  # each has half a litre of tissue
    near = box.grown(2, brains[0].mask.shape)
    return [brain.inside(near) for brain in brains]


def _apart(brains: Sequence[_Brain]) -> Iterator[PreparationWarning]:
    fits = _Fits(brains)
    most, *others = groups_of([brain.volume for brain in brains], fits.good)
    if others and len(others[0]) == len(most):
        every = [*most, *(one for group in others for one in group)]
        text = "these do not show one brain in one place"
        yield _warned_apart(f"{listed(every)}: {text}", fits, most, others)
        return
    for group in others:
        shown = f"{listed(most)}, which fit one another, show it"
        text = f"{listed(group)}: not the brain, or not in the place, that {shown}"
        yield _warned_apart(text, fits, most, [group])


def _warned_apart(
    text: str, fits: _Fits, most: Sequence[Volume], others: Sequence[Sequence[Volume]]
) -> PreparationWarning:
    pairs = [fits.of(one, other) for group in others for one in group for other in most]
    best = max(pairs, key=lambda pair: pair.sharpness)
    figures = (
        f"{best.sharpness:.0%} of the match is lost {AWAY_MM:.0f} mm away, where {best.needed:.0%} "
        f"are needed, and the brains agree to a Dice of {best.common:.2f}"
    )
    remedy = "see that all are of one patient and upright, and bring them onto one another again"
    return PreparationWarning("series-apart", f"{text}: {figures}; {remedy}")


def _skulls(brains: Sequence[_Brain]) -> Iterator[PreparationWarning]:
    least = 1.0
    for brain in brains:
        least = min(least, dark_rim(brain.volume, brain.mask))
        if least <= _RIM:
            return
    text = (
        f"{least:.0%} of what lies 6 to 12 mm below the surface is dark, as bone is, where brains "
        f"have {_RIM:.0%} at most: it seems to be a head whose air was set to one value; see that "
        "the skull is off, or send it as the scanner gave it"
    )
    names = listed([brain.volume for brain in brains])
    yield PreparationWarning("skull-on", f"{names}: {text}")


def _turned(reference: Volume) -> Iterator[PreparationWarning]:
    gain = half_turn_gain(Pyramid(reference), voxels=_COMPARED)
    if gain > TURNED:
        text = (
            f"the brain fits an average brain better after half a turn, by {gain:.3f} of mutual "
            f"information where {TURNED:g} says it: it lies upside down or back to front; see "
            "that the orientation in its header is right"
        )
        yield PreparationWarning("upside-down", f"{reference.modality}: {text}")


def _off_frame(reference: Volume, space: Space) -> Iterator[PreparationWarning]:
    far = off_frame_mm(Pyramid(reference), space)
    if far is not None:
        text = (
            f"the brain lies {far:.0f} mm from where {space} has it, the frame that the model "
            "was trained in, and was taken where it is: brains on one grid are not moved; "
            f"brainmvp prepare --space {space} brings them there"
        )
        yield PreparationWarning("off-atlas", f"{reference.modality}: {text}")
