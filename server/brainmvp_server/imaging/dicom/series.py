"""Frames to stacks.

A series is split where it holds several volumes, sorted by where its slices lie, and set aside,
with a reason, where it is no regular volume.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from brainmvp_models.errors import MixedStudy
from brainmvp_server.imaging.dicom.again import without_copies
from brainmvp_server.imaging.dicom.files import Beside, Frame, Instance
from brainmvp_server.imaging.dicom.header import SeriesHeader
from brainmvp_server.imaging.dicom.regular import (
    Fault,
    has_duplicates,
    irregular,
    is_mosaic,
    normal_of,
    unplaced,
)
from brainmvp_server.imaging.grid import Grid

_MOST_ACQUISITIONS = 4
_MOST_JOINED = 8
"""Series of one acquisition that are tried in pairs, where all of them together are no volume."""
_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Stack:
    """One regular volume of a series, sorted, not yet decoded.

    Attributes:
        label: how users name it: the series number; ``5-2`` is the second series of that number,
            ``5.2`` the second volume of the series.
        header: with this volume's echo time, b-value and geometry.
        frames: in the direction that makes (column, row, slice) right-handed in L-P-S.
        grid: where the voxels (column, row, slice) lie.
        converted: the voxels (slice, row, column) as ``.npy``, where another program made them of
            the frames' files.
        also: numbers and UIDs of other series that were joined to it.
        notes: what of the series is not in it, or how it was put together.
    """

    label: str
    header: SeriesHeader
    frame_of_reference: str
    frames: tuple[Frame, ...]
    grid: Grid
    converted: Path | None = None
    also: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetAside:
    """A volume that cannot be used.

    Attributes:
        damaged: it would be a volume, were it whole.
        frames: what another program may make a volume of.
        no_volume: it is no volume by its kind (a localizer, in colour): nothing is lost without it.
            To go on without any other could change a result.
        incomplete: slices are missing, which the archive may still have.
    """

    label: str
    header: SeriesHeader
    reason: str
    damaged: bool = False
    frames: tuple[Frame, ...] = ()
    frame_of_reference: str = ""
    no_volume: bool = False
    also: tuple[str, ...] = ()
    incomplete: bool = False


@dataclass(frozen=True)
class Sorted:
    """All series of one study."""

    study: str
    stacks: tuple[Stack, ...]
    set_aside: tuple[SetAside, ...]


def sort_series(instances: Iterable[Instance], beside: Sequence[Beside] = ()) -> Sorted:
    """Sort the objects of one study into stacks.

    Series that only together are one regular volume of one acquisition are joined: some archives
    split a series, or give each object a Series Instance UID of its own.

    Args:
        beside: objects of the same series that are no images; they are mentioned.

    Raises:
        MixedStudy: they belong to several patients or studies.
    """
    instances = tuple(instances)
    _check_one_study(instances)
    stacks: list[Stack] = []
    aside: list[SetAside] = []
    groups = _grouped(instances, lambda one: one.header.uid).values()
    series = [_Series(tuple(group)) for group in groups]
    kinds = _grouped(beside, lambda one: one.series)
    series = sorted(_joined(series), key=lambda one: one.order)
    for one, name in zip(series, _names(series), strict=True):
        no_images = [each.kind for uid in one.uids for each in kinds.get(uid, ())]
        for found in one.volumes(name, no_images):
            (stacks if isinstance(found, Stack) else aside).append(found)  # type: ignore[arg-type]
    study = next((one.study for one in instances if one.study), "")
    return Sorted(study, tuple(stacks), tuple(aside))


def _check_one_study(instances: Sequence[Instance]) -> None:
    """Nobody's ID in half of the files is no second patient."""
    for what, values in (
        ("patients", {one.patient for one in instances}),
        ("studies", {one.study for one in instances}),
    ):
        if len(values - {""}) > 1:
            raise MixedStudy(
                f"the files belong to {len(values - {''})} {what}",
                remedy="Send one study of one patient at a time",
            )


