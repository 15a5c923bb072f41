"""Whether frames are a regular volume, and if not, why.

What is wrong is named by its attribute, in numbers, with the tolerance that was not met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.dicom.files import Frame

SAME_PLACE_MM = 0.01
FEWEST_SLICES = 2
_SAME_DIRECTION = 1e-3
_OTHER_DIRECTION = 0.05
"""Cosines further apart than this belong to other orientations, nearer ones jitter."""
_SAME_SPACING = 1e-3
_IRREGULAR = 0.02
"""A step between slices may differ from the mean by this share of itself."""
_ROUNDED_MM = 0.1
"""Or by this much, where no slice lies further from its even place: rounded positions do so."""
_ROUNDED_SHARE = 0.1
"""But by no more than this share of a step."""
_SHEARED = 1e-3
_SIDEWAYS = 0.0447
"""How far a slice may lie beside the line of the others, in steps: a cosine of 1 - 1e-3."""
_HEAD = 10
"""Fewer slices in one orientation are a localizer."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """Why some frames are no volume.

    Attributes:
        damaged: they would be a volume, were they whole.
        no_volume: nothing is lost without them: they are no volume by their kind.
        incomplete: slices are missing, which the archive may still have.
    """

    reason: str
    damaged: bool = False
    no_volume: bool = False
    incomplete: bool = False


def unplaced(frames: Sequence[Frame]) -> Fault | None:
    """Why the frames of a series cannot form volumes at all."""
    for what, tag, missing in (
        ("Image Position (Patient)", "0020,0032", [f.position is None for f in frames]),
        ("Image Orientation (Patient)", "0020,0037", [f.orientation is None for f in frames]),
        ("Pixel Spacing", "0028,0030", [f.spacing is None for f in frames]),
    ):
        if any(missing):
            return Fault(
                f"{sum(missing)} of its {len(frames)} images have no place in space: "
                f"no valid {what} ({tag})",
                damaged=True,
            )
    sizes = [frame.size for frame in frames]
    if len(set(sizes)) > 1:
        return Fault(
            f"its images differ in size (0028,0010 and 0028,0011): {_odd(sizes)}", damaged=True
        )
    spacings = np.array([frame.spacing for frame in frames])
    if np.abs(spacings / spacings[0] - 1).max() > _SAME_SPACING:
        return Fault("its images differ in Pixel Spacing (0028,0030)", damaged=True)
    return _turned(np.array([frame.orientation for frame in frames]))


def _turned(directions: Array) -> Fault | None:
    """Why images do not lie side by side."""
    off = float(np.abs(directions - directions[0]).max())
    if off <= _SAME_DIRECTION:
        return None
    if off <= _OTHER_DIRECTION:
        return Fault(
            "its images jitter: Image Orientation (Patient) (0020,0037) differs by up to "
            f"{off:.1g} between slices, more than the {_SAME_DIRECTION:g} that is taken",
            damaged=True,
        )
    kinds: list[Array] = []
    members: list[int] = []
    for row in directions:
        kind = next(
            (n for n, one in enumerate(kinds) if np.abs(row - one).max() <= _OTHER_DIRECTION),
            len(kinds),
        )
        if kind == len(kinds):
            kinds.append(row)
        members.append(kind)
    reason = f"its images lie in {len(kinds)} orientations"
    if max(members.count(kind) for kind in set(members)) < _HEAD:
        return Fault(f"{reason}, as a localizer's do", no_volume=True)
    return Fault(f"{reason} (0020,0037): {_odd(members)}", damaged=True)


def _odd(values: Sequence[object]) -> str:
    """How many of some images are unlike most of them."""
    most = max(values.count(value) for value in set(values))
    return f"{len(values) - most} of {len(values)} are unlike the others"


def irregular(part: Sequence[Frame], *, diffusion: bool) -> Fault | None:
    """Why some frames of one size and direction are no regular volume; None where they are."""
    if is_mosaic(part):
        return Fault("it is a mosaic: its slices are tiles of one image")
    if len(part) < FEWEST_SLICES:
        return Fault("it has one slice only", no_volume=True)
    scaled = sum(frame.scaled for frame in part)
    if 0 < scaled < len(part):
        return Fault(
            f"{len(part) - scaled} of its {len(part)} images have no RescaleSlope (0028,1053)",
            damaged=True,
        )
    positions = np.array([frame.position for frame in part])
    normal = normal_of(part[0])
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff((positions @ normal)[order])
    if steps.min() < SAME_PLACE_MM:
        return _repeated(len(part), steps, diffusion=diffusion)
    return _uneven(positions[order], steps, normal)


def is_mosaic(part: Sequence[Frame]) -> bool:
    """Whether it is one image that holds all slices as tiles, as Siemens scanners write them."""
    return len(part) == 1 and "MOSAIC" in part[0].image_type


def _uneven(positions: Array, steps: Array, normal: Array) -> Fault | None:
    """Why slices that are in order do not lie in even steps along their normal."""
    mean = float(steps.mean())
    rounding = min(_ROUNDED_MM, _ROUNDED_SHARE * mean)
    line = np.linspace(0, 1, len(positions))[:, np.newaxis] * (positions[-1] - positions[0])
    off = positions - positions[0] - line
    along = np.abs(off @ normal)
    wrong = np.abs(steps - mean)
    slack = 1e-6  # so that 0.1 is no more than 0.1
    rounded = wrong.max() <= rounding + slack and along.max() <= rounding + slack
    if wrong.max() > _IRREGULAR * mean and not rounded:
        worst = int(np.argmax(np.abs(steps - np.median(steps))))
        return Fault(
            f"its slices are {np.median(steps):.2f} mm apart, but {steps[worst]:.2f} mm between "
            f"slice {worst + 1} and {worst + 2} (0020,0032); steps may differ by "
            f"{_IRREGULAR:.0%}, or by {rounding:.2g} mm where positions are rounded",
            damaged=True,
            incomplete=True,
        )
    whole = positions[-1] - positions[0]
    sideways = np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max()
    if 1 - abs(whole @ normal) / np.linalg.norm(whole) > _SHEARED or sideways > max(
        _SIDEWAYS * mean, rounding
    ):
        return Fault(
            "its slices are sheared (0020,0032): they are not stacked at right angles",
            damaged=True,
        )
    return None


def _repeated(count: int, steps: Array, *, diffusion: bool) -> Fault:
    places = 1 + int(np.count_nonzero(steps >= SAME_PLACE_MM))
    if places == 1:
        return Fault(
            f"all its {count} images have the same position (Image Position (Patient), 0020,0032)",
            damaged=True,
        )
    if count % places == 0:
        what = "diffusion directions or averages" if diffusion else "times (a time series)"
        return Fault(f"it shows each slice {count // places} {what}, with other voxels each time")
    return Fault(
        f"{count - places} of its {count} slices lie where another one does (0020,0032), "
        "with other voxels",
        damaged=True,
    )


def normal_of(frame: Frame) -> Array:
    """The direction in which slices follow each other, of length 1."""
    cosines = np.array(frame.orientation)
    normal: Array = np.cross(cosines[:3], cosines[3:])
    return normal


def has_duplicates(frames: Sequence[Frame]) -> bool:
    """Whether two frames lie at one place."""
    places = {tuple(np.round(np.array(f.position) / SAME_PLACE_MM)) for f in frames}
    return len(places) < len(frames)
