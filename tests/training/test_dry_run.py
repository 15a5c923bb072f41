"""The dry run: every fault of every case is found before a step is made, and nothing else is."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import Modality
from brainmvp_models.task import Channel, Score, ScoreOutputs, Task, load_task
from brainmvp_training.case import Case
from brainmvp_training.dry_run import check_cases, refuse, target_index

SHAPE = (16, 17, 18)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
MOVED = nib.affines.from_matvec(np.diag([1.0, 1.5, 2.0]), [0.5, 0.5, 0.5])
T1, FLAIR = Modality.T1, Modality.FLAIR


def _save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture(scope="module")
def task() -> Task:
    """Tumour regions from t1 and flair; masks know 0, 1, 2 and 4."""
    brats = load_task("upenn-gbm")
    return brats.model_copy(
        update={"channels": (Channel(modality=T1, required=True), Channel(modality=FLAIR))}
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A sound case; its flair is stored with two axes turned, which is no fault."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 900, SHAPE).astype(np.int16)
    label = rng.choice(np.array([0, 1, 2, 4], np.uint8), SHAPE)
    flair = nib.Nifti1Image(image, AFFINE).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nib.save(flair, tmp_path / "flair.nii.gz")
    return Case(
        "A",
        {T1: _save(tmp_path / "t1.nii.gz", image), FLAIR: tmp_path / "flair.nii.gz"},
        _save(tmp_path / "seg.nii.gz", label),
    )


def test_a_classifications_mask_is_checked_where_there_is_one(case: Case, task: Task) -> None:
    classes = (Score(name="low"), Score(name="high"))
    grading = task.model_copy(update={"outputs": ScoreOutputs(classes=classes)})
    case = replace(case, target="low")
    assert case.label is not None
    assert check_cases([case, replace(case, label=None)], grading) == ()
    _save(case.label, np.full(SHAPE, 300, np.int16))
    (fault,) = check_cases([case], grading)
    assert "holds the value 300" in str(fault) and "It knows 0 to 255" in str(fault)
    _save(case.label, np.zeros((16, 17, 19), np.uint8))
    (fault,) = check_cases([case], grading)
    assert fault.part == "label" and "is not on the grid of t1" in fault.problem


def test_a_sound_list_has_no_fault_with_a_task_or_without(case: Case, task: Task) -> None:
    counts: list[tuple[int, int]] = []
    assert check_cases([case, case], task, progress=lambda *c: counts.append(c)) == ()
    assert counts == [(1, 2), (2, 2)]
    assert check_cases([replace(case, label=None)], None) == ()


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-60])
    return path


def _spoil(case: Case, how: str) -> Case:
    t1, flair, label = case.images[T1], case.images[FLAIR], case.label
    assert label is not None
    if how == "absent":
        flair.unlink()
    elif how == "text":
        flair.write_text("a letter")
    elif how == "cut":
        _cut(flair)
    elif how == "four":
        _save(flair, np.zeros((*SHAPE, 3), np.int16))
    elif how == "smaller":
        _save(flair, np.zeros((16, 17, 19), np.int16))
    elif how == "moved":
        _save(flair, np.zeros(SHAPE, np.int16), MOVED)
    elif how == "flat":
        flair.write_bytes(gzip.compress(_singular(flair)))
    elif how == "twice":
        return replace(case, images={T1: t1, FLAIR: t1})
    elif how == "required":
        return replace(case, images={FLAIR: flair})
    elif how == "label values":
        _save(label, np.full(SHAPE, 3, np.uint8))
    elif how == "label fractions":
        _save(label, np.full(SHAPE, 1.5, np.float32))
    elif how == "label grid":
        _save(label, np.zeros((16, 17, 19), np.uint8))
    elif how == "label cut":
        _cut(label)
    elif how == "no label":
        return replace(case, label=None)
    return case


def _singular(path: Path) -> bytes:
    content = nib.load(path)
    content.header["srow_x"] = 0
    content.header["sform_code"], content.header["qform_code"] = 1, 0
    return nib.Nifti1Image(np.zeros(SHAPE, np.int16), None, content.header).to_bytes()


@pytest.mark.parametrize(
    ("how", "part", "problem"),
    [
        ("absent", "flair", "there is no such file"),
        ("text", "flair", "cannot be read as NIfTI"),
        ("cut", "flair", "ends before its last voxel"),
        ("four", "flair", "has the dimensions 16 × 17 × 18 × 3"),
        (
            "smaller",
            "flair",
            "is not on the grid of t1: it has 16 × 17 × 19 voxels, not 16 × 17 × 18",
        ),
        ("moved", "flair", "it lies up to 0.87 mm off"),
        ("flat", "flair", "has a singular affine"),
        ("twice", "flair", "is also given as t1"),
        ("required", "t1", "the task requires this modality"),
        ("label values", "label", "holds the value 3, which task 'upenn-gbm' does not know"),
        ("label fractions", "label", "holds the value 1.5"),
        ("label grid", "label", "is not on the grid of t1"),
        ("label cut", "label", "ends before its last voxel"),
        ("no label", "label", "there is none"),
    ],
)
def test_a_fault_is_found_and_named(
    case: Case, task: Task, how: str, part: str, problem: str
) -> None:
    faults = [fault for fault in check_cases([_spoil(case, how)], task) if fault.case]
    assert [(fault.part, fault.case) for fault in faults] == [(part, "A")]
    assert problem in str(faults[0]) and faults[0].remedy in str(faults[0])


def test_all_faults_are_reported_not_just_the_first(case: Case, task: Task) -> None:
    for how in ("absent", "label values"):
        _spoil(case, how)
    without = replace(case, name="B", images={Modality.T2: case.images[T1]})
    faults = check_cases([case, without], task)
    assert [(fault.case, fault.part) for fault in faults] == [
        ("A", "flair"), ("A", "label"), ("B", "t1"), ("B", ""), ("B", "label"),
    ]  # fmt: skip
    with pytest.raises(InvalidDatalist, match=r"list\.json: 5 faults; the first: A flair"):
        refuse(faults, Path("list.json"))
    refuse((), Path("list.json"))


def test_a_modality_that_no_case_has_is_a_fault_of_the_list(case: Case, task: Task) -> None:
    faults = check_cases([replace(case, images={T1: case.images[T1]})], task)
    assert [(fault.case, fault.part) for fault in faults] == [("", "flair")]


@pytest.mark.parametrize(("target", "index"), [("hgg", 1), ("0", 0), ("2", None), ("AD", None)])
def test_a_target_is_a_class_by_name_or_number(case: Case, target: str, index: int | None) -> None:
    task = load_task("brats18-grade")
    assert target_index(target, task.outputs) == index  # type: ignore[arg-type]
    faults = [f for f in check_cases([replace(case, target=target)], task) if f.case]
    assert [fault.part for fault in faults] == ([] if index is not None else ["target"])


def test_a_case_without_a_target_is_a_fault_of_a_classification(case: Case) -> None:
    faults = [f for f in check_cases([case], load_task("brats18-grade")) if f.case]
    assert [(fault.part, fault.problem) for fault in faults] == [("target", "there is none")]


@pytest.fixture(scope="module")
def imported() -> Callable[[str], set[str]]:
    def modules(name: str) -> set[str]:
        code = f"import sys, {name}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return set(done.stdout.split())

    return modules


def test_reading_and_checking_lists_needs_no_torch(imported: Callable[[str], set[str]]) -> None:
    names = imported("brainmvp_training.datalist, brainmvp_training.dry_run")
    assert "brainmvp_training.dry_run" in names and "torch" not in names
