"""Where a result lies that is not wanted on the grid of the study that was worked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Affine, Grid
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.preprocess import ModelSpace

Array = NDArray[np.float32]

WarningKind = Literal[
    "thick-slices",
    "brain-at-edge",
    "brains-disagree",
    "series-not-used",
    "skull-on",
    "no-plain-brain",
    "mask-not-used",
    "series-apart",
    "upside-down",
    "off-atlas",
]


@dataclass(frozen=True)
class PreparationWarning:
    """What a reader should know of a study's series and of what was done to them.

    Attributes:
        kind: for counting.
        text: for the reader; it begins with what it is about.
    """

    kind: WarningKind
    text: str


@dataclass(frozen=True)
class SeriesMoved:
    """How a series was brought to the reference.

    Attributes:
        moved_mm: how far a point of the head was moved, on average.
        before, after: normalised mutual information with the reference, 1 to 2.
        start: what won: the headers as they are, or what was looked for.
    """

    modality: Modality
    moved_mm: float
    before: float
    after: float
    start: str


@dataclass(frozen=True)
class PreparationReport:
    """What was done to a raw study, in figures.

    Attributes:
        reference: the series the others were brought to.
        space: the frame that the network was given it in.
        turned_degrees: by how much that frame is turned against the reference; None where it is
            the reference's own.
        atlas_covered: share of the atlas's brain that every series shows; None without an atlas.
        brain_ml: None where the series came without their skulls.
        brain_series: those that the brain was looked for in.
        brain_agreement: Dice of the brains of the first two.
        picture: draws the brain's outline over every series, PNG, where it is asked for.
    """

    reference: Modality
    space: Space
    turned_degrees: float | None
    atlas_covered: float | None
    moved: tuple[SeriesMoved, ...]
    brain_ml: float | None
    brain_series: tuple[Modality, ...]
    brain_agreement: float | None
    picture: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class ResultSpace:
    """The series as they came, and how the one whose grid is wanted lies in the worked-on world.

    Attributes:
        shown: the volumes as they came, each on its own grid; the result lies on the first one's.
        to_worked: (4, 4), R-A-S mm of that volume's world to the world of the study worked on.
        to_series: the same to the world of each of the volumes.
    """

    shown: Study
    to_worked: Affine
    to_series: Mapping[Modality, Affine]

    @property
    def grid(self) -> Grid:
        """Where the result lies."""
        return self.shown.native.grid

    def lookup(self, image: Array, space: ModelSpace) -> Array:
        """An image (X, Y, Z) of model space on the result's grid, by one interpolation."""
        here = Grid(image.shape, space.affine)
        return interpolated(image, here, self.grid, self.to_worked)[0]


@dataclass(frozen=True, eq=False)
class WorkedOn:
    """What a task is run on.

    Attributes:
        onto: where the result is wanted, where that is not the study's own grid.
        brain: where the result's brain is known, in the world of its grid.
        report: what was done to a raw study; None where nothing was.
    """

    study: Study
    onto: ResultSpace | None = None
    brain: Brain | None = None
    report: PreparationReport | None = None
    warnings: tuple[PreparationWarning, ...] = ()
