"""Heads that were displaced by known transforms: what registration is measured on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rendered_heads import LabelledHead

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.rigid import RigidTransform

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
SHARED = Path(__file__).parents[2] / "shared"
LARGEST = 40.0
"""Degrees, and millimetres, of a displacement."""
_SLICES_MM = (1, 3, 5)
_CONTRASTS = (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR)


@dataclass(frozen=True, eq=False)
class Series:
    """A series and its brain.

    Attributes:
        brain: (i, j, k), on the series' own grid.
    """

    volume: Volume
    brain: Mask

    @property
    def points(self) -> Points:
        """(N, 3), some millimetres of the brain."""
        indices = np.argwhere(self.brain)
        indices = indices[:: max(len(indices) // 3000, 1)]
        affine = self.volume.grid.affine
        return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])

    def displaced(self, by: RigidTransform) -> Series:
        """The same voxels, said to lie elsewhere."""
        grid = Grid(self.volume.grid.shape, by.matrix @ self.volume.grid.affine)
        return replace(self, volume=replace(self.volume, grid=grid))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two series of one head, and where the one lies in the other.

    Attributes:
        truth: takes a point of the reference's world to that of ``moving``.
        skull: whether the whole heads are compared, or the brains alone.
    """

    name: str
    reference: Series
    moving: Series
    truth: RigidTransform
    skull: bool

    def displaced(self, by: RigidTransform) -> Pair:
        """The moving one displaced."""
        return replace(self, moving=self.moving.displaced(by), truth=by.after(self.truth))


def displacement(
    random: np.random.Generator, centre: Points, largest: float = LARGEST
) -> RigidTransform:
    """Up to 40° about an axis in any direction through a head, and up to 40 mm anywhere.

    Args:
        largest: degrees, and millimetres, if it is to be less.
    """
    axis, way = (_direction(random) for _ in range(2))
    angle = np.radians(random.uniform(0, largest))
    cross = np.cross(np.eye(3), axis) * -1
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre - turn @ centre + way * random.uniform(0, largest)
    return RigidTransform(matrix)


def _direction(random: np.random.Generator) -> Points:
    way = random.standard_normal(3)
    return np.asarray(way / np.linalg.norm(way))


def real_pairs() -> list[Pair]:
    """Of three patients, each series with its reference; whole heads and brains where both are."""
    return [*_glioma("fg6692", "raw"), *_glioma("du7294", "brains"), *_visits()]


def _glioma(patient: str, kind: str) -> Iterator[Pair]:
    folder = SHARED / "clinical" / patient
    truths = transforms(folder / "reference" / "rigid_ras_mm.json")

    def series(modality: Modality) -> Series:
        volume = read_nifti(folder / kind / f"{modality}.nii.gz", modality)
        if kind == "brains":
            return Series(volume, volume.stored > 0)
        mask = read_nifti(folder / "reference" / f"brain_{modality}.nii.gz", modality)
        return Series(volume, mask.stored > 0)

    reference = series(Modality.T1)
    for modality in (Modality.T1C, Modality.T2, Modality.FLAIR):
        for skull in (True, False) if kind == "raw" else (False,):
            yield Pair(
                f"{patient} {modality}, {'head' if skull else 'brain'}",
                reference,
                series(modality),
                truths[f"t1_to_{modality}"],
                skull,
            )


def _visits() -> Iterator[Pair]:
    folder = SHARED / "longitudinal" / "ms01"
    truths = transforms(folder / "affine_ras_mm.json")
    flairs = {}
    for visit in ("study1", "study2"):
        flair = read_nifti(folder / f"{visit}_flair.nii.gz", Modality.FLAIR)
        brain = read_nifti(folder / f"{visit}_brain_flair.nii.gz", Modality.FLAIR)
        flairs[visit] = Series(flair, brain.stored > 0)
        for modality in (Modality.T1, Modality.T2):
            volume = read_nifti(folder / f"{visit}_{modality}.nii.gz", modality)
            everywhere = np.ones(volume.grid.shape, np.bool_)
            truth = truths[f"{visit}_flair_to_{visit}_{modality}"]
            name = f"ms01 {visit} {modality}, head"
            yield Pair(name, flairs[visit], Series(volume, everywhere), truth, True)
    for skull in (True, False):
        yield Pair(
            f"ms01 visit 1 to 2, {'head' if skull else 'brain'}",
            flairs["study1"],
            flairs["study2"],
            truths["study1_flair_to_study2_flair"],
            skull,
        )


def transforms(path: Path) -> dict[str, RigidTransform]:
    """The matrices of a reference; those of ms01 scale by up to 1.6 %."""
    named = json.loads(path.read_text("utf-8"))
    return {name: RigidTransform(np.array(rows)) for name, rows in named.items()}


def rendered_pair(random: np.random.Generator, heads: int, *, skull: bool | None = None) -> Pair:
    """Two contrasts of a head drawn from labels, each with slices its own way.

    Args:
        skull: whether whole heads are compared; by default as it is drawn.
    """
    number = int(random.integers(1, heads + 1))
    one, two = random.permutation(len(_CONTRASTS))[:2]
    reference, moving = (_sliced(_drawn(number, _CONTRASTS[which]), random) for which in (one, two))
    drawn = bool(random.random() < 0.5)
    skull = drawn if skull is None else skull
    return Pair(
        f"head {number:02d} {_CONTRASTS[one]} to {_CONTRASTS[two]}, {'head' if skull else 'brain'}",
        reference,
        moving,
        RigidTransform.identity(),
        skull,
    )


@cache
def _drawn(number: int, contrast: Modality) -> Series:
    head = LabelledHead.load(SHARED / "anatomy", number)
    made = head.rendered(contrast, 1, seed=100 * number + _CONTRASTS.index(contrast))
    return Series(made.volume, made.brain)


def _sliced(series: Series, random: np.random.Generator) -> Series:
    """Slices of 1, 3 or 5 mm along any axis, beginning anywhere in the first of them."""
    axis, thick = int(random.integers(3)), int(random.choice(_SLICES_MM))
    begin = int(random.integers(thick))
    count = (series.volume.stored.shape[axis] - begin) // thick

    def means(values: NDArray[np.generic]) -> NDArray[np.float32]:
        cut = np.moveaxis(values, axis, 0)[begin : begin + count * thick].astype(np.float32)
        mean = cut.reshape(count, thick, *cut.shape[1:]).mean(axis=1)
        return np.asarray(np.moveaxis(mean, 0, axis))

    stored = np.rint(means(series.volume.stored)).astype(np.int16)
    step = np.eye(4)
    step[axis, axis], step[axis, 3] = thick, begin + (thick - 1) / 2
    grid = Grid(stored.shape, series.volume.grid.affine @ step)
    return Series(replace(series.volume, stored=stored, grid=grid), means(series.brain) > 0.5)