def _names(series: Sequence[_Series]) -> list[str]:
    """The series' numbers, told apart where several have one."""
    numbers = ["?" if one.header.number is None else str(one.header.number) for one in series]
    names = []
    for place, number in enumerate(numbers):
        before = numbers[:place].count(number)
        names.append(f"{number}-{before + 1}" if numbers.count(number) > 1 else number)
    return names


@dataclass(frozen=True)
class _Series:
    """Objects that belong together: of one Series Instance UID, or of several that were joined."""

    instances: tuple[Instance, ...]

    @property
    def header(self) -> SeriesHeader:
        """The first image's that is a slice."""
        return (self.slices or self.instances)[0].header

    @property
    def slices(self) -> tuple[Instance, ...]:
        return tuple(one for one in self.instances if not one.stray)

    @property
    def frames(self) -> list[Frame]:
        return [frame for one in self.slices for frame in one.frames]

    @property
    def uids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.header.uid for one in self.instances))

    @property
    def also(self) -> tuple[str, ...]:
        """Other names of it: UIDs, and numbers that differ from its own."""
        numbers = (str(one.header.number) for one in self.instances)
        return tuple(dict.fromkeys((*self.uids, *numbers)))

    @property
    def order(self) -> tuple[int, str]:
        return (self.header.number or 0, self.header.uid)

    @property
    def acquisition(self) -> Hashable:
        """Equal for series that were acquired alike, in planes of one size and direction."""
        first = self.frames[0] if self.slices else None
        if first is None or first.orientation is None or first.spacing is None:
            return self.uids
        header = replace(self.header, uid="", number=None, time="", slices=0)
        plane = tuple(np.round((*first.orientation, *first.spacing), 3))
        return header, plane, first.size, _one_of(one.frame_of_reference for one in self.slices)

    def fault(self) -> Fault | None:
        """Why none of it is a volume."""
        if not self.slices:
            return Fault(f"its images are {self.instances[0].stray}", no_volume=True)
        faults = [one.fault for one in self.slices if one.fault]
        if faults:
            which = f"{len(faults)} of its {len(self.slices)} images have"
            return Fault(f"{which} {faults[0]}", damaged=True)
        if len({one.frame_of_reference for one in self.slices} - {""}) > 1:
            return Fault("it mixes frames of reference (0020,0052)", damaged=True)
        return unplaced(self.frames)

    def notes(self, no_images: Sequence[str]) -> tuple[str, ...]:
        """What it holds besides slices, and how many of these there should be."""
        notes = []
        if len(self.uids) > 1:
            notes.append(
                f"joined from {len(self.uids)} Series Instance UIDs: all {len(self.frames)} "
                "slices are used"
            )
        strays = Counter([*no_images, *(one.stray for one in self.instances if one.stray)])
        for what, count in strays.items():
            objects = "1 object" if count == 1 else f"{count} objects"
            notes.append(f"left out of the series, as it is no slice: {objects} ({what})")
        expected = max((one.expected or 0 for one in self.slices), default=0)
        if expected > len(self.frames):
            notes.append(
                f"{len(self.frames)} of {expected} slices are here, by Images in Acquisition "
                "(0020,1002): part of the series may be missing"
            )
        return tuple(notes)

    def volumes(self, name: str, no_images: Sequence[str] = ()) -> list[Stack | SetAside]:
        """Its volumes, and what is none."""
        header, fault = self.header, self.fault()
        if fault:
            own = replace(header, slices=len(self.frames))
            return [_set_aside(name, own, fault, self)]
        parts = _parts(self.frames)
        labels = [name] if len(parts) == 1 else [f"{name}.{n + 1}" for n in range(len(parts))]
        found = [self._volume(label, part) for label, part in zip(labels, parts, strict=True)]
        notes = (*self.notes(no_images), *self._left_over(found))
        return [
            replace(one, notes=(*notes, *one.notes)) if isinstance(one, Stack) else one
            for one in found
        ]

    def _volume(self, label: str, part: Sequence[Frame]) -> Stack | SetAside:
        """One of its volumes."""
        kept = without_copies(part) if has_duplicates(part) else part
        header = next(one.header for one in self.slices if one.path == kept[0].path)
        own = _own_header(header, kept)
        fault = irregular(kept, diffusion=bool(own.b_value))
        if fault:
            hopeful = tuple(kept) if fault.damaged or is_mosaic(kept) else ()
            return _set_aside(label, own, fault, self, hopeful)
        stack = _stacked(label, own, self.frame_of_reference, kept)
        again = len(part) - len(kept)
        merged = f"{again} of its {len(part)} slices came again, alike: {len(kept)} are used"
        return replace(stack, also=self.also, notes=(merged,) if again else ())

    def _left_over(self, found: Sequence[Stack | SetAside]) -> tuple[str, ...]:
        """What is said of a series of which not all is a volume."""
        aside = [one for one in found if isinstance(one, SetAside)]
        count = sum(one.header.slices for one in aside)
        if not count:
            return ()
        return (
            f"{count} of its {len(self.frames)} images differ in contrast or image type, and are "
            f"not used: {aside[0].reason}",
        )

    @property
    def frame_of_reference(self) -> str:
        return _one_of(one.frame_of_reference for one in self.slices)


