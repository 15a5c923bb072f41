"""``brainmvp prepare``: what breaks here loses a study's preparation, or leaves half of one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainmvp_models.errors import DuplicateModality, StorageFailed
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing
from brainmvp_server.commands.prepared_files import write_prepared, written_whole
from brainmvp_server.commands.preparer import preparer
from brainmvp_server.preparation.placement import off_frame
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.stage import PreparedStudy
from drawn_head import draw_head


@pytest.fixture(scope="module")
def raw(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of a real patient, whole heads on two grids."""
    folder = tmp_path_factory.mktemp("raw")
    for name in ("t1", "t2"):
        shutil.copy(real_data("clinical") / "fg6692" / "raw" / f"{name}.nii.gz", folder)
    return folder


@pytest.fixture(scope="module")
def prepared(raw: Path) -> PreparedStudy:
    rules = Preprocessing(spacing_mm=(2.0, 2.0, 2.0))
    with preparer(rules, tuple(Modality)) as made:
        ready = made.ready(made.files(raw)).made
    assert isinstance(ready, PreparedStudy)
    return ready


ROOT = Path(__file__).parents[3]
BRAIN_ORANGE, ATLAS_BLUE = (255, 176, 0), (64, 160, 255)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "brainmvp_clients.cli", "prepare", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_everything_that_was_made_is_written_and_agrees(
    prepared: PreparedStudy, tmp_path: Path
) -> None:
    write_prepared(prepared, tmp_path)
    one, other = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("t1", "t2"))
    assert one.shape == other.shape and one.header.get_zooms() == (2.0, 2.0, 2.0)
    np.testing.assert_allclose(one.affine, prepared.study.native.grid.affine, atol=1e-5)
    mask = np.asarray(nib.load(tmp_path / "brain_t1.nii.gz").dataobj)
    done = json.loads((tmp_path / "preparation.json").read_text())
    assert done["reference"] == "t1" and done["moved"][0]["modality"] == "t2"
    voxel_ml = abs(np.linalg.det(nib.load(tmp_path / "brain_t1.nii.gz").affine[:3, :3])) / 1000
    assert mask.sum() * voxel_ml == pytest.approx(done["brain_ml"], rel=1e-3)
    for suffix in ("txt", "tfm"):
        way = RigidTransform.from_text((tmp_path / f"t1_to_t2.{suffix}").read_text())
        np.testing.assert_allclose(
            way.matrix, prepared.to_series[prepared.series[1].modality].matrix, atol=1e-6
        )
    with Image.open(tmp_path / "preparation.png") as picture:
        assert picture.height > 2 * 150
    assert outlined(tmp_path, BRAIN_ORANGE) > 100
    assert outlined(tmp_path, ATLAS_BLUE) == 0, "no atlas: the study stays in its own space"


