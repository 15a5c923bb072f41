"""``brainmvp prepare --datalist``: what breaks here trains on masks beside their lesions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidDatalist, InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import Preprocessing
from brainmvp_server.commands.prepare_list import DATALIST, ListReport, prepare_list, read_case_list
from brainmvp_server.commands.preparer import preparer
from brainmvp_server.imaging.nifti_mask import read_labels
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_training.datalist import population_of, read_datalist
from brainmvp_training.dry_run import check_cases

READY = Path(__file__).parents[3] / "examples" / "glioma_study"
LESION = (slice(100, 130), slice(120, 150), slice(11, 15))
"""In fg6692's T2, which lies 24 mm from its T1: voxels of 0.9 x 0.9 x 5.5 mm."""


def centre_of(path: Path, value: int) -> np.ndarray:
    image = nib.load(path)
    where = np.argwhere(np.asarray(image.dataobj) == value).mean(axis=0)
    return np.asarray(image.affine[:3, :3] @ where + image.affine[:3, 3])


def millilitres(path: Path, value: int) -> float:
    image = nib.load(path)
    voxel = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    return float((np.asarray(image.dataobj) == value).sum() * voxel)


def written(folder: Path, content: object) -> Path:
    path = folder / "cases.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


WHOM = {
    "kind": "patient", "description": "one patient of one hospital", "anatomy": "real",
    "preparation": "as scanned", "field_of_use": "tests",
}  # fmt: skip


def ready_case(name: str) -> dict[str, object]:
    images = {name: str(READY / f"{name}.nii.gz") for name in ("t1", "t1c")}
    return {"name": name, "image": images, "label": str(READY / "truth.nii.gz"), "fold": 3}


def prepared(cases: Path, out: Path) -> ListReport:
    with preparer(Preprocessing(spacing_mm=(2.0, 2.0, 2.0)), tuple(Modality)) as made:
        return prepare_list(read_case_list(cases, None), out, made, lambda _: None)


def test_each_case_is_prepared_with_its_mask_and_what_fails_is_named_and_left_out(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    raw = real_data("clinical") / "fg6692" / "raw"
    t2 = nib.load(raw / "t2.nii.gz")
    drawn = np.zeros(t2.shape, np.uint8)
    drawn[LESION] = 2
    nib.save(nib.Nifti1Image(drawn, t2.affine), tmp_path / "drawn.nii.gz")
    images = {name: str(raw / f"{name}.nii.gz") for name in ("t2", "t1")}
    gone = {"name": "gone", "image": {"t1": "nowhere.nii.gz"}, "label": "nowhere.nii.gz"}
    cases = written(tmp_path, {
        "training": [{"name": "raw/1", "image": images, "label": "drawn.nii.gz"}, gone],
        "validation": [ready_case("ready"), {**ready_case("ready"), "target": "HGG"}],
        "populations": {"training": WHOM, "validation": WHOM},
    })  # fmt: skip
    out = tmp_path / "out"
    report = prepared(cases, out)
    assert (report.prepared, report.as_they_came) == (1, 2)
    assert [(one.section, one.name) for one in report.failed] == [("training", "gone")]
    assert "No such file" in report.failed[0].problem

    (case,) = read_datalist(out / DATALIST, "training")
    assert case.name == "raw/1" and case.label is not None
    assert check_cases([case], None) == ()
    assert nib.load(case.label).shape == nib.load(case.images[Modality.T1]).shape
    way = RigidTransform.from_text((case.label.parent / "t1_to_t2.txt").read_text())
    (there,) = way.inverse.apply(centre_of(tmp_path / "drawn.nii.gz", 2)[None])
    np.testing.assert_allclose(centre_of(case.label, 2), there, atol=0.5)
    assert millilitres(case.label, 2) == pytest.approx(
        millilitres(tmp_path / "drawn.nii.gz", 2), rel=0.1
    )

    assert population_of(out / DATALIST, "validation") == Population.model_validate(WHOM)
    brought = population_of(out / DATALIST, "training")
    assert brought is not None and brought.description == WHOM["description"]
    assert brought.preparation == "as scanned; then by brainmvp prepare"

    ready = read_datalist(out / DATALIST, "validation")
    assert [(one.name, one.fold, one.target) for one in ready] == [
        ("ready", 3, None), ("ready (2)", 3, "HGG"),
    ]  # fmt: skip
    for one in ready:
        assert one.label is not None
        assert one.label.read_bytes() == (READY / "truth.nii.gz").read_bytes()
        for name, path in one.images.items():
            assert path.read_bytes() == (READY / f"{name}.nii.gz").read_bytes()


def test_files_of_one_name_are_opened_study_after_study() -> None:
    """``prove`` and ``prepare`` open every study of a list with one preparer."""
    named = {m: READY / f"{m.value}.nii.gz" for m in (Modality.T1, Modality.T1C)}
    with preparer(Preprocessing(), tuple(Modality)) as made:
        for _ in range(2):
            assert set(made.series(named)) == set(named)


def test_the_command_exits_1_where_a_case_is_not_in_the_new_list(tmp_path: Path) -> None:
    gone = {"name": "gone", "image": {"t1": "nowhere.nii.gz"}}
    cases = written(tmp_path, {"training": [ready_case("ready"), gone]})
    out = tmp_path / "out"
    line = [sys.executable, "-m", "brainmvp_clients.cli", "prepare", "--datalist", cases]
    done = subprocess.run(
        [*map(str, line), "--out", str(out)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr == (
        "brainmvp: training, gone: a file cannot be read: No such file or directory\n"
    )
    assert done.stdout == f"ready: as it came\nwritten to {out / DATALIST}\n"


def test_a_list_that_cannot_be_read_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatalist, match="is a folder"):
        read_case_list(tmp_path, None)
    with pytest.raises(InvalidDatalist, match="is not valid JSON"):
        read_case_list(Path(__file__), None)


@pytest.mark.parametrize("value", [0.5, -1, 1e6, float("nan")])
def test_values_that_are_no_labels_are_refused(tmp_path: Path, value: float) -> None:
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[0] = value
    nib.save(nib.Nifti1Image(voxels, np.diag([9.0, 9.0, 9.0, 1.0])), tmp_path / "a.nii")
    with pytest.raises(InvalidVolume, match="label: its values are no labels"):
        read_labels(tmp_path / "a.nii", "label")


def test_a_mask_without_a_lesion_is_one_too(tmp_path: Path) -> None:
    empty = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.diag([9.0, 9.0, 9.0, 1.0]))
    nib.save(empty, tmp_path / "a.nii")
    labels, _ = read_labels(tmp_path / "a.nii", "label")
    assert labels.dtype == np.uint8 and not labels.any()