def _set_aside(
    label: str,
    header: SeriesHeader,
    fault: Fault,
    series: _Series,
    hopeful: tuple[Frame, ...] = (),
) -> SetAside:
    if hopeful and is_mosaic(hopeful):
        header = replace(header, slices=0)  # as many as it has tiles: nobody knows
    return SetAside(
        label, header, fault.reason, fault.damaged, hopeful, series.frame_of_reference,
        fault.no_volume, series.also, fault.incomplete,
    )  # fmt: skip


def _one_of(values: Iterable[str]) -> str:
    """The first that is not empty; empty where all are."""
    return next((value for value in values if value), "")


def _joined(series: Sequence[_Series]) -> list[_Series]:
    """Series, those joined that only together are regular volumes of one acquisition."""
    found: list[_Series] = []
    ordered = sorted(series, key=lambda one: one.order)
    for alike in _grouped(ordered, lambda one: one.acquisition).values():
        whole = _Series(tuple(one for each in alike for one in each.instances))
        if len(alike) == 1 or _is_regular(whole):
            found.append(whole)
        elif len(alike) > _MOST_JOINED:
            found += alike
        else:
            found += _joined_in_pairs(alike)
    return found


def _joined_in_pairs(alike: Sequence[_Series]) -> list[_Series]:
    found: list[_Series] = []
    for one in alike:
        for place, other in enumerate(found):
            both = _Series((*other.instances, *one.instances))
            if _is_regular(both):
                found[place] = both
                break
        else:
            found.append(one)
    return found


def _is_regular(series: _Series) -> bool:
    """Whether all of it is regular volumes, without a copy."""
    if series.fault() or any(map(has_duplicates, parts := _parts(series.frames))):
        return False
    return not any(irregular(part, diffusion=False) for part in parts)


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
            has_duplicates(part)
            and 1 < len(repeats) <= _MOST_ACQUISITIONS
            and not any(map(has_duplicates, repeats.values()))
        )
        split += [repeats[moment] for moment in sorted(repeats)] if told_apart else [part]
    return split


def _contrasts_are_spread_over_slices(parts: Sequence[Sequence[Frame]]) -> bool:
    """Whether the parts are slices of one volume: as many parts as slices, each at its own place.

    An echo time or an image type may differ from slice to slice within one volume.
    """
    sizes = [len(part) for part in parts]
    frames = [frame for part in parts for frame in part]
    return len(sizes) > 1 and max(sizes) < len(frames) / 2 and not has_duplicates(frames)


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


def _stacked(label: str, header: SeriesHeader, frame: str, part: Sequence[Frame]) -> Stack:
    normal = normal_of(part[0])
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
