"""Whether the frame matters: ``python benchmarks/tilted_heads.py BUNDLE DATALIST``.

Synthetic studies with known tumours, said to lie as a head may in a scanner: turned by up to 20°
about the left-right axis and up to 8° about the others, and moved. The same bundle is given each of
them upright, as it was made, and turned: in the frame of its T1c (``space: study``) and in SRI24's.
Told is the Dice with the tumour that was drawn, on the grid of T1c.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from patients import REGIONS, Labels, dice

from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Task
from brainmvp_server.imaging.nifti import spatial_header
from brainmvp_server.imaging.study import Study, read_volumes
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.checked_study import CheckedStudy, check_study
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.result_space import ResultSpace, WorkedOn
from brainmvp_server.preparation.atlas import atlas_of, to_atlas
from brainmvp_server.preparation.brain_frame import BrainFrame
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.reference import reference_of
from brainmvp_server.preparation.resample import brought
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.stage import (
    Means,
    StageMaker,
    StudyPreparation,
    grid_around,
    spaced,
)
from brainmvp_server.preparation.working import Pyramid

_MOST_DEGREES = np.array([20.0, 8.0, 8.0])
_MOST_MM = 20.0
STILL = RigidTransform.identity()


class InFrame(StudyPreparation):
    """Brings brains on one grid into a frame, which the service leaves where they are."""

    def __init__(self, means: Means, space: Space) -> None:
        super().__init__(means)
        self._space = space

    def __call__(
        self, study: CheckedStudy, task: Task, cancel: CancelToken, stage: StageMaker
    ) -> WorkedOn:
        """What the task is run on."""
        volumes = read_volumes(study.sources, study.limits)
        reference, atlas = reference_of(volumes), atlas_of(self._space)
        frame = BrainFrame(reference, None, {volume.modality: STILL for volume in volumes})
        to_reference, spacing = STILL, task.preprocessing.spacing_mm
        grid = grid_around(frame.points(), spacing)
        if atlas is not None:
            to_reference = to_atlas(Pyramid(reference), atlas).to_moving
            grid = spaced(atlas.grid, spacing)
        mask, header = frame.mask_on(grid, to_reference), spatial_header(grid.affine)
        series = [brought(volume, grid, header, to_reference, mask) for volume in volumes]
        others = tuple(volume for volume in volumes if volume is not reference)
        ways = {volume.modality: np.eye(4) for volume in volumes}
        onto = ResultSpace(Study((reference, *others)), to_reference.inverse.matrix, ways)
        return WorkedOn(Study.of(series), onto)


@dataclass(frozen=True, eq=False)
class Tilted:
    """A study and its tumour, turned."""

    name: str
    upright: dict[Modality, Path]
    raw: dict[Modality, Path]
    truth: Labels


def tilted(datalist: Path, section: str, count: int, folder: Path) -> Iterator[Tilted]:
    """The first studies of a section that have a tumour, turned by angles of a fixed seed."""
    random = np.random.default_rng(11)
    entries = json.loads(datalist.read_text("utf-8"))[section]
    made = 0
    for entry in entries:
        truth = np.asarray(nib.load(datalist.parent / entry["label"]).dataobj).astype(np.uint8)
        if made == count:
            return
        if not truth.any():
            continue
        made += 1
        upright = {Modality(name): datalist.parent / path for name, path in entry["image"].items()}
        yield Tilted(entry["name"], upright, _turned(upright, random, folder), truth)


def _turned(
    upright: dict[Modality, Path], random: np.random.Generator, folder: Path
) -> dict[Modality, Path]:
    degrees = random.uniform(-1, 1, 3) * _MOST_DEGREES
    shift = random.uniform(-_MOST_MM, _MOST_MM, 3)
    raw = {}
    for modality, path in upright.items():
        image: Any = nib.load(path)
        centre = image.affine[:3, :3] @ (np.array(image.shape) / 2) + image.affine[:3, 3]
        affine = RigidTransform.of_rotation(degrees, shift, centre).matrix @ image.affine
        raw[modality] = folder / path.name
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), raw[modality])
    return raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--section", default="validation")
    parser.add_argument("--studies", type=int, default=12)
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {"upright": [], "study": [], "sri24": []}
    bundle = Bundle.open(options.bundle)
    with Predictor.load(bundle) as predictor, tempfile.TemporaryDirectory() as scratch:
        networks = BrainNetworks(predictor.worker)
        means = Means(lambda: networks)
        for one in tilted(options.datalist, options.section, options.studies, Path(scratch)):
            ways: dict[str, tuple[dict[Modality, Path], InFrame]] = {
                "upright": (one.upright, InFrame(means, Space.STUDY)),
                "study": (one.raw, InFrame(means, Space.STUDY)),
                "sri24": (one.raw, InFrame(means, Space.SRI24)),
            }
            masks = {
                name: np.asarray(
                    predictor.predict_checked(
                        check_study(files, bundle.task), prepare=prepare
                    ).mask,
                    np.uint8,
                )
                for name, (files, prepare) in ways.items()
            }
            for name, mask in masks.items():
                scores = [dice(mask, one.truth, part) for part in REGIONS]
                found[name].append(scores)
                print(one.name, name, *(f"{score:.3f}" for score in scores), flush=True)
    print(f"| the frame | {' | '.join(REGIONS)} |", "| --- | --- | --- | --- |", sep="\n")
    for name, scores in found.items():
        print(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in np.mean(scores, axis=0))} |")


if __name__ == "__main__":
    main()
