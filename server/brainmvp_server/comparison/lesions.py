"""The lesions of one structure at two times, each measured and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.comparison.change import Change, Figure, Status, Thresholds
from brainmvp_server.comparison.match import Match, match
from brainmvp_server.comparison.uncertainty import PRODUCT_POWER, by_border, by_card
from brainmvp_server.comparison.visit import Kind, Visit
from brainmvp_server.imaging.grid import bounding_box
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.diameters import Point
from brainmvp_server.inference.parts import (
    SMALLEST_PART_ML,
    Components,
    Part,
    Side,
    right_share_of,
    side_of,
)
from brainmvp_server.preparation.rigid import RigidTransform


@dataclass(frozen=True)
class Lesion:
    """A lesion at two times: the connected parts that were matched.

    Attributes:
        number: 1 for the largest of either time.
        matched: all its parts, by their numbers in :class:`Components`.
        volume: in mL, of all its parts.
        product: in mm², the sum over its parts.
        before, after: its parts of 0.01 mL or more, by size, each in its own time's world.
        centroid_mm: in the later time's world, RAS+: where it lies, or lay.
        centroid_before_mm: in the earlier time's world; None where it was not there.
    """

    number: int
    matched: Match
    volume: Change
    product: Change
    before: tuple[Part, ...]
    after: tuple[Part, ...]
    centroid_mm: Point
    centroid_before_mm: Point | None

    @property
    def status(self) -> Status:
        """What became of it, by its volume."""
        return self.volume.status

    @property
    def parted(self) -> bool:
        """Whether parts grew together or came apart: its product is then a sum."""
        return max(len(self.before), len(self.after)) > 1

    @property
    def side(self) -> Side | None:
        """The half of the brain that it lies in, at the later time if it is there."""
        return side_of(right_share_of(self.after or self.before))


@dataclass(frozen=True, eq=False)
class StructureChange:
    """A structure at two times.

    Attributes:
        found: all its parts, the earlier time first; None where there are none.
        volume: in mL, of all of it.
        lesions: by size.
        specks: lesions that are left out, for no part of them has 0.01 mL.
        errors_ml: the mean absolute volume errors that the intervals rest on, the earlier time
            first; None where they rest on the border's place.
    """

    kind: Kind
    found: tuple[Components | None, Components | None]
    volume: Change
    lesions: tuple[Lesion, ...]
    specks: int
    errors_ml: tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A structure at one time.

    Attributes:
        found: its parts; None where there are none.
        error_ml: the model's mean absolute volume error; None where it is not known.
        exact: whether nothing is uncertain, as where a mask is compared with itself.
    """

    found: Components | None
    brain: Brain | None
    error_ml: float | None
    exact: bool

    @classmethod
    def of(cls, visit: Visit, kind: Kind, brain: Brain | None, *, exact: bool) -> Drawn:
        """Of a mask."""
        error = visit.maker.errors_ml.get(kind.name) if visit.maker else None
        mask = np.isin(visit.labels, visit.labels_of(kind))
        box = bounding_box(mask)
        if box is None:
            return cls(None, brain, error, exact)
        inside = np.asfortranarray(mask[box.slices])
        return cls(Components.of(inside, box.start, visit.grid), brain, error, exact)

    def figures(self) -> _Figures:
        """Volumes and their half-widths."""
        if self.found is None:
            return _Figures(np.zeros(0), np.zeros(0), self.error_ml)
        volumes = np.array(self.found.voxels) * self.found.grid.voxel_ml
        widths = np.zeros_like(volumes)
        if not self.exact and self.error_ml is None:
            widths = by_border(self.found)
        return _Figures(volumes, widths, 0.0 if self.exact else self.error_ml)

    def parts(self, numbers: Sequence[int]) -> tuple[Part, ...]:
        """Those of some parts that are large enough, measured."""
        if self.found is None:
            return ()
        large = [n for n in numbers if self.found.volume_ml(n) >= SMALLEST_PART_ML]
        return tuple(self.found.part(number, self.brain) for number in large)


@dataclass(frozen=True, eq=False)
class _Figures:
    """Volumes of parts and their half-widths by the border, mL; and the card's error."""

    volumes: NDArray[np.float64]
    widths: NDArray[np.float64]
    error_ml: float | None

    @property
    def total(self) -> Figure:
        return self.of(range(1, len(self.volumes) + 1))

    def of(self, numbers: Sequence[int]) -> Figure:
        """Of some parts together."""
        index = np.array(numbers, dtype=np.intp) - 1
        volume = round(float(self.volumes[index].sum()), 6)
        if self.error_ml is not None:
            return Figure(volume, by_card(volume, float(self.volumes.sum()), self.error_ml))
        return Figure(volume, float(np.sqrt(np.square(self.widths[index]).sum())))


def compared(
    kind: Kind, before: Drawn, after: Drawn, to_before: RigidTransform, thresholds: Thresholds
) -> StructureChange:
    """Compare a structure.

    Args:
        to_before: takes a point of the later world to the earlier one.
    """
    seen = before.error_ml is None and after.error_ml is None
    there, here = before.figures(), after.figures()
    lesions, specks = [], 0
    for one in match(before.found, after.found, to_before):
        parts = before.parts(one.before), after.parts(one.after)
        if not any(parts):
            specks += 1
            continue
        figures = there.of(one.before), here.of(one.after)
        volume = Change.of(*figures, thresholds.volume_percent, seen=seen)
        products = (_product(parts[0], figures[0]), _product(parts[1], figures[1]))
        product = Change.of(*products, thresholds.product_percent, seen=seen)
        lesions.append((one, volume, product, parts))
    lesions.sort(key=lambda each: -max(each[1].before, each[1].after))
    return StructureChange(
        kind=kind,
        found=(before.found, after.found),
        volume=Change.of(there.total, here.total, thresholds.volume_percent, seen=seen),
        lesions=tuple(
            _lesion(number, *each, before, after, to_before)
            for number, each in enumerate(lesions, start=1)
        ),
        specks=specks,
        errors_ml=(before.error_ml, after.error_ml),
    )


def _product(parts: Sequence[Part], volume: Figure) -> Figure:
    product = sum(part.size.product_mm2 for part in parts)
    share = volume.half_width / volume.value if volume.value else 0.0
    return Figure(product, PRODUCT_POWER * share * product)


def _lesion(
    number: int,
    matched: Match,
    volume: Change,
    product: Change,
    parts: tuple[tuple[Part, ...], tuple[Part, ...]],
    before: Drawn,
    after: Drawn,
    to_before: RigidTransform,
) -> Lesion:
    there, here = _centre(before.found, matched.before), _centre(after.found, matched.after)
    if here is None:
        assert there is not None
        here = to_before.inverse.apply(there)
    earlier = None if there is None else _point(there)
    return Lesion(number, matched, volume, product, *parts, _point(here), earlier)


def _centre(found: Components | None, numbers: Sequence[int]) -> NDArray[np.float64] | None:
    """(3,), the mean of some parts' voxels, in mm."""
    if found is None or not numbers:
        return None
    voxels = [found.voxels[number - 1] for number in numbers]
    return np.average([found.centre(number) for number in numbers], axis=0, weights=voxels)


def _point(place: NDArray[np.float64]) -> Point:
    x, y, z = (round(float(value), 3) + 0.0 for value in place)
    return x, y, z
