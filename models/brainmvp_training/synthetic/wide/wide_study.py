"""One wide synthetic study: a subject from a head or a real brain, lesions, and its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_training.synthetic.fields import Array
from brainmvp_training.synthetic.synthetic_study import SyntheticStudy
from brainmvp_training.synthetic.wide.acquisition import Acquisition
from brainmvp_training.synthetic.wide.bending import Push, pushed, sampled, subject_grid
from brainmvp_training.synthetic.wide.brightness import (
    MODALITIES,
    Subject,
    add_parts,
    paint,
    ventricle_distance,
)
from brainmvp_training.synthetic.wide.extraction import extracted, varied
from brainmvp_training.synthetic.wide.heads import (
    NERVOUS,
    Head,
    Tissue,
    mni152_head,
    read_head,
)
from brainmvp_training.synthetic.wide.other_lesions import add_infarct, add_white_matter_lesions
from brainmvp_training.synthetic.wide.real_brains import RealBrain, read_brain
from brainmvp_training.synthetic.wide.tumours import LABELS, Part, Tumour, draw_centre, grow


@dataclass(frozen=True)
class WideRecipe:
    """What to draw wide studies from.

    Attributes:
        heads: label maps; without any, the average brain that nilearn ships.
        brains: folders of real brains.
        real: share of studies whose brain is a real one, where there are any.
        healthy: share of studies without a tumour.
        shows: series that show what another kind would: a T1 after contrast agent is a T1c.
    """

    heads: tuple[Path, ...] = ()
    brains: tuple[Path, ...] = ()
    real: float = 0.35
    healthy: float = 0.2
    shows: Mapping[Modality, Modality] = field(default_factory=dict)

    def shown(self, modality: Modality) -> Modality:
        """What a series shows."""
        return self.shows.get(modality, modality)

    @cached_property
    def origin(self) -> dict[str, object]:
        """What makes its studies, for whoever compares two recipes; no paths."""
        named = [path.name.split(".")[0] for path in self.heads] or ["mni152"]
        brains = [path.name for path in self.brains]
        return {"heads": named, "brains": brains, "real": self.real, "healthy": self.healthy}


def draw_wide_study(recipe: WideRecipe, seed: Sequence[int]) -> SyntheticStudy:
    """A study; the same recipe, files and seed give the same one.

    Raises:
        InvalidDatalist: a label map or a brain cannot be used.
        TrainingFailed: there are no heads, and nilearn is not installed.
    """
    rng = np.random.default_rng(list(seed))
    if recipe.brains and rng.random() < recipe.real:
        brain = _brain(recipe.brains[int(rng.integers(len(recipe.brains)))])
        return _study_in_brain(brain, recipe, rng)
    head = _head(recipe.heads[int(rng.integers(len(recipe.heads)))] if recipe.heads else None)
    return _study_in_head(head, recipe, rng)


@lru_cache(maxsize=24)
def _head(path: Path | None) -> Head:
    """Heads are kept: reading one takes longer than making a study of it."""
    return mni152_head() if path is None else read_head(path)


@lru_cache(maxsize=8)
def _brain(folder: Path) -> RealBrain:
    return read_brain(folder)


def _study_in_head(head: Head, recipe: WideRecipe, rng: np.random.Generator) -> SyntheticStudy:
    grid = subject_grid(head.shape, rng)
    tumour = None if rng.random() < recipe.healthy else Tumour.draw(rng)
    centre = (0, 0, 0)
    if tumour is not None:
        nervous = np.asarray(head.shares[list(NERVOUS)].sum(axis=0), np.float32) / 255
        centre = draw_centre(sampled(nervous[None], grid)[0], rng)
        grid = pushed(grid, Push(centre, max(tumour.radius, 4) * 1.3, tumour.push))
    shares = sampled(head.shares, grid) / np.float32(255)
    nervous, white = shares[list(NERVOUS)].sum(axis=0), shares[Tissue.WHITE]
    parts = np.zeros(white.shape, np.uint8)
    if tumour is not None:
        nervous[_ball(white.shape, centre)] = 1  # what was pushed may have left a gap
        grow(parts, tumour, centre, nervous, white, rng)
    _add_others(parts, nervous, white, ventricle_distance(shares[Tissue.VENTRICLE] > 0.5), rng)
    subject = Subject(shares, parts, weak=_weak(rng))
    mask = extracted(shares, rng)
    own = rng.random() < 0.15
    series = {}
    for modality in MODALITIES:
        image = Acquisition.draw(rng).of(paint(subject, recipe.shown(modality), rng), rng)
        series[modality] = image * (varied(mask, rng) if own else mask)
    return _placed(series, parts, mask, tumour, rng)


def _study_in_brain(
    brain: RealBrain, recipe: WideRecipe, rng: np.random.Generator
) -> SyntheticStudy:
    """A real brain bent, with a tumour: what surrounds it is as a scanner gave it."""
    grid = subject_grid(brain.shape, rng, strength=0.7)
    tumour = None if rng.random() < recipe.healthy + 0.1 else Tumour.draw(rng)
    centre = (0, 0, 0)
    if tumour is not None:
        centre = draw_centre(sampled(brain.maps[-1:], grid)[0], rng)
        grid = pushed(grid, Push(centre, max(tumour.radius, 4) * 1.3, tumour.push))
    maps = sampled(brain.maps, grid)
    white, inner = maps[-2], maps[-1]
    parts = np.zeros(white.shape, np.uint8)
    if tumour is not None:
        grow(parts, tumour, centre, inner, white, rng)
    if rng.random() < 0.15:
        add_infarct(parts, inner, rng)
    mask: NDArray[np.bool_] = np.all(maps[: len(MODALITIES)] > 0.02, axis=0)
    mask |= inner > 0.5
    if rng.random() < 0.3:
        mask = varied(mask, rng)
    weak = _weak(rng)
    series = {}
    for modality in MODALITIES:
        shown = recipe.shown(modality)
        image = maps[MODALITIES.index(shown)].copy()
        add_parts(image, parts, shown, rng, weak=weak)
        series[modality] = Acquisition.draw(rng).of(image, rng) * mask
    return _placed(series, parts, mask, tumour, rng)


def _add_others(
    parts: NDArray[np.uint8], nervous: Array, white: Array, near: Array, rng: np.random.Generator
) -> None:
    """What is no tumour, in half of the studies."""
    if rng.random() < 0.45:
        add_white_matter_lesions(parts, white, near, rng)
    if rng.random() < 0.1:
        add_infarct(parts, nervous, rng)


def _weak(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.15)


def _ball(shape: tuple[int, ...], centre: tuple[int, int, int]) -> tuple[slice, ...]:
    return tuple(slice(max(c - 1, 0), min(c + 2, n)) for c, n in zip(centre, shape, strict=True))


def _placed(
    series: dict[Modality, Array],
    parts: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    tumour: Tumour | None,
    rng: np.random.Generator,
) -> SyntheticStudy:
    """The study cut to its brain, with air around it: how much decides where percentiles lie."""
    box, air = [], float(rng.random() ** 2)
    pad = []
    for axis in range(3):
        (hits,) = np.nonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
        extra = round(air * rng.uniform(0.5, 1) * 0.8 * (box[-1].stop - box[-1].start)) + 1
        before = int(rng.integers(extra // 3, extra - extra // 3 + 1))
        pad.append((before, extra - before))
    numbers = np.zeros(max(Part) + 1, np.uint8)
    for part, label in LABELS.items():
        numbers[part] = label
    labels = numbers[parts] * mask
    return SyntheticStudy(
        {m: np.pad(volume[tuple(box)], pad) for m, volume in series.items()},
        np.pad(labels[tuple(box)], pad),
        tumour is not None and tumour.enhances,
    )
