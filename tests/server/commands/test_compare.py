"""``brainmvp compare``: what breaks here compares the wrong files, or loses a comparison."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from brainmvp_clients.cli.option_groups import expanded
from brainmvp_models.bundle import Bundle
from brainmvp_server.commands.compare import compare
from brainmvp_server.commands.local import predict
from once import Once

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
WHOLE = ROOT / "examples" / "glioma_study"
_EDGE = 64


def command(*words: object) -> Result:
    """One command line."""
    app = typer.Typer(add_completion=False)
    app.command("compare")(expanded(compare))
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def study(once: Once) -> Path:
    """A piece of a real brain, four series of one window."""

    def make(folder: Path) -> None:
        for name, source in (("t1", "t1"), ("t1c", "t1c"), ("t2", "t2"), ("flair", "t2")):
            scan = nib.load(WHOLE / f"{source}.nii.gz").slicer[80:144, 80:144, 50:114]
            nib.save(scan, folder / f"{name}.nii.gz")

    return once("compare-study", make)


@pytest.fixture(scope="module")
def result(once: Once, coarse_bundle: Bundle, study: Path) -> Path:
    """A result as predict writes it."""

    def make(folder: Path) -> None:
        files = {path.name.split(".")[0]: path for path in sorted(study.iterdir())}
        predict(coarse_bundle.root, files, folder)

    return once("compare-result", make)


@pytest.fixture
def masks(tmp_path: Path, study: Path) -> tuple[Path, Path]:
    """Two masks on the study's grid: one lesion, and the same with a new one."""
    scan = nib.load(study / "t1.nii.gz")
    voxels = np.zeros(scan.shape, np.uint8)
    paths = []
    for number, at in enumerate((10, 40)):
        voxels[at : at + 10, 30:40, 30:40] = 5
        paths.append(tmp_path / f"mask-{number}.nii.gz")
        nib.save(nib.Nifti1Image(voxels, scan.affine), paths[-1])
    return paths[0], paths[1]


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entry = project["entry-points"]["brainmvp.commands"]["compare"]
    assert entry == f"{compare.__module__}:{compare.__name__}"


def test_masks_made_elsewhere_are_compared_and_written(
    masks: tuple[Path, Path], study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before, after = masks
    done = command(study, study, "--mask-before", before, "--mask-after", after, "--out", out)
    assert done.exit_code == 0, done.output
    assert "label 5: 1.00 to 2.00 mL" in done.output and "new" in done.output
    told = json.loads((out / "comparison.json").read_text())
    assert told["structures"][0]["counts"] == {"new": 1, "stable": 1}
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.png",
    ]


def test_results_are_compared_with_the_studies_they_were_made_of(
    result: Path, study: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "result.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(result.iterdir()):
            archive.write(path, f"visit/{path.name}")
    done = command(
        result, packed, "--study-before", study, "--study-after", study,
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    names = {one["name"] for one in json.loads((result / "summary.json").read_text())["structures"]}
    assert {one["name"] for one in told["structures"]} == names
    for one in told["structures"]:
        assert one["volume_ml"]["difference"] == one["volume_ml"]["difference_high"] == 0
        assert set(one["counts"]) <= {"stable"}


def test_two_studies_are_compared_by_a_model(
    coarse_bundle: Bundle, study: Path, tmp_path: Path
) -> None:
    done = command(
        study, study, "--model", coarse_bundle.root, "--out", tmp_path / "out", "--json"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["before"]["model"] == coarse_bundle.manifest.name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("{study}", "{tmp}/none"), "none: there is no such file. Check the path."),
        (("{study}", "{study}"), "it is a study without a mask. Name a model"),
        (("{result}", "{result}"), "masks alone cannot be aligned. Give the study"),
        (("{study}", "{study}", "--mask-before", "{mask}"), "--mask-after: is missing"),
        (
            ("{study}", "{study}", "--mask-before", "{mask}", "--mask-after", "{study}/t1.nii.gz"),
            "it is an image, and no mask",
        ),
        (
            ("{study}", "{study}", "--mask-before", "{mask}", "--mask-after", "{small}"),
            "small.nii.gz: the mask lies on the grid of none of the series",
        ),
        (
            ("{result}", "{result}", "--study-before", "{other}", "--study-after", "{study}"),
            "is not the file that the result was made of",
        ),
        (("{damaged}", "{study}"), "its summary.json is none of a result"),
        (("{empty}", "{study}"), "the folder is empty"),
        (("{result}", "{study}", "--mask-before", "{mask}", "--mask-after", "{mask}"), "result"),
        (("{study}", "{study}", "--cpu-precision", "bf16"), "no effect without --model"),
        (("{study}", "{study}", "--model", "{model}", "--cpu-precision", "bf16"), "bfloat16"),
    ],
)
def test_what_cannot_be_compared_is_an_error_of_one_line(
    words: tuple[str, ...],
    told: str,
    masks: tuple[Path, Path],
    study: Path,
    result: Path,
    coarse_bundle: Bundle,
    tmp_path: Path,
) -> None:
    small, other, damaged = (tmp_path / name for name in ("small.nii.gz", "other", "damaged"))
    nib.save(nib.Nifti1Image(np.ones((20, 20, 20), np.uint8), np.eye(4)), small)
    (tmp_path / "empty").mkdir()
    damaged.mkdir()
    (damaged / "summary.json").write_text("{}")
    other.mkdir()
    for path in study.iterdir():
        scan = nib.load(path)
        changed = np.asarray(scan.dataobj).copy()
        changed[30, 30, 30] += 1
        nib.save(nib.Nifti1Image(changed, scan.affine), other / path.name)
    places = {
        "study": study, "tmp": tmp_path, "result": result, "mask": masks[0], "small": small,
        "other": other, "damaged": damaged, "empty": tmp_path / "empty",
        "model": coarse_bundle.root,
    }  # fmt: skip
    done = command(*(word.format(**places) for word in words), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert told in done.stderr and done.stderr.startswith("brainmvp: ")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_left_alone(
    masks: tuple[Path, Path], study: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept.txt").write_text("kept")
    before, after = masks
    done = command(
        study, study, "--mask-before", before, "--mask-after", after, "--out", tmp_path / "out"
    )
    assert done.exit_code == 2 and "is there already" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept.txt"]


def test_the_thresholds_are_the_sites(
    masks: tuple[Path, Path], study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINMVP_CHANGE_VOLUME_PERCENT", "55")
    before, after = masks
    done = command(
        study, study, "--mask-before", before, "--mask-after", after, "--out", tmp_path / "out",
        "--change-product-percent", "30", "--json",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["volume_threshold_percent"], told["product_threshold_percent"]) == (55, 30)
