"""One synthetic study: a subject, a lesion or none, and its scans on one field of view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.templates import TEMPLATE_SHAPE
from brainmvp_training.synthetic.anatomy import Anatomy
from brainmvp_training.synthetic.contrast import Contrast
from brainmvp_training.synthetic.deformation import draw_subject
from brainmvp_training.synthetic.fields import Array
from brainmvp_training.synthetic.glioma import grow_glioma, no_glioma

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Recipe:
    """What to draw studies from.

    Attributes:
        modalities: what a study can hold.
        healthy: share of studies without a lesion.
        enhancing: share of lesions that take up contrast agent.
        strength: variety of anatomy; 1 is the usual.
        air: how far fields of view may reach beyond the brain; 1 is up to the BraTS grid.
        loose: share of studies whose brain extraction left CSF in the hollows outside.
    """

    modalities: tuple[Modality, ...]
    healthy: float = 0.15
    enhancing: float = 0.65
    strength: float = 1.0
    air: float = 1.0
    loose: float = 0.0


@dataclass(frozen=True, eq=False)
class SyntheticStudy:
    """Scans (X, Y, Z) of one subject in R, A, S order at 1 mm, and the labels behind them."""

    scans: Mapping[Modality, Array]
    labels: NDArray[np.uint8]
    enhancing: bool

    @property
    def grade(self) -> str:
        """The class of task demo-grade."""
        return "enhancing" if self.enhancing else "not-enhancing"


def draw_study(anatomy: Anatomy, recipe: Recipe, seed: Sequence[int]) -> SyntheticStudy:
    """A study; the same anatomy, recipe and seed give the same one."""
    rng = np.random.default_rng(list(seed))
    extraction = np.random.default_rng([*seed, 2])  # of its own: all else stays as without
    if extraction.random() < recipe.loose:
        anatomy = anatomy.loose[int(extraction.integers(len(anatomy.loose)))]
    subject = draw_subject(anatomy, rng, strength=recipe.strength)
    if rng.random() < recipe.healthy:
        glioma = no_glioma(subject)
    else:
        glioma = grow_glioma(subject, rng, enhancing=rng.random() < recipe.enhancing)
    view = _FieldOfView.draw(subject.shape, recipe.air, rng)
    scans = {}
    for modality in recipe.modalities:
        contrast = Contrast.draw(modality, rng)
        scans[modality] = view.placed(contrast.paint(subject, glioma, rng))
    return SyntheticStudy(scans, view.placed(glioma.labels), glioma.enhancing)


@dataclass(frozen=True)
class _FieldOfView:
    """A grid around the brain. How much of it is air decides where percentiles lie."""

    shape: tuple[int, ...]
    start: tuple[int, ...]

    @classmethod
    def draw(
        cls, brain: tuple[int, int, int], air: float, rng: np.random.Generator
    ) -> _FieldOfView:
        shape, start = [], []
        share = air * rng.random()
        for n, grid in zip(brain, TEMPLATE_SHAPE, strict=True):
            size = n + round(share * max(grid - n, 24))
            shape.append(size)
            start.append((size - n) // 2 + int(rng.integers(-2, 3)) * (size > n + 6))
        return cls(tuple(shape), tuple(start))

    def placed(self, volume: NDArray[Kind]) -> NDArray[Kind]:
        view = np.zeros(self.shape, volume.dtype)
        place = tuple(slice(a, a + n) for a, n in zip(self.start, volume.shape, strict=True))
        view[place] = volume
        return view
