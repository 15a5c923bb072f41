"""Frames to stacks.

A series is split where it holds several volumes, sorted by where its slices lie, and set aside,
with a reason, where it is no regular volume.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from highdicom.spatial import get_volume_positions

from brainmvp_models.errors import MixedStudy
from brainmvp_server.imaging.dicom.files import Frame, Instance
from brainmvp_server.imaging.dicom.header import SeriesHeader
from brainmvp_server.imaging.grid import Grid

_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 0.01
_IRREGULAR = 0.02
"""A step between slices may differ from the others by this share of itself."""
_MOST_ACQUISITIONS = 4
_FEWEST_SLICES = 2
_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Stack:
    """One regular volume of a series, sorted, not yet decoded.

    Attributes:
        label: how users name it: the series number, with a part behind it where the series holds
            several volumes (``5.2``).
        header: with this volume's echo time, b-value and geometry.
        frames: in the direction that makes (column, row, slice) right-handed in L-P-S.
        grid: where the voxels (column, row, slice) lie.
        converted: the voxels (slice, row, column) as ``.npy``, where another program made them of
            the frames' files.
    """

    label: str
    header: SeriesHeader
    frame_of_reference: str
    frames: tuple[Frame, ...]
    grid: Grid
    converted: Path | None = None


@dataclass(frozen=True)
class SetAside:
    """A volume that cannot be used.

    Attributes:
        damaged: it would be a volume, were it whole; to go on without it could change a result.
        frames: what another program may make a volume of.
    """

    label: str
    header: SeriesHeader
    reason: str
    damaged: bool = False
    frames: tuple[Frame, ...] = ()
    frame_of_reference: str = ""


@dataclass(frozen=True)
class Sorted:
    """All series of one study."""

    study: str
    stacks: tuple[Stack, ...]
    set_aside: tuple[SetAside, ...]


def sort_series(instances: Iterable[Instance]) -> Sorted:
    """Sort the objects of one study into stacks.

    Raises:
        MixedStudy: they belong to several patients or studies.
    """
    instances = tuple(instances)
    _check_one_study(instances)
    stacks: list[Stack] = []
    aside: list[SetAside] = []
    series = _grouped(instances, lambda one: one.header.uid)
    for group in sorted(series.values(), key=lambda g: (g[0].header.number or 0, g[0].header.uid)):
        for found in _sort_one(group):
            (stacks if isinstance(found, Stack) else aside).append(found)  # type: ignore[arg-type]
    return Sorted(instances[0].study if instances else "", tuple(stacks), tuple(aside))


def _check_one_study(instances: Sequence[Instance]) -> None:
    for what, values in (
        ("patients", {one.patient for one in instances}),
        ("studies", {one.study for one in instances}),
    ):
        if len(values) > 1:
            raise MixedStudy(
                f"the files belong to {len(values)} {what}",
                remedy="Send one study of one patient at a time",
            )


def _sort_one(series: Sequence[Instance]) -> list[Stack | SetAside]:
    """The volumes of one series."""
    header = series[0].header
    name = "?" if header.number is None else str(header.number)
    frames = [frame for one in series for frame in one.frames]
    if fault := next((one.fault for one in series if one.fault), "") or _unplaced(frames):
        return [SetAside(name, header, fault)]
    if len({one.frame_of_reference for one in series}) > 1:
        return [SetAside(name, header, "it mixes frames of reference")]
    parts = _parts(frames)
    headers = {one.path: one.header for one in series}
    found: list[Stack | SetAside] = []
    for index, part in enumerate(parts, start=1):
        label = name if len(parts) == 1 else f"{name}.{index}"
        own = _own_header(headers[part[0].path], part)
        problem, damaged = _irregular(part, own)
        if problem:
            hopeful = tuple(part) if damaged or _is_mosaic(part) else ()
            found.append(
                SetAside(label, own, problem, damaged, hopeful, series[0].frame_of_reference)
            )
        else:
            found.append(_stacked(label, own, series[0].frame_of_reference, part))
    return found


def _is_mosaic(part: Sequence[Frame]) -> bool:
    """Whether it is one image that holds all slices as tiles, as Siemens scanners write them."""
    return len(part) == 1 and "MOSAIC" in part[0].image_type


def _unplaced(frames: Sequence[Frame]) -> str:
    """Why the frames of a series cannot form volumes at all."""
    if any(None in (f.position, f.orientation, f.spacing) for f in frames):
        return "its images have no place in space (no position, orientation or spacing)"
    if len({f.size for f in frames}) > 1:
        return "its images differ in size"
    directions = np.array([f.orientation for f in frames])
    if np.abs(directions - directions[0]).max() > _SAME_DIRECTION:
        kinds = len({tuple(np.round(row, 2)) for row in directions})
        return f"its images lie in {kinds} orientations, as a localizer's do"
    return ""


def _parts(frames: Sequence[Frame]) -> list[list[Frame]]:
    """A series' volumes, told apart by b-value, echo time, image type and, if need be, repeat."""
    contrasts = _grouped(
        frames,
        lambda f: (f.b_value is None, f.b_value or 0.0, f.echo_time or 0.0, f.image_type),
    )
    parts = [contrasts[key] for key in sorted(contrasts)]
    if _contrasts_are_spread_over_slices(parts):
        parts = [list(frames)]
    split: list[list[Frame]] = []
    for part in parts:
        repeats = _grouped(part, lambda f: f.moment)
        told_apart = (
            _has_duplicates(part)
            and 1 < len(repeats) <= _MOST_ACQUISITIONS
            and not any(map(_has_duplicates, repeats.values()))
        )
        split += [repeats[moment] for moment in sorted(repeats)] if told_apart else [part]
    return split


