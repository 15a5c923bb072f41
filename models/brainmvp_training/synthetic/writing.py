"""Synthetic studies as a folder of NIfTI files with a datalist, ready to train or evaluate on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import Modality
from brainmvp_training.datalist import POPULATIONS
from brainmvp_training.synthetic.anatomy import Anatomy, from_t1, mni152
from brainmvp_training.synthetic.synthetic_study import Recipe, SyntheticStudy, draw_study
from brainmvp_training.synthetic.whom import population_of_recipe
from brainmvp_training.synthetic.wide.heads import VOXEL_MM
from brainmvp_training.synthetic.wide.wide_study import WideRecipe, draw_wide_study

DATALIST = "datalist.json"
_FACTS = "study.json"
_STEPS = 2000
"""Stored values of brightness 1: int16 with a scale, as scanners store theirs."""


@dataclass(frozen=True)
class SynthesisOptions:
    """What to write.

    Attributes:
        out: the folder; finished studies in it are kept, so that an interrupted call goes on.
        section: the datalist's section, and part of the seed: sections never share a study.
        studies: how many.
        seed: the first part of every study's seed.
        anatomy: a brain-extracted T1 of 1 mm; None is MNI152. Wide studies have heads instead.
        missing: the chance of each modality but one to be absent.
    """

    out: Path
    section: str
    studies: int
    recipe: Recipe | WideRecipe
    seed: int = 0
    anatomy: Path | None = None
    missing: float = 0.0

    @cached_property
    def origin(self) -> dict[str, object]:
        """All that a study follows from but its section and number, as ``study.json`` keeps it."""
        facts: dict[str, object] = {"seed": self.seed, "missing": self.missing}
        if isinstance(self.recipe, WideRecipe):
            return {**facts, **self.recipe.origin}
        facts["anatomy"] = digest_of(self.anatomy) if self.anatomy else "MNI152"
        recipe = asdict(self.recipe)
        return {**facts, **recipe, "modalities": [m.value for m in self.recipe.modalities]}


def write_studies(
    options: SynthesisOptions, *, processes: int, on_study: Callable[[], None]
) -> Path:
    """Write the studies and add their section to ``datalist.json``; returns its path.

    Raises:
        InvalidDatalist: the anatomy cannot be used, or the folder holds other studies.
    """
    anatomy = _anatomy(options)
    options.out.mkdir(parents=True, exist_ok=True)
    _check_finished(options)
    for _ in _written(options, anatomy, processes):
        on_study()
    names = [_name(options, index) for index in range(options.studies)]
    return _add_section(options, [_entry(options.out, name) for name in names])


def _anatomy(options: SynthesisOptions) -> Anatomy | None:
    """The one brain that all subjects are made of; wide studies read a head each."""
    if isinstance(options.recipe, WideRecipe):
        return None
    return from_t1(options.anatomy) if options.anatomy else mni152()


def _check_finished(options: SynthesisOptions) -> None:
    """Refuse to go on among studies that another seed, recipe or anatomy made."""
    origin = options.origin
    for name in (_name(options, index) for index in range(options.studies)):
        file = options.out / name / _FACTS
        found = _facts(file).get("origin")
        if file.parent.is_dir() and found != origin:
            raise InvalidDatalist(
                f"{name} was made with another seed, recipe or anatomy"
                if found
                else f"{name} does not say how it was made",
                remedy="Give the options that made it, choose another folder, or delete it",
                subject=options.out.name,
            )


def _facts(file: Path) -> dict[str, Any]:
    """What a study's folder says of it; nothing where it does not."""
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return facts


def _written(options: SynthesisOptions, anatomy: Anatomy | None, processes: int) -> Iterator[int]:
    todo = [i for i in range(options.studies) if not (options.out / _name(options, i)).is_dir()]
    yield from range(options.studies - len(todo))
    if processes == 1:
        for index in todo:
            _write_study(options, anatomy, index)
            yield index
        return
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(options, anatomy)
    ) as pool:
        for done in as_completed([pool.submit(_write_one, index) for index in todo]):
            yield done.result()


_worker: tuple[SynthesisOptions, Anatomy | None]


def _start(options: SynthesisOptions, anatomy: Anatomy | None) -> None:
    """A process keeps the anatomy, so that it is sent once."""
    global _worker
    _worker = options, anatomy
    torch.set_num_threads(1)


def _write_one(index: int) -> int:
    _write_study(*_worker, index)
    return index


def _write_study(options: SynthesisOptions, anatomy: Anatomy | None, index: int) -> None:
    """Write one study's folder, aside first: it appears whole."""
    seed = (options.seed, *options.section.encode(), index)
    study, edge = _drawn(options, anatomy, seed)
    folder = options.out / _name(options, index)
    aside = options.out / f".{folder.name}.{os.getpid()}"
    aside.mkdir()
    try:
        for modality in _present(options, study, seed):
            _save(study.scans[modality], aside / f"{modality.value}.nii.gz", edge)
        _save(study.labels, aside / "label.nii.gz", edge)
        facts = {"grade": study.grade, "origin": options.origin}
        (aside / _FACTS).write_text(json.dumps(facts) + "\n")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _drawn(
    options: SynthesisOptions, anatomy: Anatomy | None, seed: tuple[int, ...]
) -> tuple[SyntheticStudy, int]:
    """The study, and the edge of its voxels in mm."""
    if isinstance(options.recipe, WideRecipe):
        return draw_wide_study(options.recipe, seed), VOXEL_MM
    assert anatomy is not None
    return draw_study(anatomy, options.recipe, seed), 1


def _present(
    options: SynthesisOptions, study: SyntheticStudy, seed: tuple[int, ...]
) -> list[Modality]:
    rng = np.random.default_rng([*seed, 1])
    modalities = list(study.scans)
    kept = int(rng.integers(len(modalities)))
    return [m for i, m in enumerate(modalities) if i == kept or rng.random() >= options.missing]


def _save(volume: NDArray[np.float32] | NDArray[np.uint8], path: Path, edge: int) -> None:
    affine = np.diag([edge, edge, edge, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * edge for n in volume.shape]
    if volume.dtype == np.uint8:
        image = nib.Nifti1Image(volume, affine)
    else:
        steps = np.clip(np.rint(volume * np.float32(_STEPS)), 0, 32767).astype(np.int16)
        image = nib.Nifti1Image(steps, affine)
        image.header.set_slope_inter(1 / _STEPS, 0)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _name(options: SynthesisOptions, index: int) -> str:
    return f"{options.section}-{index:04d}"


def _entry(out: Path, name: str) -> dict[str, object]:
    folder = out / name
    grade = _facts(folder / _FACTS)["grade"]
    scans = sorted(folder.glob("*.nii.gz"))
    images = {f.name.split(".")[0]: f"{name}/{f.name}" for f in scans if f.name[:5] != "label"}
    return {"name": name, "image": images, "label": f"{name}/label.nii.gz", "target": grade}


def _add_section(options: SynthesisOptions, entries: list[dict[str, object]]) -> Path:
    path = options.out / DATALIST
    sections = json.loads(path.read_text()) if path.is_file() else {}
    sections[options.section] = entries
    anatomy = options.anatomy.name.split(".")[0] if options.anatomy else "MNI152"
    population = population_of_recipe(options.recipe, anatomy).model_dump(mode="json")
    sections.setdefault(POPULATIONS, {})[options.section] = population
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(sections, indent=1) + "\n")
    aside.replace(path)
    return path
