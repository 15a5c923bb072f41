"""dcm2niix as a last resort: real Siemens mosaics become volumes, and nothing else does."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from brainmvp_models.errors import InvalidSettings
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom.fallback import check_installed, with_fallback
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.pixels import read_stack
from brainmvp_server.imaging.dicom.series import Sorted, sort_series
from dicom_studies import contrast_image, header_of, write_series

LPS = np.diag((-1.0, -1.0, 1.0, 1.0))
REAL = Path(nib.__file__).parent / "nicom" / "tests" / "data"


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two volumes of a real Siemens series, 48 slices as tiles of one image, by b-value.

    nibabel keeps them with their pixels blank: other ones are put in.
    """
    folder = tmp_path_factory.mktemp("mosaics")
    found = {}
    for b_value in (0, 1000):
        found[b_value] = folder / f"{b_value}.dcm"
        with gzip.open(REAL / f"siemens_dwi_{b_value}.dcm.gz") as file:
            dataset = pydicom.dcmread(file)
        tiles = np.random.default_rng(b_value).integers(1, 4000, (7, 7, 128, 128), np.uint16)
        tiles[6, 6] = 0  # the last tile holds no slice
        dataset.PixelData = tiles.swapaxes(1, 2).tobytes()
        dataset.save_as(found[b_value])
    return found


def sorted_study(paths: object) -> Sorted:
    return sort_series(scan(paths).instances)  # type: ignore[arg-type]


def test_a_mosaic_is_read_as_its_slices_where_they_lie(
    mosaics: dict[int, Path], tmp_path: Path, program: Callable[[str], Path]
) -> None:
    """Beside nibabel's own reader of mosaics, which shares no code with dcm2niix."""
    program("dcm2niix")
    study = sorted_study(mosaics.values())
    assert study.stacks == ()
    assert {aside.reason for aside in study.set_aside} == {
        "it is a mosaic: its slices are tiles of one image"
    }
    found = with_fallback(study, tmp_path)
    assert found.set_aside == () and len(found.stacks) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom import dicomwrappers

        theirs = [dicomwrappers.wrapper_from_file(path) for path in mosaics.values()]
        wanted = [(np.asarray(one.get_data()), LPS @ one.affine) for one in theirs]
    ours = [read_stack(stack, Modality.DWI) for stack in found.stacks]
    for voxels, affine in wanted:
        other = nib.Nifti1Image(np.asarray(voxels, np.int16), affine)
        right = nib.as_closest_canonical(other)
        mine = [
            nib.as_closest_canonical(nib.Nifti1Image(one.stored.astype(np.int16), one.grid.affine))
            for one in ours
        ]
        assert all(np.allclose(one.affine, right.affine, atol=2e-3) for one in mine)
        assert any(np.array_equal(one.dataobj, right.dataobj) for one in mine)


def test_slices_with_a_gap_stay_aside_whatever_dcm2niix_makes_of_them(
    tmp_path: Path, program: Callable[[str], Path]
) -> None:
    program("dcm2niix")
    image = contrast_image("t2", grid=((32, 40, 12), (5.0, 5.0, 6.0)))
    files = write_series(tmp_path, [image], header_of("siemens", "t2"), "siemens").files
    study = with_fallback(sorted_study(files[:5] + files[6:]), tmp_path / "scratch")
    assert study.stacks == ()
    assert "12.00 mm" in study.set_aside[0].reason and study.set_aside[0].damaged
    assert "dcm2niix does not help" in study.set_aside[0].reason


@pytest.mark.parametrize("wrong", ["a value", "a place", "a spacing", "two files", "no file"])
def test_an_output_that_is_not_the_images_is_not_believed(
    mosaics: dict[int, Path], tmp_path: Path, wrong: str, program: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A program of that name that lies."""
    program("dcm2niix")
    right = with_fallback(sorted_study([mosaics[1000]]), tmp_path / "right")
    assert len(right.stacks) == 1
    image = nib.load(next((tmp_path / "right").rglob("*.nii")))
    voxels, affine = np.asarray(image.dataobj).copy(), image.affine.copy()
    if wrong == "a value":
        voxels[60, 60, 20] += 1
    elif wrong == "a place":
        affine[2, 3] += 3.0
    elif wrong == "a spacing":
        affine[:3, 2] *= 1.1
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "lie.nii")
    names = {"two files": ("volume", "volume_Eq_1"), "no file": ()}.get(wrong, ("volume",))
    (tmp_path / "bin").mkdir()
    liar = tmp_path / "bin" / "dcm2niix"
    copies = "\n".join(f'cp {tmp_path}/lie.nii "{tmp_path}/scratch/"*/out/{n}.nii' for n in names)
    liar.write_text(f"#!/bin/sh\n{copies}\n")
    liar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    refused = with_fallback(sorted_study([mosaics[1000]]), tmp_path / "scratch")
    assert refused.stacks == ()
    assert "dcm2niix does not help" in refused.set_aside[0].reason


def test_a_missing_dcm2niix_is_named_when_the_service_starts_and_harms_no_study(
    mosaics: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidSettings, match="Install it"):
        check_installed()
    study = with_fallback(sorted_study([mosaics[1000]]), tmp_path / "scratch")
    assert study.set_aside[0].reason.endswith("dcm2niix does not help: it is not installed")
