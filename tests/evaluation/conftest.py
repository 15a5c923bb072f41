"""Small studies cut from a real scan, whose truth is what the small bundle gives for them whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainmvp_evaluation.evaluate import EvaluationOptions, evaluate
from brainmvp_evaluation.schema import Evaluation
from brainmvp_evaluation.settings import parse_subsets
from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_models.bundle import Bundle
from brainmvp_models.task import Filling, Window, load_task
from brainmvp_server.inference.predictor import Predictor
from brainmvp_training.networks import TINY, ClassificationNetwork
from once import Once
from small_bundle import small_bundle, small_task

__all__ = ["small_bundle", "small_task"]

NAMES = ("t1", "t1c", "t2", "flair")
PLACES = ((60, 70, 60), (80, 90, 70))


@pytest.fixture(scope="session")
def studies(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two studies, 36 x 40 x 44 voxels of 1 x 1 x 1 mm, four made-up modalities."""
    folder = tmp_path_factory.mktemp("studies")
    scan = np.asarray(nib.load(colin27).dataobj).astype(np.float32)
    for number, (x, y, z) in enumerate(PLACES, start=1):
        part = scan[x : x + 36, y : y + 40, z : z + 44]
        for index, name in enumerate(NAMES):
            image = np.where(part > 0, np.abs(part - 60 * index) + 1, 0)
            path = folder / f"p{number}_{name}.nii.gz"
            nib.save(nib.Nifti1Image(image.astype(np.int16), np.eye(4)), path)
    return folder


@pytest.fixture(scope="session")
def datalist(studies: Path, small_bundle: Bundle) -> Path:
    """The two studies with their masks; one mask is stored with its axes in another order."""
    predictor = Predictor.load(small_bundle)
    entries = []
    for number in (1, 2):
        images = {name: studies / f"p{number}_{name}.nii.gz" for name in NAMES}
        mask = nib.Nifti1Image(predictor.predict(images).mask, np.eye(4))
        if number == 2:
            mask = mask.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        nib.save(mask, studies / f"p{number}_seg.nii.gz")
        entries.append({"image": {m: f.name for m, f in images.items()},
                        "label": f"p{number}_seg.nii.gz", "name": f"patient {number}"})  # fmt: skip
    predictor.close()
    path = studies / "list.json"
    path.write_text(json.dumps({"test": entries}))
    return path


@pytest.fixture(scope="session")
def graded(studies: Path) -> Path:
    """The two studies with a class each."""
    entries = [
        {"image": {m: f"p{number}_{m}.nii.gz" for m in NAMES}, "target": target}
        for number, target in ((1, "LGG"), (2, "HGG"))
    ]
    path = studies / "graded.json"
    path.write_text(json.dumps({"test": entries}))
    return path


@pytest.fixture(scope="session")
def grading_bundle(
    once: Once, golden_weights: Callable[[torch.nn.Module], dict[str, torch.Tensor]]
) -> Bundle:
    """A tiny classification of four modalities, filled by zeros."""

    def make(folder: Path) -> None:
        state = golden_weights(ClassificationNetwork(TINY, 4, 2))
        torch.save({"state_dict": state}, folder / "tiny.pt")
        changed = {"window": Window(size=(32, 32, 32)), "filling": Filling(policy="zeros")}
        task = load_task("brats18-grade").model_copy(update=changed)
        export_bundle(ExportOptions(folder / "tiny.pt", folder, task, "grade", "1"))

    return Bundle.open(once("grading-bundle", make) / "grade" / "1")


@pytest.fixture
def options(small_bundle: Bundle, datalist: Path, tmp_path: Path) -> EvaluationOptions:
    """All modalities, and t1 and flair alone, filled by zeros."""
    subsets = parse_subsets("t1,t1c,t2,flair;t1,flair", small_bundle.task)
    return EvaluationOptions(small_bundle, datalist, tmp_path / "out", "test", subsets, ("zeros",))


@pytest.fixture(scope="session")
def evaluation(
    small_bundle: Bundle, datalist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    """What ``options`` gives."""
    subsets = parse_subsets("t1,t1c,t2,flair;t1,flair", small_bundle.task)
    out = tmp_path_factory.mktemp("evaluation")
    return evaluate(EvaluationOptions(small_bundle, datalist, out, "test", subsets, ("zeros",)))
