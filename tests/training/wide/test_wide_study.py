"""Wide studies: seeded, labelled as painted, and without a tumour where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import Modality
from brainmvp_training.datalist import read_datalist
from brainmvp_training.synthetic.wide.brightness import MODALITIES
from brainmvp_training.synthetic.wide.real_brains import brain_folders
from brainmvp_training.synthetic.wide.wide_study import WideRecipe, draw_wide_study
from brainmvp_training.synthetic.writing import SynthesisOptions, write_studies

MNI152 = WideRecipe(healthy=0)


def test_the_same_seed_gives_the_same_study_and_another_another() -> None:
    one, again, other = (draw_wide_study(MNI152, (7, n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(one.labels, again.labels)
    for modality in MODALITIES:
        np.testing.assert_array_equal(one.scans[modality], again.scans[modality])
    assert one.labels.shape != other.labels.shape or (one.labels != other.labels).any()


@pytest.mark.parametrize("seed", range(2))
def test_series_and_labels_share_a_grid_and_there_is_no_label_where_no_series_is(seed: int) -> None:
    study = draw_wide_study(MNI152, (3, seed))
    seen = np.any([scan > 0 for scan in study.scans.values()], axis=0)
    assert {scan.shape for scan in study.scans.values()} == {study.labels.shape}
    assert set(np.unique(study.labels)) <= {0, 1, 2, 4}
    assert not study.labels[~seen].any()
    assert all(np.isfinite(scan).all() for scan in study.scans.values())


def test_healthy_studies_have_no_label() -> None:
    for seed in range(2):
        study = draw_wide_study(replace(MNI152, healthy=1), (seed,))
        assert not study.labels.any() and not study.enhancing


def test_a_t1_that_shows_what_a_t1c_would_has_the_agent_in_its_tumour() -> None:
    after = replace(MNI152, shows={Modality.T1: Modality.T1C})
    bright = []
    for recipe in (MNI152, after):
        study = draw_wide_study(recipe, (3, 3))
        t1, enhancing = study.scans[Modality.T1], study.labels == 4
        bright.append(np.median(t1[enhancing]) / np.median(t1[(t1 > 0.05) & ~enhancing]))
    assert bright[0] < 1.1 and bright[1] > 1.4


def test_studies_on_disk_have_voxels_of_2_mm_and_the_datalist_finds_them(tmp_path: Path) -> None:
    options = SynthesisOptions(tmp_path, "training", 1, MNI152, seed=5)
    path = write_studies(options, processes=1, on_study=lambda: None)
    (case,) = read_datalist(path, "training")
    assert set(case.images) == set(MODALITIES) and case.label is not None
    for file in (*case.images.values(), case.label):
        assert nib.load(file).header.get_zooms() == (2, 2, 2)
    other = replace(options, recipe=replace(MNI152, healthy=0.5))
    with pytest.raises(InvalidDatalist, match="another seed, recipe"):
        write_studies(other, processes=1, on_study=lambda: None)
    assert "/" not in json.dumps(json.loads((tmp_path / "training-0000/study.json").read_text()))


def test_tumours_are_put_into_real_brains_and_shine_in_their_flair(
    real_data: Callable[[str], Path],
) -> None:
    recipe = WideRecipe((), brain_folders(real_data("brains")), real=1, healthy=0)
    bright = []
    for seed in range(4):
        study = draw_wide_study(recipe, (11, seed))
        flair, oedema = study.scans[Modality.FLAIR], study.labels == 2
        if oedema.sum() > 200:
            brain = (flair > 0) & (study.labels == 0)
            bright.append(np.median(flair[oedema]) / np.median(flair[brain]))
    assert bright and np.mean(bright) > 1.2


def test_a_folder_without_all_four_series_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "t1.nii.gz").touch()
    with pytest.raises(InvalidDatalist, match="t1c, t2 and flair"):
        brain_folders(tmp_path)