def test_a_study_that_needs_nothing_is_written_as_it_came_bit_for_bit(tmp_path: Path) -> None:
    study, out = ROOT / "examples" / "glioma_study", tmp_path / "out"
    done = command(study, "--out", out, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["prepared"] is False and told["preparation"] is None
    assert sorted(told["series"]) == ["t1", "t1c", "t2"]
    for name, file in told["series"].items():
        assert (out / file).read_bytes() == (study / f"{name}.nii.gz").read_bytes()
    assert len(list(out.iterdir())) == 3


def test_brains_on_one_grid_are_brought_to_the_frame_that_is_named_as_they_lie_on_one_another() -> (
    None
):
    rules = Preprocessing(space=Space.SRI24, spacing_mm=(2.0, 2.0, 2.0))
    files = {m: ROOT / "examples" / "glioma_study" / f"{m}.nii.gz" for m in ("t1", "t2")}
    with preparer(rules, tuple(Modality)) as made:
        ready = made.ready({Modality(m): file for m, file in files.items()}).made
    assert isinstance(ready, PreparedStudy) and ready.report.moved == ()
    assert ready.report.turned_degrees is not None and not off_frame(
        ready.study.volumes, Space.SRI24
    )


def test_a_ready_brain_of_another_format_keeps_its_voxels_and_its_place(tmp_path: Path) -> None:
    image = nib.load(ROOT / "examples" / "glioma_study" / "t1.nii.gz")
    voxels = np.asarray(image.dataobj).astype(np.int16)
    nib.save(nib.MGHImage(voxels, image.affine), tmp_path / "t1.mgz")
    done = command("--t1", tmp_path / "t1.mgz", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "it needed nothing" in done.stdout
    written = nib.load(tmp_path / "out" / "t1.nii.gz")
    np.testing.assert_array_equal(written.dataobj, voxels)
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)


def test_series_by_name_come_to_the_frame_and_the_voxels_of_a_task(
    raw: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    named = ("--t2", raw / "t1.nii.gz", "--t1", raw / "t2.nii.gz")
    swapped = command(*named, "--task", "brats-ped", "--out", out)
    assert swapped.returncode == 0, swapped.stderr
    assert "t2: moved" in swapped.stdout, "the names are the user's, not those of the files"
    image = nib.load(out / "t1.nii.gz")
    assert image.shape == (240, 240, 155) and image.header.get_zooms() == (1.0, 1.0, 1.0)
    assert json.loads((out / "preparation.json").read_text())["space"] == "sri24"
    assert outlined(out, ATLAS_BLUE) > outlined(out, BRAIN_ORANGE) / 2 > 100


def outlined(out: Path, colour: tuple[int, int, int]) -> int:
    """Pixels of the picture in a colour of an outline."""
    with Image.open(out / "preparation.png") as picture:
        return int((np.asarray(picture) == colour).all(axis=2).sum())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "give a study's folder or zip, or its series by name"),
        (("study.zip", "--t1", "t1.nii.gz"), "Give one of the two"),
        (("nowhere.zip",), "nowhere.zip: there is no such file"),
        (("--t1", "a.nii", "--t1", "b.nii"), "--t1: is given twice"),
        (("s.zip", "--task", "brats-ped", "--space", "sri24"), "--task: says the frame"),
        (("s.zip", "--task", "nonsense"), "is neither a preset nor a file"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_one_line(
    words: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    (tmp_path / "s.zip").write_bytes(b"")
    asked = [tmp_path / word if word == "s.zip" else word for word in words]
    done = command(*asked, "--out", tmp_path / "out")
    assert done.returncode == 2 and line in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_mask_of_the_users_own_is_taken_and_written_as_it_was(tmp_path: Path) -> None:
    drawn = draw_head(tmp_path)
    series = drawn.series.rename(tmp_path / "t1.nii.gz")
    done = command(series, "--out", tmp_path / "out", "--brain", drawn.brain, "--spacing", 4)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"brain: {drawn.ml:.0f} mL, as given" in done.stdout
    given, kept = (nib.load(path) for path in (drawn.brain, tmp_path / "out" / "brain.nii.gz"))
    np.testing.assert_array_equal(given.dataobj, kept.dataobj)
    np.testing.assert_allclose(given.affine, kept.affine)


def test_what_cannot_be_prepared_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    study, out = tmp_path / "study", tmp_path / "out"
    study.mkdir()
    voxels = np.random.default_rng(0).integers(0, 900, (64, 64, 40), dtype=np.int16)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), study / "t1.nii.gz")
    done = command(study, "--out", out)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert f"brainmvp: t1 ({study / 't1.nii.gz'}): " in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study"]


def test_a_folder_of_two_visits_is_told_which_files_and_what_to_do_on_a_command_line(
    tmp_path: Path,
) -> None:
    for name in ("study1_t1", "study2_t1"):
        (tmp_path / f"{name}.nii.gz").write_bytes(
            (ROOT / "examples" / "glioma_study" / "t1.nii.gz").read_bytes()
        )
    with (
        preparer(Preprocessing(), tuple(Modality)) as made,
        pytest.raises(DuplicateModality, match="file 1 and file 2 are named as") as refused,
    ):
        made.files(tmp_path)
    assert "one visit at a time" in refused.value.remedy and "--t1" in refused.value.remedy


def test_a_folder_that_holds_something_is_left_as_it_is(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = command(raw, "--out", tmp_path)
    assert done.returncode == 2 and "is there already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "out") as folder:
        (folder / "t1.nii.gz").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageFailed), written_whole(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_another_scanner_s_three_series_run_through_to_one_brain(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    rules = Preprocessing(spacing_mm=(2.0, 2.0, 2.0))
    with preparer(rules, tuple(Modality)) as made:
        found = made.ready(made.files(real_data("longitudinal") / "ms03-study2")).made
    assert isinstance(found, PreparedStudy) and found.brain is not None
    assert found.brain.ml == pytest.approx(1524, rel=0.03)
    assert found.brain.agreement is not None and found.brain.agreement > 0.95
    moved = {one.modality: one for one in found.report.moved}
    assert set(moved) == {Modality.T2, Modality.FLAIR}
    assert all(one.after > one.before + 0.05 for one in moved.values())
    assert found.brain.warnings == ()
    # The outline of the brain is filled in each series: none lies beside it.
    shown = [volume.stored > 0 for volume in found.study.volumes]
    everywhere, somewhere = np.logical_and.reduce(shown), np.logical_or.reduce(shown)
    assert np.count_nonzero(everywhere) > 0.95 * np.count_nonzero(somewhere)
    write_prepared(found, tmp_path)
    with Image.open(tmp_path / "preparation.png") as picture:
        assert picture.height > 3 * 200 and len(np.unique(np.asarray(picture))) > 100
