"""A heap of NIfTI files: whose grid results lie on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import chosen_for, take_in

WANTED = (Modality.T1, Modality.T1C, Modality.FLAIR)


def heap(folder: Path, spacings: dict[str, tuple[float, float, float]]) -> list[Unpacked]:
    files = []
    for name, spacing in spacings.items():
        path = folder / f"{name}.nii.gz"
        image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
        image.set_sform(np.diag([*spacing, 1]), 1)
        nib.save(image, path)
        files.append(Unpacked(path, path.name))
    return files


GRIDS: dict[str, tuple[dict[str, tuple[float, float, float]], list[str]]] = {
    "the finest comes first": (
        {"t1": (1, 1, 5), "t1c": (1, 1, 1), "flair": (0.9, 0.9, 4)},
        ["t1c", "flair", "t1"],
    ),
    "equal ones keep the model's order": (
        {"flair": (1, 1, 1), "t1c": (1, 1, 1), "t1": (1, 1, 1)},
        ["t1", "t1c", "flair"],
    ),
    "the last bit makes no finest": (
        {"t1": (1.0000001, 1, 1), "t1c": (1, 1, 0.9999999)},
        ["t1", "t1c"],
    ),
}


@pytest.mark.parametrize("name", GRIDS)
def test_results_lie_on_the_finest_files_grid(name: str, tmp_path: Path) -> None:
    spacings, order = GRIDS[name]
    intake = take_in(heap(tmp_path, spacings), tmp_path)
    assert [m.value for m in chosen_for(intake, WANTED, {})] == order


def test_a_file_whose_header_places_nothing_is_named(tmp_path: Path) -> None:
    intake = take_in(heap(tmp_path, {"t1": (1, 1, 1), "t1c": (0.0001, 1, 1)}), tmp_path)
    with pytest.raises(InvalidVolume, match="no scan of a head") as caught:
        chosen_for(intake, WANTED, {})
    assert caught.value.subject == "t1c"
