"""The atlases: where their brains lie, and that the shipped one is what its script makes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_export.atlas import build
from brainmvp_models.errors import InvalidSettings, RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.preparation.atlas import (
    MNI152_FILE,
    Atlas,
    atlas_of,
    mni152_to_sri24,
    part_covered,
    site_atlas,
    to_atlas,
)
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid
from drawn_head import draw_head

RealData = Callable[[str], Path]


def _atlas(space: Space) -> Atlas:
    atlas = atlas_of(space)
    assert atlas is not None
    return atlas


def _turned(degrees: float) -> RigidTransform:
    """From the MNI152's world to SRI24's, if the turn were another."""
    centre, there = np.array([0, -22.1, 9.5]), np.array([-118.6, 103, 72])
    return RigidTransform.of_rotation(np.array([degrees, 0, 0]), there - centre, centre)


def _image(atlas: Atlas, to_brain: RigidTransform) -> np.ndarray:
    """The atlas's brain on its space's grid."""
    image = atlas.brain.values(atlas.brain.stored).astype(np.float32)
    return interpolated(image, atlas.brain.grid, atlas.grid, to_brain.matrix)[0]


def test_the_shipped_brain_is_what_the_script_makes_of_nilearn_s(tmp_path: Path) -> None:
    build(tmp_path / "atlas.nii.gz")
    made, shipped = (
        gzip.decompress(path.read_bytes()) for path in (tmp_path / "atlas.nii.gz", MNI152_FILE)
    )
    assert made == shipped
    assert MNI152_FILE.stat().st_size < 2 << 20


def test_a_model_in_the_study_s_own_space_has_no_atlas() -> None:
    assert atlas_of(Space.STUDY) is None


@pytest.mark.parametrize("space", [Space.MNI152, Space.SRI24])
def test_the_whole_brain_lies_on_the_space_s_grid(space: Space) -> None:
    atlas = _atlas(space)
    there = _image(atlas, atlas.to_brain).sum(dtype=np.float64) * atlas.grid.voxel_ml
    whole = atlas.brain.stored.sum(dtype=np.float64) * atlas.brain.grid.voxel_ml
    # The SRI24 grid ends a few millimetres above the end of the stem.
    assert there == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize("space", [Space.MNI152, Space.SRI24])
def test_the_part_of_the_atlas_that_all_fields_of_view_hold_is_told(space: Space) -> None:
    atlas = _atlas(space)
    whole, middle = atlas.grid, round(atlas.grid.shape[0] / 2)
    step = np.eye(4)
    step[0, 3] = middle
    one = Grid((middle, *whole.shape[1:]), whole.affine)
    other = Grid((whole.shape[0] - middle, *whole.shape[1:]), whole.affine @ step)
    assert part_covered(atlas, [whole]) > 0.99
    halves = [part_covered(atlas, [half]) for half in (one, other)]
    assert halves == pytest.approx([0.5, 0.5], abs=0.05)
    assert part_covered(atlas, [whole, one]) == pytest.approx(halves[0], abs=0.01)
    assert part_covered(atlas, [one, other]) < 0.03


def test_sri24_is_turned_and_not_bent() -> None:
    turn = mni152_to_sri24().matrix
    np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_a_patient_s_brain_on_the_sri24_grid_lies_where_the_turned_atlas_does(
    real_data: RealData,
) -> None:
    file = real_data("clinical") / "fg6692" / "reference" / "brain_sri24.nii.gz"
    truth = np.asarray(nib.load(file).dataobj) > 0
    atlas = _atlas(Space.SRI24)

    def dice(to_brain: RigidTransform) -> float:
        brain = _image(atlas, to_brain) > 20
        return float(2 * (brain & truth).sum() / (brain.sum() + truth.sum()))

    assert dice(atlas.to_brain) > 0.85
    assert dice(_turned(-14.0).inverse) < 0.82


def test_a_patient_comes_to_sri24_as_a_peer_brought_it_there(real_data: RealData) -> None:
    folder = real_data("clinical") / "fg6692"
    t1 = read_nifti(folder / "raw" / "t1.nii.gz", Modality.T1)
    mask = np.asarray(nib.load(folder / "reference" / "brain_t1.nii.gz").dataobj) > 0
    matrices = json.loads((folder / "reference" / "rigid_ras_mm.json").read_text())
    peer = RigidTransform(np.array(matrices["sri24_to_t1"]))
    brain = np.argwhere(mask)[::97] @ t1.grid.affine[:3, :3].T + t1.grid.affine[:3, 3]
    found = to_atlas(Pyramid(t1, mask), _atlas(Space.SRI24))
    # Another person's brain tells the frame to a few millimetres: the peer's atlas is another.
    assert found.to_moving.inverse.apart(peer.inverse, brain) < 5
    assert found.after > found.before


@pytest.mark.parametrize("turned", [(1, 2), (0, 1), (0, 2)], ids=["about r", "about s", "about a"])
def test_a_head_whose_header_turns_it_upside_down_or_back_to_front_is_refused(
    real_data: RealData, turned: tuple[int, int]
) -> None:
    folder = real_data("clinical") / "fg6692"
    t2 = read_nifti(folder / "raw" / "t2.nii.gz", Modality.T2)
    mask = np.asarray(nib.load(folder / "reference" / "brain_t2.nii.gz").dataobj) > 0
    to_atlas(Pyramid(t2, mask), _atlas(Space.SRI24))
    axes = [t2.grid.orientation.axes[world] for world in turned]
    wrong = replace(t2, stored=np.flip(t2.stored, axes))
    with pytest.raises(RegistrationFailed, match="t2: the head fits the atlas better"):
        to_atlas(Pyramid(wrong, np.flip(mask, axes)), _atlas(Space.SRI24))


@pytest.mark.parametrize("space", [Space.MNI152, Space.SRI24])
def test_a_site_s_own_atlas_is_taken_for_the_frame_it_lies_in_and_brings_its_grid(
    space: Space, tmp_path: Path
) -> None:
    known = _atlas(space)
    image = nib.Nifti1Image(_image(known, known.to_brain).astype(np.int16), known.grid.affine)
    nib.save(image.slicer[::2, ::2, ::2], tmp_path / "own.nii.gz")
    own = site_atlas(tmp_path / "own.nii.gz")
    assert own.space is space and own.grid is own.brain.grid
    np.testing.assert_array_equal(own.to_brain.matrix, np.eye(4))
    assert atlas_of(space, own) is own
    other = Space.SRI24 if space is Space.MNI152 else Space.MNI152
    assert atlas_of(other, own) not in (own, None) and atlas_of(Space.STUDY, own) is None


def _noise(folder: Path) -> Path:
    path = folder / "own.nii"
    voxels = np.random.default_rng(0).integers(1, 99, (20, 20, 20)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([5.0, 5.0, 5.0, 1.0])), path)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nowhere.nii", "cannot be read: No such file"),
        (lambda folder: folder, "cannot be read: Is a directory"),
        (lambda folder: Path(__file__), "cannot be read: it is not a NIfTI file"),
        (_noise, "lies around .* mm, where that of no known frame does"),
        (lambda folder: draw_head(folder).series, "a whole head with its skull"),
    ],
    ids=["missing", "a folder", "no NIfTI", "another frame", "a head"],
)
def test_a_site_s_own_atlas_that_cannot_be_used_is_refused_with_its_file_and_a_remedy(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(InvalidSettings, match=words) as refused:
        site_atlas(path)
    assert refused.value.subject == str(path) and refused.value.remedy