def _contrasts_are_spread_over_slices(parts: Sequence[Sequence[Frame]]) -> bool:
    """Whether the parts are slices of one volume: as many parts as slices, each at its own place.

    An echo time or an image type may differ from slice to slice within one volume.
    """
    sizes = [len(part) for part in parts]
    frames = [frame for part in parts for frame in part]
    return len(sizes) > 1 and max(sizes) < len(frames) / 2 and not _has_duplicates(frames)


def _has_duplicates(frames: Sequence[Frame]) -> bool:
    places = {tuple(np.round(np.array(f.position) / _SAME_PLACE_MM)) for f in frames}
    return len(places) < len(frames)


def _own_header(header: SeriesHeader, part: Sequence[Frame]) -> SeriesHeader:
    first = part[0]
    types = tuple(dict.fromkeys((*header.image_type, *first.image_type)))
    return replace(
        header,
        b_value=first.b_value,
        echo_time=first.echo_time,
        image_type=types if header.image_type[:1] == first.image_type[:1] else first.image_type,
        slices=len(part),
    )


def _irregular(part: Sequence[Frame], header: SeriesHeader) -> tuple[str, bool]:
    """Why some frames are no regular volume, and whether that is damage; empty where they are."""
    if _is_mosaic(part):
        return "it is a mosaic: its slices are tiles of one image", False
    if len(part) < _FEWEST_SLICES:
        return "it has one slice only", False
    positions = np.array([frame.position for frame in part])
    along = positions @ _normal(part[0])
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    if steps.min() < _SAME_PLACE_MM:
        return _repeated(part, steps, header)
    usual = float(np.median(steps))
    worst = int(np.argmax(np.abs(steps - usual)))
    spacing, _ = get_volume_positions(
        positions, part[0].orientation or (), rtol=_IRREGULAR, perpendicular_tol=1e-3
    )
    if spacing is not None:
        return "", False
    if abs(steps[worst] - usual) <= _IRREGULAR * usual:
        return "its slices are sheared: they are not stacked at right angles", True
    return (
        f"its slices are {usual:.2f} mm apart, but {steps[worst]:.2f} mm between slice "
        f"{worst + 1} and {worst + 2}",
        True,
    )


def _repeated(part: Sequence[Frame], steps: np.ndarray, header: SeriesHeader) -> tuple[str, bool]:
    places = 1 + int(np.count_nonzero(steps >= _SAME_PLACE_MM))
    if len(part) % places == 0 and len(part) > places:
        times = len(part) // places
        what = "diffusion directions or averages" if header.b_value else "times (a time series)"
        return f"it shows each slice {times} {what}", False
    return f"{len(part) - places} of its {len(part)} slices lie where another one does", True


def _normal(frame: Frame) -> np.ndarray:
    cosines = np.array(frame.orientation)
    normal: np.ndarray = np.cross(cosines[:3], cosines[3:])
    return normal


def _stacked(label: str, header: SeriesHeader, frame: str, part: Sequence[Frame]) -> Stack:
    normal = _normal(part[0])
    ordered = sorted(part, key=lambda f: float(np.array(f.position) @ normal))
    first, last = np.array(ordered[0].position), np.array(ordered[-1].position)
    cosines, spacing = np.array(ordered[0].orientation), ordered[0].spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * spacing[1]
    affine[:3, 1] = cosines[3:] * spacing[0]
    affine[:3, 2] = (last - first) / (len(ordered) - 1)
    affine[:3, 3] = first
    rows, columns = ordered[0].size
    grid = Grid((columns, rows, len(ordered)), _RAS @ affine)
    turn = grid.orientation
    plane = ("sagittal", "coronal", "axial")[turn.axes.index(2)]
    own = replace(header, slices=len(ordered), spacing=grid.spacing, plane=plane)
    return Stack(label, own, frame, tuple(ordered), grid)


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)
